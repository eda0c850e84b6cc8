"""Striking: what a command does to itself at one moment of its life, so that a fault hits there.

A moment is a number of calls: functions that its main thread has called since it began, Python's
and C's, or of these only those that the system does with files. The same command makes the same
calls, so that a moment which is found to be bad is met again. Where a moment in the midst of a call
is wanted, somebody else has to kill the process, by the clock.
"""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

# What the system does with files; `open` of the module `_io` is Python's own.
FILES = {
    "open", "write", "pwrite", "fsync", "ftruncate", "truncate", "replace", "rename", "link",
    "unlink", "remove", "mkdir", "rmdir", "utime", "sendfile",
}  # fmt: skip


def count(told: str) -> None:
    """Count this command's calls, and write them down when it has ended: `calls` and `files`."""
    calls = files = 0
    here, home = os.getpid(), _main()

    def seen(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls, files
        if event == "c_call":
            calls += 1
            files += argument.__name__ in FILES and argument.__module__ in ("posix", "_io")
        elif event == "call":
            calls += 1
        elif event == "return" and frame.f_code is home and os.getpid() == here:
            sys.setprofile(None)
            Path(told).write_text(json.dumps({"calls": calls, "files": files}))

    sys.setprofile(seen)


def strike(way: str, number: int, deed: str, *arguments: Any) -> None:
    """Do a deed once, just before this command's call of a number.

    Args:
        way: "calls" or "files": which calls count.
        number: From 1.
        deed: The name of a function below.
        *arguments: For it.
    """
    left, among_files, here = number, way == "files", os.getpid()

    def seen(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal left
        if event == "c_call":
            if among_files and (
                argument.__name__ not in FILES or argument.__module__ not in ("posix", "_io")
            ):
                return
        elif event != "call" or among_files:
            return
        left -= 1
        if left == 0:
            sys.setprofile(None)
            if os.getpid() == here:
                DEEDS[deed](*arguments)

    sys.setprofile(seen)


def _main() -> CodeType:
    from selfsight.cli import main

    return main.__code__


def _signal(number: int) -> None:
    os.kill(os.getpid(), number)


def _fill(folder: str, named: str) -> None:
    """Take all that is free on the disk of a folder, so that not a byte more can be written."""
    descriptor = os.open(Path(folder) / named, os.O_WRONLY | os.O_CREAT, 0o666)
    with contextlib.suppress(OSError):
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while os.write(descriptor, bytes(size)):
                    pass
    os.close(descriptor)


def _cut(path: str, share: float) -> None:
    """Cut a file, or every file of a folder, to a share of its length."""
    place = Path(path)
    for one in [place] if place.is_file() else sorted(place.rglob("*")):
        if one.is_file():
            os.truncate(one, int(one.stat().st_size * share))


def _remove(path: str) -> None:
    """Remove a file, or a folder with all that is in it."""
    place = Path(path)
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()


DEEDS: dict[str, Callable[..., None]] = {
    "signal": _signal,
    "fill": _fill,
    "cut": _cut,
    "remove": _remove,
}


def lose(number: int, how: str) -> None:
    """Lose this command's standard output or error, from its beginning.

    Args:
        number: 1 or 2.
        how: "closed", as by `>&-`; "full", as on a full disk; "gone", as when its reader ended.
    """
    if how == "closed":
        os.close(number)
        setattr(sys, {1: "stdout", 2: "stderr"}[number], None)  # as Python has it then
        return
    if how == "full":
        into = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, into = os.pipe()
        os.close(reader)
    os.dup2(into, number)
    os.close(into)
