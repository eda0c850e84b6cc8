"""Locks: one process works, the others wait; the system takes a lock from a process that dies.

A lock is a file. Whoever holds it may remove it: those who waited for the file that was removed
see that it is not the one that lies there now, and take that one.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nobody waits, and nothing counts as free
    fcntl = None


@contextmanager
def alone(path: Path) -> Generator[None]:
    """Hold a lock for the length of a block, once it is free.

    Args:
        path: The lock's file, in a folder that is there.

    Raises:
        OSError: If it cannot be made.
    """
    file = _taken(path, wait=True)
    try:
        yield
    finally:
        if file is not None:
            file.close()


@contextmanager
def alone_if_free(path: Path) -> Generator[bool]:
    """Hold a lock for the length of a block if nobody has it: -> whether that is so."""
    file = None
    with suppress(OSError):
        file = _taken(path, wait=False)
    try:
        yield file is not None
    finally:
        if file is not None:
            file.close()


def _taken(path: Path, *, wait: bool) -> TextIOWrapper | None:
    """Take a lock: -> what holds it until it is closed; None where that cannot be had."""
    if fcntl is None:
        return None
    while True:
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_there(file, path):
                return file
        except BlockingIOError:
            file.close()
            return None
        except BaseException:
            file.close()
            raise
        file.close()


def _is_there(file: TextIOWrapper, path: Path) -> bool:
    """Tell whether an open file is the one of this name, or was removed."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
