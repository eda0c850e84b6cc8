"""Reading: a source is decoded once, in parallel, into one tensor.

Threads decode and scale; this thread alone writes into the store, so the store may change from
grey to colour when the first colour picture turns up. Unreadable pictures are skipped and listed;
when there are many the data is not what the user thinks it is, and reading stops with a sentence.
"""

import statistics
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from selfsight import machine
from selfsight.data.decode import LEAST_SIDE, TooSmall, Unreadable
from selfsight.data.pictures import Pictures, Skipped, fingerprint_of
from selfsight.data.scaling import Fit, fitted, with_channels
from selfsight.data.source import Source
from selfsight.draws import Draws
from selfsight.errors import SelfsightError, UsageError

MOST_SKIPPED = 0.1  # share of unreadable pictures past which reading fails
SHARE_OF_MEMORY = 0.25  # of the machine's, unless the caller says otherwise
HEADERS_FOR_CHANNELS = 32  # a first guess only: the store turns to colour when it must
AT_ONCE = 8  # pictures a thread takes at a time, so that handing over costs little
AHEAD = 4  # bundles a thread may be ahead of the writer, which bounds what is in flight
LISTED = 10  # unreadable pictures that a message names


_Failure = tuple[str, Unreadable]  # a title, and why it could not be read


@dataclass(frozen=True)
class Survey:
    """What the headers of a source tell.

    Attributes:
        longer_side: Median of the pictures' longer sides, in pixels.
        shortest: Least of them.
        longest: Greatest of them.
        channels: 1 if every picture looked at is grey, else 3.
        count: Pictures in the source.
        looked: Headers that could be read.
    """

    longer_side: int
    shortest: int
    longest: int
    channels: int
    count: int
    looked: int


def survey(source: Source, at_most: int = 1000) -> Survey:
    """Read some headers, evenly spaced.

    Args:
        source: The pictures.
        at_most: Headers to read.

    Raises:
        SelfsightError: If none of them can be read.
    """
    count = len(source)
    looked: list[tuple[int, int]] = []  # longer side, channels
    failed: list[_Failure] = []
    for i in np.unique(np.linspace(0, count - 1, min(at_most, count)).astype(int)).tolist():
        try:
            header = source.header(i)
            looked.append((max(header.height, header.width), header.channels))
        except Unreadable as error:
            failed.append((source.title(i), error))
    if not looked:
        raise SelfsightError(_none_readable(source.name, failed))
    longer, channels = zip(*looked, strict=True)
    median = int(statistics.median_low(longer))
    return Survey(median, min(longer), max(longer), max(channels), count, len(looked))


def read(
    source: Source,
    *,
    side: int,
    fit: Fit = "canvas",
    channels: int | None = None,
    limit: int | None = None,
    memory: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Pictures:
    """Decode the pictures of a source into memory.

    Args:
        source: The pictures.
        side: Side of the square canvas, in pixels.
        fit: "canvas" keeps the whole picture, shrunk to fit and never enlarged, top left;
            "square" the largest centred square, shrunk or enlarged to fill.
        channels: 1 turns colour to grey, 3 repeats grey; None is 1 if all are grey, else 3.
        limit: Keep this many, spread evenly over the source and the same ones every time.
        memory: Most bytes to keep; by default a quarter of the machine's memory.
        progress: Called with pictures done and pictures in all.

    Raises:
        UsageError: If an argument is outside its range.
        SelfsightError: If the pictures do not fit, or too many cannot be read.
    """
    _check(side, fit, channels, limit)
    rows = _chosen(len(source), limit)
    memory = memory if memory is not None else int(machine.memory() * SHARE_OF_MEMORY)
    first_guess = channels or _guessed_channels(source)
    store = _Store(len(rows), first_guess, side, memory)
    failed: list[_Failure] = []
    kept: list[int] = []
    work = partial(_read_one, source, side=side, fit=fit, channels=channels)
    for done, (i, result) in enumerate(_in_parallel(work, rows.tolist()), start=1):
        if isinstance(result, Unreadable):
            failed.append((source.title(i), result))
        else:
            store.add(result)
            kept.append(i)
        if progress:
            progress(done, len(rows))
    _judge(source.name, failed, len(rows))
    return _collected(source, store, kept, failed)


def _check(side: int, fit: str, channels: int | None, limit: int | None) -> None:
    """Refuse arguments outside their range."""
    if side < LEAST_SIDE:
        raise UsageError(f"side must be at least {LEAST_SIDE} pixels, got {side}")
    if fit not in ("canvas", "square"):
        raise UsageError(f"fit must be 'canvas' or 'square', got {fit!r}")
    if channels not in (None, 1, 3):
        raise UsageError(f"channels must be 1, 3 or None, got {channels}")
    if limit is not None and limit < 1:
        raise UsageError(f"limit must be at least 1 picture, got {limit}")


def _chosen(count: int, limit: int | None) -> Tensor:
    """Choose rows, sorted: all, or `limit` of them drawn with a fixed seed.

    Not the first ones: pictures lie sorted by class.
    """
    every = torch.arange(count)
    if limit is None or limit >= count:
        return every
    return Draws(0, 0, every).order("limit")[:limit].sort().values


def _guessed_channels(source: Source) -> int:
    """Guess from a few headers; any error is left for the reading to report."""
    try:
        return survey(source, HEADERS_FOR_CHANNELS).channels
    except SelfsightError:
        return 1


def _read_one(
    source: Source, i: int, *, side: int, fit: Fit, channels: int | None
) -> tuple[int, Tensor | Unreadable]:
    """Decode and scale one picture: -> its row, and (C, h, w) uint8 or why not."""
    try:
        pixels = fitted(source.decode(i), side, fit)
    except Unreadable as error:
        return i, error
    return i, with_channels(pixels, channels) if channels else pixels


def _in_parallel(
    work: Callable[[int], tuple[int, Tensor | Unreadable]], rows: list[int]
) -> Iterator[tuple[int, Tensor | Unreadable]]:
    """Map over rows in threads, in order, with a bounded number of results in flight."""
    bundles = (rows[k : k + AT_ONCE] for k in range(0, len(rows), AT_ONCE))
    workers = machine.processors()

    def worked(bundle: list[int]) -> list[tuple[int, Tensor | Unreadable]]:
        return [work(i) for i in bundle]

    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        waiting = deque(pool.submit(worked, b) for b in islice(bundles, workers * AHEAD))
        while waiting:
            yield from waiting.popleft().result()
            waiting.extend(pool.submit(worked, b) for b in islice(bundles, 1))


class _Store:
    """One tensor filled from the front, grey until a colour picture comes.

    Args:
        count: Most pictures there can be.
        channels: 1 or 3.
        side: Side of the canvas, in pixels.
        memory: Most bytes the tensor may take.
    """

    def __init__(self, count: int, channels: int, side: int, memory: int) -> None:
        self.memory = memory
        self.images = self._allocated(count, channels, side)
        self.extent = torch.zeros(count, 2, dtype=torch.int64)
        self.filled = 0

    def add(self, pixels: Tensor) -> None:
        """Place a picture (C, h, w) top left on the next canvas."""
        if len(pixels) > self.images.shape[1]:
            self._promote()
        pixels = with_channels(pixels, self.images.shape[1])
        height, width = pixels.shape[1:]
        self.extent[self.filled, 0], self.extent[self.filled, 1] = height, width
        # numpy, not torch: a copy this small is not worth waking a team of threads for
        self.images.numpy()[self.filled, :, :height, :width] = pixels.numpy()
        self.filled += 1

    def _promote(self) -> None:
        """Turn the grey pictures so far to colour."""
        count, _, side, _ = self.images.shape
        grey = self.images
        self.images = self._allocated(count, 3, side)
        self.images[: self.filled] = grey[: self.filled]

    def _allocated(self, count: int, channels: int, side: int) -> Tensor:
        """Allocate black canvases, if they fit."""
        needed = count * channels * side * side
        if needed > self.memory:
            raise SelfsightError(
                f"{count} pictures of {channels} x {side} x {side} bytes need {_size(needed)}, and "
                f"{_size(self.memory)} of memory may be used. Take fewer pictures with --limit or "
                "a smaller --size."
            )
        return torch.zeros(count, channels, side, side, dtype=torch.uint8)


def _size(count: int) -> str:
    """Write a number of bytes for people."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"


def _collected(source: Source, store: _Store, kept: list[int], failed: list[_Failure]) -> Pictures:
    """Put together what was read."""
    images, extent = store.images[: len(kept)], store.extent[: len(kept)]
    labels = None if source.labels is None else source.labels[torch.tensor(kept)]
    return Pictures(
        images=images,
        extent=extent,
        labels=labels,
        classes=source.classes,
        titles=tuple(source.title(i) for i in kept),
        skipped=tuple(Skipped(title, str(reason)) for title, reason in failed),
        name=source.name,
        fingerprint=fingerprint_of(images, extent, labels),
    )


def _judge(name: str, failed: list[_Failure], count: int) -> None:
    """Stop when too many pictures could not be read."""
    if len(failed) == count:
        raise SelfsightError(_none_readable(name, failed))
    if len(failed) > MOST_SKIPPED * count:
        raise SelfsightError(
            f"{len(failed)} of {count} pictures in {name} cannot be read, and at most "
            f"{MOST_SKIPPED:.0%} may be skipped. Repair or remove them:\n{_listed(failed)}"
        )


def _none_readable(name: str, failed: list[_Failure]) -> str:
    """Say that nothing could be read, and why."""
    if all(isinstance(reason, TooSmall) for _, reason in failed):
        return (
            f"no usable picture in {name}: all {len(failed)} looked at have a side under "
            f"{LEAST_SIDE} pixels. Give larger pictures."
        )
    return f"no readable picture in {name}: give other files, or repair these.\n{_listed(failed)}"


def _listed(failed: list[_Failure]) -> str:
    """List the first unreadable pictures with their reasons, a line each."""
    lines = [f"  {title}: {reason}" for title, reason in failed[:LISTED]]
    rest = len(failed) - LISTED
    return "\n".join([*lines, f"  and {rest} more"] if rest > 0 else lines)
