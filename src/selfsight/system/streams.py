"""Streams: what is said on standard output and standard error may be lost, never the work.

A terminal is closed, the reader of a pipe leaves, the disk behind a log is full, or the streams
were closed before the start: writing then fails, or finds no stream at all. What cannot be written
is dropped, the first reason is kept, and whoever asked for an answer learns of it by the exit
status.
"""

import errno
import io
import os
import stat
import sys
from typing import Any, TextIO, cast

# Of writing to what nobody reads any more: a pipe, a connection, a terminal.
GONE = (errno.EPIPE, errno.ECONNRESET, errno.EIO)


class _Nowhere(io.TextIOBase):
    """A stream that drops what it is given, where there is none."""

    def write(self, text: str) -> int:
        """Drop a text."""
        return len(text)


class SafeStream:
    """A text stream to which writing never fails; it is used like the stream it stands for.

    Args:
        stream: Where to write; None where the stream was closed before the start.

    Attributes:
        lost: Why something could not be written, the first time; None if all could.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = _Nowhere() if stream is None else stream
        self.lost: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        """Write a text; letters that the stream has not are spelt out."""
        try:
            return self.stream.write(text)
        except UnicodeEncodeError:
            known = self.stream.encoding  # of tables of letters the error says "charmap" alone
            spelt = text.encode(known, "backslashreplace").decode(known)
            return self.write(spelt)
        except (OSError, ValueError) as error:  # of closed streams Python says ValueError
            self.lost = self.lost or error
            return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what waits to be written."""
        try:
            self.stream.flush()
        except (OSError, ValueError) as error:
            self.lost = self.lost or error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    @property
    def cut(self) -> OSError | ValueError | None:
        """Why a reader who waits does not have all, as on a full disk; None if nobody waits."""
        gone = isinstance(self.lost, OSError) and self.lost.errno in GONE and not self._is_file()
        return None if gone else self.lost

    def _is_file(self) -> bool:
        """Tell whether it is a file on a disk, of which EIO says that the disk is broken."""
        try:
            return stat.S_ISREG(os.fstat(self.stream.fileno()).st_mode)
        except (OSError, ValueError):
            return False

    def let_go(self) -> None:
        """Send what could not be written nowhere, so that Python's end does not try it again."""
        if self.lost is None:
            return
        try:
            number = self.stream.fileno()
        except (OSError, ValueError):  # it is closed, or a stream in memory
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)


class SafeStandardStreams:
    """Puts lasting streams in the place of `sys.stdout` and `sys.stderr`, as a context.

    Attributes:
        output: Standard output, where answers go.
        error: Standard error, where everything else goes.
    """

    def __enter__(self) -> "SafeStandardStreams":
        open_closed_streams()
        self._old = sys.stdout, sys.stderr
        self.output, self.error = map(SafeStream, self._old)
        sys.stdout, sys.stderr = cast(TextIO, self.output), cast(TextIO, self.error)
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.output, self.error):
            stream.flush()
            stream.let_go()
        sys.stdout, sys.stderr = self._old


def open_closed_streams() -> None:
    """Let the standard streams that were closed before the start lead nowhere.

    The next files to be opened would get their numbers otherwise, and a library that writes its
    warnings to standard error would write them into a checkpoint.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free: this one
