"""Fetching: torchvision's downloads are unpacked completely or not at all, and only once.

torchvision takes the existing folder of most data sets for a complete one. So it unpacks into a
folder aside, whose content is moved when it has finished; an interrupted download leaves nothing
that looks complete. One process downloads, and others wait and then find the data.
"""

import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from selfsight.system.locks import alone

ARCHIVES = ("*.zip", "*.tgz", "*.gz", "*.mat")  # what torchvision downloads before unpacking
DOING = "downloads the same data"
DEEPEST = 3  # greatest depth of folders in which it puts them: `MNIST/raw/*.gz`


def fetched(make: Callable[..., Any], root: Path, kind: str) -> Any:
    """Make a data set of torchvision from the files in a folder; download them if needed.

    Args:
        make: torchvision's class, with all its arguments except `root` and `download`.
        root: The folder, which exists or can be made.
        kind: The data set's name, for the lock.

    Returns:
        torchvision's object.

    Raises:
        OSError: If the folder cannot be written to.
        Exception: What torchvision raises for damaged or unreachable data.
    """
    if (held := _held(make, root)) is not None:
        return held
    root.mkdir(parents=True, exist_ok=True)
    with alone(root / f".{kind}.lock", doing=DOING):
        if (held := _held(make, root)) is None:  # else another process has downloaded it
            for left in root.glob(f".{kind}.*part"):  # left by a process that died
                _take_away(left, root)
            _fetch(make, root, root / f".{kind}.{secrets.token_hex(8)}.part")
            held = make(root=str(root), download=False)
    return held


def _held(make: Callable[..., Any], root: Path) -> Any:
    """Make the data set from existing files; None if torchvision does not find them."""
    try:
        return make(root=str(root), download=False)
    except RuntimeError as error:
        if "not found" not in str(error):
            raise
        return None


def _fetch(make: Callable[..., Any], root: Path, part: Path) -> None:
    """Let torchvision download and unpack into a folder aside, then move the content."""
    try:
        part.mkdir()
        _link_archives(root, part)
        make(root=str(part), download=True)
        _move(part, root)
    finally:
        _take_away(part, root)


def _take_away(part: Path, root: Path) -> None:
    """Remove the folder aside but keep the archives, which torchvision checks before using them."""
    if part.is_symlink():  # not made by us
        part.unlink()
        return
    _link_archives(part, root)
    shutil.rmtree(part, ignore_errors=True)


def _link_archives(source: Path, target: Path) -> None:
    """Link archives into the same places of another folder, where torchvision looks for them."""
    for pattern in ("*/" * depth + archive for depth in range(DEEPEST) for archive in ARCHIVES):
        for path in source.glob(pattern):
            place = path.relative_to(source)
            if path.is_file() and not place.parts[0].startswith("."):  # other downloads' parts
                (target / place).parent.mkdir(parents=True, exist_ok=True)
                with suppress(OSError):  # exists already, or links are impossible: download again
                    os.link(path, target / place)


def _move(source: Path, target: Path) -> None:
    """Move a folder's content; a subfolder that the target lacks is moved as a whole."""
    for path in sorted(source.iterdir()):
        place = target / path.name
        if path.is_dir() and place.is_dir():
            _move(path, place)
        else:
            path.replace(place)
