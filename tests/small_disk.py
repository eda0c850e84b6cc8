"""Small disk: a place that is really full after so many bytes or files, for one process's sight.

A process of one thread takes mounts of its own, which needs no rights where the system lets users
have namespaces, and mounts a file system in memory there. Its forks see it too; nobody else does,
and it goes with the last of them.
"""

import ctypes
import os
from pathlib import Path

NEW_MOUNTS, NEW_USER, REMOUNT = 0x00020000, 0x10000000, 32
AMPLE, MANY = 1 << 30, 1 << 20  # bytes; files and folders


def own_mounts() -> None:
    """Take mounts of its own for this process and its forks.

    Raises:
        OSError: If the system does not let it.
    """
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare"):
        raise OSError("there are no namespaces here")
    _done(libc.unshare(NEW_MOUNTS | NEW_USER))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def mount(place: Path, *, size: int = AMPLE, files: int = MANY, again: bool = False) -> None:
    """Mount an empty disk at a folder, or change one that is there.

    Args:
        place: The folder.
        size: How many bytes go on it; whole pages count.
        files: How many files and folders go on it.
        again: Whether it is there.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    settings = f"size={size},nr_inodes={files}".encode()
    flags = REMOUNT if again else 0
    _done(libc.mount(b"tmpfs", os.fsencode(place), b"tmpfs", flags, settings))


def _done(status: int) -> None:
    if status:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
