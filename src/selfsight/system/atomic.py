"""Atomic writing: a reader, a kill or a full disk never leaves half a file in place.

A file is written beside its place under a unique name (`NAME.0123456789abcdef.part`), flushed to
the disk and renamed. Nothing is written through a link that lies where a file of ours goes; links
in the path that a user gives are followed. Parts left by a process that died while writing are
recognised by their free lock, and removed.
"""

import contextlib
import errno
import io
import json
import math
import os
import re
import secrets
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from selfsight.errors import SelfsightError
from selfsight.system import locks
from selfsight.system.escaping import escaped
from selfsight.system.locks import Lock, is_taken

PART = re.compile(r"\.[0-9a-f]{16}\.part$")
NAMED = 50  # characters of a name that its part's name begins with, so that it is not too long
PAGE = bytes(4096)  # written on trial into a folder, to see that it can be written
ANOTHER = "or name another place"
# Remedies by the system's error; any other error leaves only another place.
REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room within your quota",
    errno.EFBIG: "allow larger files (ulimit -f)",
    errno.EACCES: "have its owner let you write there",
    errno.EPERM: "have its owner let you write there",
    errno.EROFS: "have it mounted for writing",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.EIO: "see to the disk",
    errno.ENAMETOOLONG: "give it a shorter name",
}

_unkept: set[str] = set()  # what this process has already reported as not kept


@contextlib.contextmanager
def written(path: Path, *, another: str = ANOTHER) -> Generator[BinaryIO]:
    """Give a file to write into; at the end of the block it is moved to its place.

    If the block fails, the former file stays as it is.

    Args:
        path: The place, in an existing folder.
        another: A further remedy for the error message, after the one for the system's error:
            "or ..." if it is an alternative, "then ..." if it comes afterwards.

    Raises:
        SelfsightError: If it cannot be written, for instance on a full disk; also from the file's
            methods within the block. Other errors of the block pass unchanged.
    """
    with blamed(path, another):
        part, descriptor = _begun(path)
    raw = _Blaming(descriptor, path, another)
    try:
        file = io.BufferedWriter(raw)
        yield file
        file.flush()
        with blamed(path, another):
            os.fsync(descriptor)
            if os.name == "nt":  # open files cannot be renamed there; elsewhere the lock is kept
                raw.close()
            part.replace(path)
            raw.close()
            settle(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            raw.close()
        with contextlib.suppress(OSError):
            part.unlink()
        raise


class _Blaming(io.FileIO):
    """A file whose write errors name the place it is for."""

    def __init__(self, descriptor: int, path: Path, another: str) -> None:
        super().__init__(descriptor, "wb")
        self._place = path, another

    def write(self, content: Any, /) -> int:
        """Write bytes."""
        with blamed(*self._place):
            return super().write(content)


def _begun(path: Path) -> tuple[Path, int]:
    """Make the part file beside a place: -> its path, and its descriptor, locked if possible."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    while True:
        part = path.with_name(f"{path.name[:NAMED]}.{secrets.token_hex(8)}.part")
        descriptor = os.open(part, flags, 0o666)
        is_taken(descriptor, wait=True)
        if part.exists():
            return part, descriptor
        os.close(descriptor)  # another process's `tidy` removed it before it was locked


def settle(path: Path) -> None:
    """Flush a folder's entries to the disk, where the system can."""
    with contextlib.suppress(OSError):  # Windows opens no folders
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def tidy(path: Path) -> None:
    """Remove from a folder the part files that dead processes left."""
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            if PART.search(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    _remove_if_dead(Path(entry.path))


def _remove_if_dead(part: Path) -> None:
    """Remove a part that no living process writes; without locks nothing is removed."""
    descriptor = os.open(part, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        if is_taken(descriptor):
            part.unlink()
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def blamed(
    path: Path, another: str = ANOTHER, *, what: str = "could not be written"
) -> Generator[None]:
    """Turn a system error within a block into a sentence about a place.

    Args:
        path: The place.
        another: A further remedy, as for `written`.
        what: What went wrong with it.

    Raises:
        SelfsightError: Names the place, what went wrong, why, and what helps.
    """
    try:
        yield
    except OSError as error:
        reason, remedy = cause(path, error)
        kept = path.is_file() and error.errno not in (errno.EIO, errno.EEXIST)
        intact = "; what was saved there before is intact" if kept else ""
        helps = f"{remedy}, {another}" if remedy else another.partition(" ")[2]
        raise SelfsightError(
            f"{escaped(str(path))} {what}: {reason}{intact}. {helps[:1].upper()}{helps[1:]}"
        ) from error


def cause(path: Path, error: OSError) -> tuple[str, str | None]:
    """Explain why a place cannot be written: -> the reason, and what helps, or None."""
    reason, number = error.strerror or str(error), error.errno
    if number == errno.ELOOP and path.is_symlink():
        return "it is a link, and nothing is written through it", "remove it"
    around = Path(os.fsdecode(error.filename) if error.filename else path).parent
    if number == errno.ENOENT and not around.is_dir():
        return f"{reason}: the folder {escaped(str(around))} does not exist", "make it"
    if number in (errno.ENOTDIR, errno.EEXIST) and (file := _in_the_way(path)):
        return f"{reason}: {escaped(str(file))} is in the way", "move that away"
    if number in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST) and path.is_dir():
        return f"{reason}: a folder lies there", "move it away"
    return reason, REMEDIES.get(number or 0)


def _in_the_way(path: Path) -> Path | None:
    """Find a file that lies where this path needs a folder."""
    for place in (path, *path.parents):
        if place.is_dir():
            return None
        if os.path.lexists(place):
            return place
    return None


def folder(path: Path, *, another: str = ANOTHER) -> Path:
    """Make a folder ready as `writable` does, and remove dead processes' parts: -> the same path.

    Raises:
        SelfsightError: If it cannot be made, or nothing can be written there.
    """
    writable(path, another=another)
    tidy(path)
    return path


def writable(path: Path, *, another: str = ANOTHER) -> Path:
    """Make a folder if there is none, and check that it can be written: -> the same path.

    Called before the work begins, it prevents work whose result cannot be saved.

    Args:
        path: The folder.
        another: A further remedy, as for `written`.

    Raises:
        SelfsightError: If it cannot be made, or nothing can be written there.
    """
    with blamed(path, another, what="cannot be made a folder"):
        path.mkdir(parents=True, exist_ok=True)
    with blamed(path, another):
        part, descriptor = _begun(path / "trial")
        try:
            with open(descriptor, "wb") as file:
                file.write(PAGE)
        finally:
            part.unlink()
    return path


def file_place(path: Path, *, another: str = ANOTHER) -> Path:
    """Prepare the place of a file that is written later: -> the same path; see `folder`.

    Raises:
        SelfsightError: If nothing can be written in its folder, or a folder lies in its place.
    """
    folder(path.parent, another=another)
    if path.is_dir():
        raise SelfsightError(
            f"{escaped(str(path))} cannot be a file: a folder lies there; move it away, {another}"
        )
    return path


def subfolder(parent: Path, name: str, *, another: str = ANOTHER) -> Path:
    """Make a folder of ours within another, ready to be written to: -> its path; see `folder`.

    Args:
        parent: The folder that the user named, or a run.
        name: The folder in it, such as "results", or nested ones.
        another: A further remedy, as for `written`.

    Raises:
        SelfsightError: If it cannot be made or written, or one of the nested folders is a link.
    """
    place = parent
    for step in Path(name).parts:
        place = place / step
        refuse_link(place, another=another)
    return folder(place, another=another)


def refuse_link(path: Path, *, another: str = ANOTHER) -> None:
    """Refuse a link in a place of ours.

    Raises:
        SelfsightError: If the place is a link.
    """
    if path.is_symlink():
        raise SelfsightError(
            f"{escaped(str(path))} is a link, and nothing is written through it: selfsight's own "
            f"folders are never links. Move the folder that it leads to back here, {another}"
        )


@contextlib.contextmanager
def kept_if_possible(what: str) -> Generator[None]:
    """Let a block save what could be computed again; if it fails, print that and go on.

    Args:
        what: What is saved, as a plural subject of a sentence; each is reported once.
    """
    try:
        yield
    except SelfsightError as error:
        from selfsight.system.progress import console  # slow to load, and seldom needed

        if what not in _unkept:
            console().print(f"{what} are not kept for the next time: {error}")
        _unkept.add(what)


@contextlib.contextmanager
def owned(
    place: Path, lock: Path, *, otherwise: str = ANOTHER, another: str = ANOTHER
) -> Generator[Lock | None]:
    """Lock a file or folder for the length of a block, as `locks.alone_or_refused` does.

    Args:
        place: What is locked.
        lock: The lock's file, in an existing folder.
        otherwise: What to do instead of waiting, if another process holds it: "or ...".
        another: A further remedy if the lock cannot be made, as for `written`.

    Raises:
        SelfsightError: If another process holds it, which is named, or the lock cannot be made.
    """
    with contextlib.ExitStack() as stack:
        with blamed(lock, another):
            owning = locks.alone_or_refused(lock, what=escaped(str(place)), otherwise=otherwise)
            held = stack.enter_context(owning)
        yield held


def write_bytes(path: Path, content: bytes, *, another: str = ANOTHER) -> None:
    """Write a whole file, as `written` does.

    Raises:
        SelfsightError: If it cannot be written, for instance on a full disk. The old file stays.
    """
    with written(path, another=another) as file:
        file.write(content)


def write_text(path: Path, content: str, *, another: str = ANOTHER) -> None:
    """Write a text file as `write_bytes` does, in UTF-8."""
    write_bytes(path, content.encode(), another=another)


def write_json(path: Path, content: Any, *, another: str = ANOTHER) -> None:
    """Write plain values as indented JSON, as `write_bytes` does; see `json_text`."""
    write_text(path, json_text(content) + "\n", another=another)


def json_text(content: Any) -> str:
    """Write plain values as indented JSON, in ASCII without control characters.

    Raises:
        SelfsightError: If a number is NaN or infinite: JSON cannot express these, and a result
            that holds one is useless.
    """
    try:
        spelt = json.dumps(content, indent=2, allow_nan=False)
    except ValueError as error:
        places = ", ".join(f"{place} is {value}" for place, value in _not_finite(content))
        raise SelfsightError(
            f"a record must hold finite numbers, and {places or error}; the result is useless "
            "and is not written. A lower --rate or --precision f32 may help, or other data"
        ) from error
    return spelt.replace("\x7f", "\\u007f")  # the one control character that JSON does not escape


def _not_finite(content: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Find the numbers that JSON cannot hold: -> the place and the value of each."""
    if isinstance(content, float) and not math.isfinite(content):
        yield place or "it", content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _not_finite(value, f"{place}.{key}" if place else str(key))
    elif isinstance(content, list | tuple):
        for number, value in enumerate(content):
            yield from _not_finite(value, f"{place}[{number}]")
