"""Storing: reads a source's pictures into memory, onto the disk, or as a stream.

What fits into a quarter of memory is decoded once and kept there; what fits on half of the free
disk becomes a map in the cache folder; the rest is streamed. All three give a step the same
pictures, except those with a sound header and a damaged body, which only a stream keeps until it
decodes them. Unreadable pictures are skipped and listed.
"""

import contextlib
import shutil
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from selfsight.data.batches import chosen_rows
from selfsight.data.pictures.canvases import DTYPES, Form
from selfsight.data.pictures.collection import Pictures, fingerprint_of
from selfsight.data.pictures.decoding import Wanted, workers
from selfsight.data.pictures.files.decode import LEAST_SIDE
from selfsight.data.pictures.mapping import mapped
from selfsight.data.pictures.scaling import Fit
from selfsight.data.pictures.skipping import Failure, judge, none_readable
from selfsight.data.pictures.source import PictureSource
from selfsight.data.pictures.streaming import Streamed, read_headers
from selfsight.data.samples import Skipped, Storage
from selfsight.data.source import Unreadable
from selfsight.errors import SelfsightError, UsageError
from selfsight.system import machine

SHARE_OF_MEMORY = 0.25  # of the machine's memory, unless the caller says otherwise
SHARE_OF_DISK = 0.5  # of the free space on the cache folder's disk
HEADERS_SURVEYED = 1000  # evenly spaced
HEADERS_FOR_FORM = 32  # for a first guess only: the form is widened when a picture needs it

Progress = Callable[[int, int], None] | None  # called with pictures done and pictures in all


@dataclass(frozen=True)
class Survey:
    """What the headers of a source show.

    Attributes:
        longer_side: Median of the pictures' longer sides, in pixels.
        shortest: Least of the longer sides.
        longest: Greatest of the longer sides.
        channels: 1 if every examined picture is grey, 3 if some have colour; otherwise the
            commonest number of channels.
        bits: Greatest depth of a sample, 8 or 16.
        count: Number of pictures in the source.
        looked: Number of headers that could be read.
    """

    longer_side: int
    shortest: int
    longest: int
    channels: int
    bits: int
    count: int
    looked: int


def survey(source: PictureSource, at_most: int = HEADERS_SURVEYED) -> Survey:
    """Read some headers, evenly spaced.

    Args:
        source: The pictures.
        at_most: Greatest number of headers to read.

    Raises:
        SelfsightError: If none of them can be read.
    """
    count = len(source)
    longer: list[int] = []
    forms: list[Form] = []
    failed: list[Failure] = []
    for i in _evenly(count, at_most):
        try:
            header = source.header(i)
            longer.append(max(header.height, header.width))
            forms.append(Form(header.channels, header.bits))
        except Unreadable as error:
            failed.append(Failure(source.title(i), error))
    if not longer:
        raise SelfsightError(none_readable(source.name, failed))
    return Survey(
        statistics.median_low(longer),
        min(longer),
        max(longer),
        _channels(forms),
        max(form.bits for form in forms),
        count,
        len(longer),
    )


def _evenly(count: int, at_most: int) -> list[int]:
    """Choose evenly spaced rows, including the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(at_most, count)).astype(int)).tolist()


def unread_contents(source: PictureSource, rows: list[int]) -> tuple[str, ...]:
    """Describe what these pictures' files hold that is not read: -> a sentence for each kind."""
    looked = [rows[k] for k in _evenly(len(rows), HEADERS_SURVEYED)]
    found: dict[str, list[int]] = {}
    for row in looked:
        with contextlib.suppress(Unreadable):  # reading itself reports these
            for kind in source.header(row).besides:
                found.setdefault(kind, []).append(row)
    return tuple(
        f"of {len(looked):,} files of {source.name} that were examined, {len(those):,} "
        f"{'hold' if len(those) > 1 else 'holds'} further {kind}, which are not read; the first: "
        f"{source.title(those[0])}"
        for kind, those in found.items()
    )


def _channels(forms: list[Form]) -> int:
    """Choose the channels for all: colour if grey and colour occur, else the commonest number."""
    counts = Counter(form.channels for form in forms)
    if counts.keys() <= {1, 3}:
        return max(counts)
    return counts.most_common(1)[0][0]


def read(
    source: PictureSource,
    *,
    side: int,
    fit: Fit = "canvas",
    channels: int | None = None,
    limit: int | None = None,
    memory: int | None = None,
    storage: Storage | None = None,
    steady: bool = False,
    progress: Progress = None,
) -> Pictures:
    """Read the pictures of a source.

    Args:
        source: The pictures.
        side: Side of the square canvas, in pixels.
        fit: "canvas" keeps the whole picture, shrunk to fit and never enlarged, top left;
            "square" the largest centred square, shrunk or enlarged to fill.
        channels: 1 converts colour to grey, 3 repeats grey; None keeps the pictures' own channels,
            and converts grey to colour if both occur.
        limit: Keep this many, drawn from the whole source, the same ones every time.
        memory: Most bytes to keep in memory; by default a quarter of the machine's.
        storage: Where to store them; by default the first of memory, map and stream in which they
            fit.
        steady: Do not stream by default: a stream replaces a picture that proves broken late by
            another one, with another class and title.
        progress: Called with pictures done and pictures in all.

    Raises:
        UsageError: If an argument is outside its range.
        SelfsightError: If the pictures do not fit, or too many cannot be read.
    """
    _check(side, fit, channels, limit, storage)
    wanted = Wanted(
        source,
        chosen_rows(len(source), limit).tolist(),
        side,
        fit,
        channels,
        _form(source, channels),
    )
    memory = memory if memory is not None else memory_for_pictures()
    chosen = storage or fitting(wanted.bytes, memory, held=source.held, steady=steady)
    if chosen == "memory":
        try:
            return _in_memory(wanted, memory, progress)
        except Full:
            if storage == "memory":
                raise
            chosen = "map"  # they are larger than the first headers suggested
    return _from_map(wanted, progress) if chosen == "map" else _from_stream(wanted, progress)


def memory_for_pictures() -> int:
    """Give the most bytes of pictures to keep in memory."""
    return int(machine.memory() * SHARE_OF_MEMORY)


def fitting(
    needed: int, memory: int | None = None, *, held: bool = False, steady: bool = False
) -> Storage:
    """Choose where to store pictures: the first place where they fit.

    Args:
        needed: Bytes of all canvases.
        memory: Most bytes to keep in memory; by default a quarter of the machine's.
        held: Whether they are cut from a photograph in memory, so that storing gains nothing.
        steady: Whether they must not be streamed.
    """
    if held and not steady:
        return "stream"
    if needed <= (memory_for_pictures() if memory is None else memory):
        return "memory"
    return "map" if steady or needed <= SHARE_OF_DISK * _free_disk() else "stream"


def _free_disk() -> int:
    """Give the free bytes on the disk of the cache folder, which need not exist yet."""
    place = machine.cache_folder().absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _check(
    side: int, fit: str, channels: int | None, limit: int | None, storage: str | None
) -> None:
    """Refuse arguments outside their range."""
    if side < LEAST_SIDE:
        raise UsageError(f"side must be at least {LEAST_SIDE} pixels, got {side}")
    if fit not in get_args(Fit):
        raise UsageError(f"fit must be 'canvas' or 'square', got {fit!r}")
    if channels is not None and channels < 1:
        raise UsageError(f"channels must be at least 1, or None, got {channels}")
    if limit is not None and limit < 1:
        raise UsageError(f"limit must be at least 1 picture, got {limit}")
    if storage is not None and storage not in get_args(Storage):
        raise UsageError(f"storage must be memory, map or stream, got {storage!r}")


def _form(source: PictureSource, channels: int | None) -> Form:
    """Guess the form from a few headers; errors are reported later, on reading."""
    try:
        known = survey(source, HEADERS_FOR_FORM)
        return Form(channels or known.channels, known.bits)
    except SelfsightError:
        return Form(channels or 1, 8)


def _in_memory(wanted: Wanted, memory: int, progress: Progress) -> Pictures:
    """Decode once, into one tensor."""
    store = _Store(len(wanted.rows), wanted.form, wanted.side, memory)
    failed: list[Failure] = []
    kept: list[int] = []
    with workers() as pool:
        for done, (row, result) in enumerate(wanted.decoded(wanted.rows, pool), start=1):
            try:
                if isinstance(result, Unreadable):
                    raise result
                store.add(result)
                kept.append(row)
            except Unreadable as reason:
                failed.append(wanted.failure(row, reason))
            if progress:
                progress(done, len(wanted.rows))
    judge(wanted.source.name, failed, len(wanted.rows))
    images, extent = store.images[: len(kept)], store.extent[: len(kept)]
    empty = Pictures(images, extent, None, (), (), (), "", "")
    read = _described(empty, wanted.source, kept, failed)
    return replace(read, fingerprint=fingerprint_of(images, extent, read.labels))


def _from_map(wanted: Wanted, progress: Progress) -> Pictures:
    """Decode once onto the disk, unless that was done before."""
    found = mapped(wanted, progress)
    plain = Pictures(
        found.canvases, found.extent, None, (), (), (), "", found.fingerprint, storage="map"
    )
    return _described(plain, wanted.source, found.kept, found.failed)


def _from_stream(wanted: Wanted, progress: Progress) -> Pictures:
    """Read only the headers; pictures are decoded later."""
    known = read_headers(wanted, progress)
    streamed = Streamed(replace(wanted, rows=known.kept, form=known.form), known.failed)
    plain = Pictures(
        streamed, known.extent, None, (), (), (), "", streamed.fingerprint, storage="stream"
    )
    return _described(plain, wanted.source, known.kept, known.failed)


def _described(
    plain: Pictures, source: PictureSource, kept: list[int], failed: list[Failure]
) -> Pictures:
    """Add labels, titles and notes of the source for kept and skipped pictures."""
    return replace(
        plain,
        labels=None if source.labels is None else source.labels[torch.tensor(kept)],
        classes=source.classes,
        titles=tuple(source.title(row) for row in kept),
        origins=torch.tensor(kept),
        skipped=tuple(Skipped(title, str(reason)) for title, reason in failed),
        name=source.name,
        notes=(*source.notes, *unread_contents(source, kept)),
    )


class Full(SelfsightError):
    """The pictures do not fit into the memory they may take."""


class _Store:
    """One tensor filled picture by picture, and widened when one needs it.

    Args:
        count: Greatest number of pictures.
        form: The form expected so far.
        side: Side of the canvas, in pixels.
        memory: Most bytes the tensor may take.
    """

    def __init__(self, count: int, form: Form, side: int, memory: int) -> None:
        self.memory, self.form, self.side = memory, form, side
        self.images = self._allocated(count)
        self.extent = torch.zeros(count, 2, dtype=torch.int64)
        self.filled = 0

    def add(self, pixels: Tensor) -> None:
        """Place a picture (C, h, w) top left on the next canvas.

        Raises:
            Unreadable: If its channels cannot be joined with those before it.
        """
        needed = self.form.joined(Form.of(pixels))
        if needed != self.form:
            self._widen(needed)
        pixels = self.form.brought(pixels)
        height, width = pixels.shape[1:]
        self.extent[self.filled, 0], self.extent[self.filled, 1] = height, width
        # numpy, not torch, which would start several threads for this small copy
        self.images.numpy()[self.filled, :, :height, :width] = pixels.numpy()
        self.filled += 1

    def _widen(self, form: Form) -> None:
        """Convert the pictures so far to a wider form."""
        narrow, self.form = self.images, form
        self.images = self._allocated(len(narrow))
        for i in range(self.filled):
            self.images[i] = form.brought(narrow[i])

    def _allocated(self, count: int) -> Tensor:
        """Allocate black canvases, if they fit."""
        channels, bits = self.form
        needed = count * self.form.bytes_each(self.side)
        if needed > self.memory:
            raise Full(
                f"{count} pictures of {channels} x {self.side} x {self.side} samples of {bits} "
                f"bits need {machine.size_in_words(needed)}, and "
                f"{machine.size_in_words(self.memory)} of memory may be used. Store them on the "
                "disk with --storage auto or map, or take fewer or smaller ones."
            )
        shape = (count, channels, self.side, self.side)
        return torch.zeros(shape, dtype=DTYPES[bits])
