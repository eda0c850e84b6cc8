"""Streams: standard output and standard error that never stop the work.

A terminal may be closed, the reader of a pipe may leave, the disk behind a log may be full, or the
streams may have been closed before the start. Writing then fails, or there is no stream at all.
What cannot be written is dropped and the first error is kept; if an answer was lost, the exit
status says so.
"""

import errno
import io
import os
import stat
import sys
from typing import Any, TextIO, cast

# Errors of writing to a pipe, a connection or a terminal that nobody reads any more.
GONE = (errno.EPIPE, errno.ECONNRESET, errno.EIO)


class _Nowhere(io.TextIOBase):
    """Takes the place of a missing stream and drops what is written."""

    def write(self, text: str) -> int:
        """Drop a text."""
        return len(text)


class SafeStream:
    """Wraps a text stream so that writing never fails; it is used like the stream itself.

    Args:
        stream: Where to write; None where the stream was closed before the start.

    Attributes:
        lost: Why something could not be written, the first time; None if all could.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = _Nowhere() if stream is None else stream
        self.lost: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        """Write a text; characters that the stream's encoding lacks are written as escapes."""
        try:
            return self.stream.write(text)
        except UnicodeEncodeError:
            known = self.stream.encoding  # the error itself may name only "charmap"
            spelt = text.encode(known, "backslashreplace").decode(known)
            return self.write(spelt)
        except (OSError, ValueError) as error:  # a closed stream raises ValueError
            self.lost = self.lost or error
            return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            self.stream.flush()
        except (OSError, ValueError) as error:
            self.lost = self.lost or error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    @property
    def cut(self) -> OSError | ValueError | None:
        """Why a waiting reader lacks a part, such as a full disk; None if nobody waits for it."""
        gone = isinstance(self.lost, OSError) and self.lost.errno in GONE and not self._is_file()
        return None if gone else self.lost

    def _is_file(self) -> bool:
        """Tell whether it is a file on a disk, where EIO means that the disk is broken."""
        try:
            return stat.S_ISREG(os.fstat(self.stream.fileno()).st_mode)
        except (OSError, ValueError):
            return False

    def let_go(self) -> None:
        """Redirect a failed stream to the null device, so that Python's exit does not retry it."""
        if self.lost is None:
            return
        try:
            number = self.stream.fileno()
        except (OSError, ValueError):  # closed, or a stream in memory
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)


class SafeStandardStreams:
    """Replaces `sys.stdout` and `sys.stderr` by safe streams, as a context.

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
    """Open the null device for every standard stream that was closed before the start.

    Otherwise the next files to be opened would get their descriptors, and a library that writes
    warnings to standard error would write them into a checkpoint.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free: this one
