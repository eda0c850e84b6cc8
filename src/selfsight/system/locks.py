"""Locks: one process works, the others wait or are told who does; the system frees a dead one's.

A lock is a file that says in words who has it. Whoever holds it may remove it: those who waited for
the file that was removed see that it is not the one that lies there now, and take that one. A
process that is forked from its holder does not have it. Where the file system knows no locks, that
is said, and the work goes on without.
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
except ImportError:  # Windows: nobody waits, and nothing counts as free
    fcntl = None

LOCKLESS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}  # file systems without
LONGEST = 300  # characters of the command in a lock, and of what is read of one
# Never through a link, and never waiting for who opens the other end of a pipe.
FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

_open: set[int] = set()  # descriptors of this process's locks; a fork of it closes them


class Lock:
    """A lock's file, open; `alone` and `alone_or_refused` make it.

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
        self._pin: int | None = None  # an open folder keeps its number, which no other has then
        with suppress(OSError):  # Windows opens no folders
            self._pin = os.open(path.parent, getattr(os, "O_PATH", os.O_RDONLY))
            _open.add(self._pin)
        self._folder = path.parent.stat()
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            self.let_go()
            raise OSError(errno.EEXIST, "something other than a file lies there", str(path))

    @property
    def is_there(self) -> bool:
        """Whether its file is the one that lies there: else it, or its folder, was taken away."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self.path.lstat())
        except OSError:
            return False

    def hold(self) -> bool:
        """Hold on to it, anew where its file alone was taken away: -> whether it is held.

        It is not where its folder is gone or another, or where another process has a lock there.
        What the system cannot tell at the moment, as of a disk that is far away, costs no lock.
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
        """Lock it, and write into it who does.

        Raises:
            BlockingIOError: If another has it, and it is not waited for.
            OSError: If there are no locks here.
        """
        if fcntl is None:
            raise OSError(errno.ENOSYS, "this system has no locks")
        fcntl.flock(self._descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(OSError):  # on a full disk it stays unsaid
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, _words().encode("utf-8", "surrogateescape"), 0)

    def let_go(self, *, remove: bool = False) -> None:
        """Give it up, in the process that took it; in others nothing happens."""
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
    """Hold a lock for the length of a block, once it is free.

    Args:
        path: The lock's file, in a folder that is there.
        doing: What whoever has it does, so that it can be said who is waited for.

    Raises:
        OSError: If it cannot be made.
    """
    try:
        lock = _taken_or_said(path, wait=False)
    except BlockingIOError:
        if doing:
            from selfsight.system.progress import console  # it draws, which is slow to load

            console().print(f"waiting for {_holder(path)}, which {doing}")
        lock = _taken_or_said(path, wait=True)
    try:
        yield
    finally:
        if lock is not None:
            lock.let_go()


@contextmanager
def alone_if_free(path: Path) -> Generator[bool]:
    """Hold a lock for the length of a block if nobody has it: -> whether that is so."""
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
    """Own something that is written for the length of a block, or refuse by naming who does.

    Args:
        path: The lock's file, in a folder that is there; it is removed at the end.
        what: What is locked, as a sentence begins with it.
        otherwise: What to do if another owns it, after waiting: "or ...".

    Returns:
        As a context: the lock; None where there are no locks.

    Raises:
        SelfsightError: If another owns it.
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
    """Take the lock of an open file until it is closed: -> whether this process has it now.

    Where there are no locks nobody has.
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
        BlockingIOError: If another has it, and it is not waited for.
        OSError: If it cannot be made, or there are no locks here.
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
        lock.let_go()  # its holder has removed it meanwhile


def _taken_or_said(path: Path, *, wait: bool) -> Lock | None:
    """Take a lock as `_taken` does; None, said in a sentence, where there are no locks."""
    try:
        return _taken(path, wait=wait)
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise
        from selfsight.system.progress import console  # it draws, which is slow to load

        console().print(
            f"{path.parent} lies on a file system without locks ({error.strerror}), so nothing "
            "keeps a second process from writing there at the same time; start none"
        )
        return None


def _words() -> str:
    """Say who this process is."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    command = shlex.join([name, *sys.argv[1:]])[:LONGEST]
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {platform.node()} since {since}: {command}"


def _holder(path: Path) -> str:
    """Read who has a lock."""
    words = ""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | FLAGS)
        try:
            words = os.pread(descriptor, 2 * LONGEST, 0).decode("utf-8", "replace")
        finally:
            os.close(descriptor)
    return escaped(words) if words else "another process"


def _forget() -> None:
    """Close, in a process just forked, what would keep its parent's locks beyond its death."""
    for descriptor in _open:
        with suppress(OSError):
            os.close(descriptor)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
