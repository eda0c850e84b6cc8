"""Decoding in parallel: threads decode and scale pictures; the caller gets them in order."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from types import TracebackType

from torch import Tensor

from selfsight.data.pictures.canvases import Form
from selfsight.data.pictures.memory_budget import BUDGET
from selfsight.data.pictures.scaling import Fit, with_channels
from selfsight.data.pictures.skipping import Failure
from selfsight.data.pictures.source import PictureSource
from selfsight.data.source import Unreadable
from selfsight.system import machine

AT_ONCE = 8  # pictures a thread takes at a time, so that passing them on costs little
AHEAD = 4  # bundles for each thread that may be in flight before the caller takes them

Decoded = Tensor | Unreadable  # a picture (C, h, w), or why it could not be decoded


@dataclass(frozen=True)
class Wanted:
    """Which pictures are to be decoded, and in what form they are stored.

    Attributes:
        source: The pictures.
        rows: Which of them.
        side: Side of the square canvas, in pixels.
        fit: How a picture is scaled to it.
        channels: Channels that all are converted to; None keeps their own.
        form: The form that they are expected to have; a picture may require a wider one.
    """

    source: PictureSource
    rows: list[int]
    side: int
    fit: Fit
    channels: int | None
    form: Form

    @property
    def bytes(self) -> int:
        """Size of all canvases."""
        return len(self.rows) * self.form.bytes_each(self.side)

    def decoded_one(self, row: int) -> Decoded:
        """Decode and scale a picture: -> (C, h, w) uint8 or uint16, or why it is unreadable."""
        try:
            with BUDGET.turn():
                pixels = self.source.scaled(row, self.side, self.fit)
                return with_channels(pixels, self.channels) if self.channels else pixels
        except Unreadable as error:
            return error

    def decoded(self, rows: list[int], pool: ThreadPoolExecutor) -> Generator[tuple[int, Decoded]]:
        """Decode in threads: -> (row, picture) in order, with a bounded number in flight."""
        bundles = (rows[k : k + AT_ONCE] for k in range(0, len(rows), AT_ONCE))
        at_most = machine.processors() * AHEAD

        def worked(bundle: list[int]) -> list[tuple[int, Decoded]]:
            return [(row, self.decoded_one(row)) for row in bundle]

        waiting = deque(pool.submit(worked, bundle) for bundle in islice(bundles, at_most))
        try:
            while waiting:
                yield from waiting.popleft().result()
                waiting.extend(pool.submit(worked, bundle) for bundle in islice(bundles, 1))
        finally:  # do not start what is no longer needed
            for future in waiting:
                future.cancel()

    def failure(self, row: int, reason: Unreadable) -> Failure:
        """Make the record of a picture that could not be read."""
        return Failure(self.source.title(row), reason)


class _Workers(ThreadPoolExecutor):
    """Threads that start nothing more once their block is left by an error or Ctrl-C."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown(wait=True, cancel_futures=kind is not None)


def workers() -> ThreadPoolExecutor:
    """Start decoding threads, one for each core."""
    return _Workers(machine.processors(), thread_name_prefix="decode")
