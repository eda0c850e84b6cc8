"""Streaming: pictures decoded again whenever a step needs them, for data larger than the disk.

All headers are read first: they give the form, and show which files are not pictures. A picture
that proves broken only when it is decoded is replaced by the next readable one, always the same, so
that a run still follows from its seed; it is counted and listed like any other unreadable picture.
When a file is lost, some others are checked: if most of them are lost too, their disk or folder has
gone, and the run stops.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfsight.data.imprint import imprint_of, placeless
from selfsight.data.pictures.canvases import DTYPES, Canvases, Form, Taken
from selfsight.data.pictures.collection import Digest
from selfsight.data.pictures.decoding import Wanted, workers
from selfsight.data.pictures.files.decode import Header
from selfsight.data.pictures.scaling import check_channels, fitted_size
from selfsight.data.pictures.skipping import MOST_SKIPPED, Failure, judge
from selfsight.data.samples import Skipped
from selfsight.data.source import Lost, Unreadable
from selfsight.errors import SelfsightError

PACED = 64  # pictures decoded to measure the speed of a core
AT_ONCE = 256  # headers a thread reads at a time
LOOKED_AGAIN = 8  # pictures, evenly spaced, that are checked to tell a lost file from a lost disk


class Looked(NamedTuple):
    """What the headers of all pictures show.

    Attributes:
        form: The form that holds all of them.
        kept: Rows that seem readable.
        extent: (N, 2) int64, height and width of each of these on its canvas, in pixels.
        failed: The other rows.
    """

    form: Form
    kept: list[int]
    extent: Tensor
    failed: list[Failure]


class Pace(NamedTuple):
    """How fast a core decodes.

    Attributes:
        pictures: Pictures a second.
        waiting: Share of the time spent waiting for the disk rather than computing, in [0, 1].
    """

    pictures: float
    waiting: float


def read_headers(wanted: Wanted, progress: Callable[[int, int], None] | None) -> Looked:
    """Read all headers.

    Raises:
        SelfsightError: If too many cannot be read.
    """
    form = wanted.form  # that of most pictures: a single damaged header may claim anything
    kept: list[int] = []
    sizes: list[tuple[int, int]] = []
    failed: list[Failure] = []
    with workers() as pool:
        bundles = [wanted.rows[k : k + AT_ONCE] for k in range(0, len(wanted.rows), AT_ONCE)]
        for results in pool.map(lambda bundle: [_header(wanted, i) for i in bundle], bundles):
            for row, header in results:
                try:
                    if isinstance(header, Unreadable):
                        raise header
                    check_channels(header.channels, wanted.channels or header.channels)
                    form = form.joined(Form(wanted.channels or header.channels, header.bits))
                    kept.append(row)
                    sizes.append(fitted_size(header.height, header.width, wanted.side, wanted.fit))
                except Unreadable as reason:
                    failed.append(wanted.failure(row, reason))
            if progress:
                progress(len(kept) + len(failed), len(wanted.rows))
    judge(wanted.source.name, failed, len(wanted.rows))
    return Looked(form, kept, torch.tensor(sizes), failed)


def _header(wanted: Wanted, row: int) -> tuple[int, Header | Unreadable]:
    try:
        return row, wanted.source.header(row)
    except Unreadable as reason:
        return row, reason


class Streamed(Canvases):
    """Pictures that are decoded whenever they are needed.

    Args:
        wanted: The pictures, all of which seem readable.
        before: Pictures known to be unreadable, which count towards the limit of failures.

    Attributes:
        failed: Pictures that proved unreadable since, by their place in `wanted.rows`.
    """

    def __init__(self, wanted: Wanted, before: Sequence[Failure] = ()) -> None:
        self.wanted, self._before = wanted, before
        channels, bits = wanted.form
        self.shape = (len(wanted.rows), channels, wanted.side, wanted.side)
        self.dtype = DTYPES[bits]
        self.failed: dict[int, Failure] = {}
        self._pool: ThreadPoolExecutor | None = None

    @property
    def fingerprint(self) -> str:
        """Hash the files' names, sizes, part of their content, and which of them are kept.

        Their location and the time of copying do not matter.
        """
        source = self.wanted.source
        return self._hashed([imprint_of(source), *map(placeless, source.stamp())])

    @property
    def broken(self) -> dict[int, Skipped]:
        """List the pictures that proved unreadable on the way, by their rows."""
        return {row: Skipped(of.title, str(of.reason)) for row, of in self.failed.items()}

    @property
    def former_fingerprint(self) -> str:
        """Hash the files' paths, sizes and times, as in runs made before there was an imprint."""
        return self._hashed(self.wanted.source.stamp())

    def _hashed(self, words: Iterable[str]) -> str:
        digest = Digest(self.shape)
        for word in words:
            digest.add(np.frombuffer(word.encode("utf-8", "surrogateescape"), dtype=np.uint8))
        return digest.finished(torch.tensor(self.wanted.rows), self.wanted.source.labels)

    def taken(self, rows: Tensor) -> Taken:
        """Decode the pictures of `rows` (B,).

        Raises:
            SelfsightError: If too many have proved unreadable.
        """
        self._pool = self._pool or workers()
        images = torch.zeros((len(rows), *self.shape[1:]), dtype=self.dtype)
        extent = torch.empty((len(rows), 2), dtype=torch.int64)
        actual = rows.clone()
        asked = [self.wanted.rows[place] for place in rows.tolist()]
        results = self.wanted.decoded(asked, self._pool)
        for at, (place, (_, result)) in enumerate(zip(rows.tolist(), results, strict=True)):
            place, pixels = self._readable(place, result)
            actual[at] = place
            height, width = pixels.shape[1:]
            extent[at, 0], extent[at, 1] = height, width
            images.numpy()[at, :, :height, :width] = pixels.numpy()
        return Taken(images, extent, actual)

    def _readable(self, place: int, result: Tensor | Unreadable) -> tuple[int, Tensor]:
        """Find the first readable picture at this place or after: -> its place and pixels."""
        while True:
            try:
                if isinstance(result, Unreadable):
                    raise result
                if self.wanted.form.joined(Form.of(result)) != self.wanted.form:
                    raise Unreadable("its pixels do not match its header")
                return place, self.wanted.form.brought(result)
            except Unreadable as reason:
                self._note(place, reason)
            place = (place + 1) % len(self)
            result = self.wanted.decoded_one(self.wanted.rows[place])

    def _note(self, place: int, reason: Unreadable) -> None:
        """Record a failed picture; stop if too many failed, by their headers or since."""
        new = place not in self.failed
        self.failed[place] = self.wanted.failure(self.wanted.rows[place], reason)
        count, failed = len(self._before) + len(self), len(self._before) + len(self.failed)
        if failed == count or failed > MOST_SKIPPED * count:
            judge(self.wanted.source.name, [*self._before, *self.failed.values()], count)
        if new and isinstance(reason, Lost) and len(self.failed).bit_count() == 1:  # 1, 2, 4, ...
            self._look_again()

    def _look_again(self) -> None:
        """Stop if most of some sampled pictures are lost: then the disk or folder has gone.

        Raises:
            SelfsightError: With the reason of one of them.
        """
        places = range(0, len(self), max(1, len(self) // LOOKED_AGAIN))
        rows = [self.wanted.rows[place] for place in places]
        lost = [
            self.wanted.failure(row, found)
            for row in rows
            if isinstance(found := self.wanted.decoded_one(row), Lost)
        ]
        if 2 * len(lost) > len(rows):
            title, why = lost[0]
            raise SelfsightError(
                f"the pictures of {self.wanted.source.name} are no longer there: {title}: {why}, "
                f"and so for {len(lost)} of {len(rows)} that were checked. Bring them back, "
                "for instance by mounting their disk, and resume"
            )

    def pace(self) -> Pace:
        """Measure the decoding speed on some pictures, one after the other."""
        step = max(1, len(self) // PACED)
        rows = self.wanted.rows[::step][:PACED]
        wall, computing = time.perf_counter(), time.thread_time()
        for row in rows:
            self.wanted.decoded_one(row)
        wall, computing = time.perf_counter() - wall, time.thread_time() - computing
        return Pace(len(rows) / max(wall, 1e-9), max(0.0, 1 - computing / max(wall, 1e-9)))
