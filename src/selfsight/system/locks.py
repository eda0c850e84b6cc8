"""Locks: file locks that one process holds while others wait or are told who holds it.

A lock is a file whose text names the process that holds it; the system frees the lock of a process
that dies. The holder may remove the file: processes that waited for the removed file notice that
another one lies there now, and lock that one. A process forked from the holder does not hold the
lock. On a file system without locks a message says so, and the work goes on unlocked.
"""

import errno
import os
import platform
import shlex
import stat
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from selfsight.errors import SelfsightError
from selfsight.system.escaping import escaped

try:
    import fcntl
except ImportError:  # Windows: no locks, so nobody waits
    fcntl = None

LOCKLESS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}  # errors where none exist
LONGEST = 300  # characters of the holder's command that are written into a lock
# Follow no link, and do not block on a pipe.
FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

_open: set[int] = set()  # descriptors of this process's locks; a fork of it closes them


class Lock:
    """An open lock file; made by `alone` and `alone_or_refused`.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be opened or made, or is no plain file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = os.getpid()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | FLAGS, 0o666)
        _open.add(self._descriptor)
        self._pin: int | None = None  # an open folder's inode number is not given to another one
        with suppress(OSError):  # Windows opens no folders
            self._pin = os.open(path.parent, getattr(os, "O_PATH", os.O_RDONLY))
            _open.add(self._pin)
        self._folder = path.parent.stat()
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            self.let_go()
            raise OSError(errno.EEXIST, "something other than a file lies there", str(path))

    @property
    def is_there(self) -> bool:
        """Whether the file at its path is still this one; not if it or its folder was removed."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self.path.lstat())
        except OSError:
            return False

    def hold(self) -> bool:
        """Keep the lock, and take it again if only its file was removed: -> whether it is held.

        It is lost if its folder was removed or replaced, or if another process holds a lock there.
        While the system cannot tell, as for an unreachable network disk, it counts as held.
        """
        try:
            if not os.path.samestat(self._folder, self.path.parent.stat()):
                return False
            if os.path.samestat(os.fstat(self._descriptor), self.path.lstat()):
                return True
        except FileNotFoundError:
            if not os.path.lexists(self.path.parent):
                return False
        except NotADirectoryError:
            return False
        except OSError:
            return True
        try:
            anew = _taken(self.path, wait=False)
        except BlockingIOError:
            return False
        except OSError:
            return True
        self._descriptor, anew._descriptor = anew._descriptor, self._descriptor
        anew.let_go()
        return True

    def take(self, *, wait: bool) -> None:
        """Lock the file and write into it which process holds it.

        Raises:
            BlockingIOError: If another process holds it and `wait` is False.
            OSError: If the file system has no locks.
        """
        if fcntl is None:
            raise OSError(errno.ENOSYS, "this system has no locks")
        fcntl.flock(self._descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(OSError):  # on a full disk the holder's name is missing
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, _words().encode("utf-8", "surrogateescape"), 0)

    def let_go(self, *, remove: bool = False) -> None:
        """Release the lock, in the process that took it; in others nothing happens."""
        if os.getpid() != self._process:
            return
        if remove and self.is_there:
            with suppress(OSError):
                self.path.unlink()
        for descriptor in (self._descriptor, self._pin):
            if descriptor is not None:
                _open.discard(descriptor)
                os.close(descriptor)


@contextmanager
def alone(path: Path, *, doing: str | None = None) -> Generator[None]:
    """Wait for a lock and hold it for the length of a block.

    Args:
        path: The lock's file, in an existing folder.
        doing: What the holder does, for the message that this process waits; None prints none.

    Raises:
        OSError: If the lock cannot be made.
    """
    try:
        lock = _taken_or_said(path, wait=False)
    except BlockingIOError:
        if doing:
            from selfsight.system.progress import console  # slow to load

            console().print(f"waiting for {_holder(path)}, which {doing}")
        lock = _taken_or_said(path, wait=True)
    try:
        yield
    finally:
        if lock is not None:
            lock.let_go()


@contextmanager
def alone_if_free(path: Path) -> Generator[bool]:
    """Hold a lock for the length of a block if it is free: -> whether it was."""
    lock = None
    with suppress(OSError):
        lock = _taken(path, wait=False)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.let_go()


@contextmanager
def alone_or_refused(path: Path, *, what: str, otherwise: str) -> Generator[Lock | None]:
    """Lock something that is written for the length of a block, or refuse and name the holder.

    Args:
        path: The lock's file, in an existing folder; it is removed at the end.
        what: What is locked, as the subject of a sentence.
        otherwise: What to do instead of waiting, if another process holds it: "or ...".

    Returns:
        As a context: the lock; None where the file system has none.

    Raises:
        SelfsightError: If another process holds it.
        OSError: If the lock cannot be made.
    """
    try:
        lock = _taken_or_said(path, wait=False)
    except BlockingIOError:
        raise SelfsightError(
            f"{what} is being written by {_holder(path)}; wait until that has ended, {otherwise}"
        ) from None
    try:
        yield lock
    finally:
        if lock is not None:
            lock.let_go(remove=True)


def is_taken(descriptor: int, *, wait: bool = False) -> bool:
    """Lock an open file until it is closed: -> whether this process holds it now.

    Where there are no locks it is False.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _taken(path: Path, *, wait: bool) -> Lock:
    """Take a lock.

    Raises:
        BlockingIOError: If another process holds it and `wait` is False.
        OSError: If it cannot be made, or the file system has no locks.
    """
    while True:
        lock = Lock(path)
        try:
            lock.take(wait=wait)
            if lock.is_there:
                return lock
        except BaseException:
            lock.let_go()
            raise
        lock.let_go()  # its holder removed the file meanwhile


def _taken_or_said(path: Path, *, wait: bool) -> Lock | None:
    """Take a lock as `_taken` does; where there are no locks, print that and give None."""
    try:
        return _taken(path, wait=wait)
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise
        from selfsight.system.progress import console  # slow to load

        console().print(
            f"{path.parent} lies on a file system without locks ({error.strerror}), so nothing "
            "keeps a second process from writing there at the same time; do not start one"
        )
        return None


def _words() -> str:
    """Describe this process: number, machine, time, command."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    command = shlex.join([name, *sys.argv[1:]])[:LONGEST]
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {platform.node()} since {since}: {command}"


def _holder(path: Path) -> str:
    """Read which process holds a lock."""
    words = ""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | FLAGS)
        try:
            words = os.pread(descriptor, 2 * LONGEST, 0).decode("utf-8", "replace")
        finally:
            os.close(descriptor)
    return escaped(words) if words else "another process"


def _forget() -> None:
    """Close the locks in a process just forked, else they would outlive their holder's death."""
    for descriptor in _open:
        with suppress(OSError):
            os.close(descriptor)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
