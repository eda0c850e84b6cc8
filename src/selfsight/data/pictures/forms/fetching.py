"""Fetching: what torchvision unpacks lies there whole or not at all, and is fetched once.

For most data sets torchvision takes a folder that exists for one that is whole. So it unpacks into
a folder aside, from which what it made is moved when it has ended; a fetch that is interrupted
leaves nothing that counts. One process fetches, the others wait and then find it there.
"""

import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from selfsight.system.locks import alone

ARCHIVES = ("*.zip", "*.tgz", "*.gz", "*.mat")  # what torchvision fetches before it unpacks
DOING = "fetches the same data"
DEEPEST = 3  # folders down that it puts them, at most: `MNIST/raw/*.gz`


def fetched(make: Callable[..., Any], root: Path, kind: str) -> Any:
    """Make a data set of torchvision's from the files in a folder, fetching them if needed.

    Args:
        make: torchvision's class, with all its arguments but `root` and `download`.
        root: The folder, which is there or can be made.
        kind: The data set's name, for the lock.

    Returns:
        torchvision's object.

    Raises:
        OSError: If the folder cannot be written to.
        Exception: Whatever torchvision raises of what is damaged, or out of reach.
    """
    if (held := _held(make, root)) is not None:
        return held
    root.mkdir(parents=True, exist_ok=True)
    with alone(root / f".{kind}.lock", doing=DOING):
        if (held := _held(make, root)) is None:  # else another process was fetching it
            for left in root.glob(f".{kind}.*part"):  # by a process that died
                _take_away(left, root)
            _fetch(make, root, root / f".{kind}.{secrets.token_hex(8)}.part")
            held = make(root=str(root), download=False)
    return held


def _held(make: Callable[..., Any], root: Path) -> Any:
    """Make it of what is there; None where torchvision says that it is not."""
    try:
        return make(root=str(root), download=False)
    except RuntimeError as error:
        if "not found" not in str(error):
            raise
        return None


def _fetch(make: Callable[..., Any], root: Path, part: Path) -> None:
    """Let torchvision fetch and unpack aside, then move all it made."""
    try:
        part.mkdir()
        _link_archives(root, part)
        make(root=str(part), download=True)
        _move(part, root)
    finally:
        _take_away(part, root)


def _take_away(part: Path, root: Path) -> None:
    """Remove what was made aside, less the archives: torchvision checks these when it meets one."""
    if part.is_symlink():  # none of ours
        part.unlink()
        return
    _link_archives(part, root)
    shutil.rmtree(part, ignore_errors=True)


def _link_archives(source: Path, target: Path) -> None:
    """Put archives into the same places of another folder, where torchvision will look for them."""
    for pattern in ("*/" * depth + archive for depth in range(DEEPEST) for archive in ARCHIVES):
        for path in source.glob(pattern):
            place = path.relative_to(source)
            if path.is_file() and not place.parts[0].startswith("."):  # as others' parts do
                (target / place).parent.mkdir(parents=True, exist_ok=True)
                with suppress(OSError):  # there already, or no links here: it is fetched again
                    os.link(path, target / place)


def _move(source: Path, target: Path) -> None:
    """Move what is in a folder, whole folders at once where the target has none of that name."""
    for path in sorted(source.iterdir()):
        place = target / path.name
        if path.is_dir() and place.is_dir():
            _move(path, place)
        else:
            path.replace(place)
