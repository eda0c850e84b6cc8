"""Writing files so that a reader, a kill or a full disk never meets half of one."""

import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfsight.errors import SelfsightError


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file beside its place, then rename it there.

    Raises:
        SelfsightError: If it cannot be written, on a full disk for one. The old file is untouched.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise SelfsightError(
            f"{path} could not be written: {error.strerror or error}; "
            "what was saved there before is intact. Make room, or name another place"
        ) from error


def folder(path: Path) -> Path:
    """Make a folder where there is none: -> the same path.

    Raises:
        SelfsightError: If it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SelfsightError(
            f"{path} cannot be made a folder: {error.strerror or error}; name another place"
        ) from error
    return path


def write_text(path: Path, content: str) -> None:
    """Write a text file as `write_bytes` does, in UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write plain values as indented JSON, as `write_bytes` does; see `json_text`."""
    write_text(path, json_text(content) + "\n")


def json_text(content: Any) -> str:
    """Spell plain values as indented JSON, in ASCII without control characters.

    Raises:
        SelfsightError: If a number is NaN or infinite: JSON has no word for these, and a result
            that holds one is none.
    """
    try:
        spelt = json.dumps(content, indent=2, allow_nan=False)
    except ValueError as error:
        places = ", ".join(f"{place} is {value}" for place, value in _not_finite(content))
        raise SelfsightError(
            f"a record must hold finite numbers, and {places or error}; what was computed is of no "
            "use, so it is not written. A lower --rate or --precision f32 may help, or other data"
        ) from error
    return spelt.replace("\x7f", "\\u007f")  # the one control character that JSON lets stand


def _not_finite(content: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Find the numbers that JSON cannot hold: -> where they are, and what."""
    if isinstance(content, float) and not math.isfinite(content):
        yield place or "it", content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _not_finite(value, f"{place}.{key}" if place else str(key))
    elif isinstance(content, list | tuple):
        for number, value in enumerate(content):
            yield from _not_finite(value, f"{place}[{number}]")
