"""Maps: the format of decoded pictures on the disk, written once and read by position.

A map is a folder with two files: `images` holds the canvases one after the other, `about.npz`
describes them. They are not mapped into memory, where their pages would count as memory of this
process.
"""

import os
import weakref
import zlib
from collections.abc import Sequence
from contextlib import suppress
from io import BufferedWriter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfsight.data.file_array import filled
from selfsight.data.pictures.canvases import DTYPES, Canvases, Form, Taken
from selfsight.data.pictures.collection import Digest, fingerprint_of
from selfsight.data.pictures.skipping import Failure
from selfsight.data.source import Unreadable
from selfsight.errors import SelfsightError

IMAGES, ABOUT = "images", "about.npz"


class Map(NamedTuple):
    """An opened map.

    Attributes:
        canvases: The pictures.
        extent: (N, 2) int64, height and width on the canvas, in pixels.
        kept: Rows of the source that could be read.
        failed: Pictures that could not, by title, with the reason.
        fingerprint: Hash of images, extents and labels.
    """

    canvases: "Mapped"
    extent: Tensor
    kept: list[int]
    failed: list[Failure]
    fingerprint: str


class Mapped(Canvases):
    """Pictures of a map.

    Args:
        path: The file of canvases.
        shape: (N, C, S, S).
        bits: Bits of a sample, 8 or 16.
        extent: (N, 2) int64.
        sums: Checksum (CRC32) of every picture, computed when it was written.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int, int],
        bits: int,
        extent: Tensor,
        sums: Sequence[int],
    ) -> None:
        self.path, self.shape, self.dtype = path, shape, DTYPES[bits]
        self._extent, self._sums = extent, sums
        self._file = path.open("rb", buffering=0)
        weakref.finalize(self, self._file.close)
        self._each = Form(shape[1], bits).bytes_each(shape[3])

    def taken(self, rows: Tensor) -> Taken:
        """Read the pictures of `rows` (B,).

        Raises:
            SelfsightError: If the file can no longer be read, was cut short, or has changed.
        """
        images = torch.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        raw = images.numpy().view(np.uint8).reshape(len(rows), self._each)
        for place in rows.argsort().tolist():  # in the order of the file
            try:
                whole = filled(self._file, raw[place].data, int(rows[place]) * self._each)
            except OSError as error:
                raise SelfsightError(
                    f"{self.path} can no longer be read: {error.strerror or error}. Name "
                    "another folder for it with SELFSIGHT_CACHE, and start again."
                ) from error
            if not whole:
                raise SelfsightError(
                    f"{self.path} has been cut short. Start again, and it will be rewritten."
                )
            if zlib.crc32(raw[place].data) != self._sums[int(rows[place])]:
                with suppress(OSError):  # without this file the map is not used again
                    self.path.with_name(ABOUT).unlink()
                raise SelfsightError(
                    f"{self.path} is damaged: a picture in it differs from what was written. "
                    "Start again, and it will be rewritten; if that recurs, check the disk."
                )
        return Taken(images, self._extent.index_select(0, rows), rows)


class Writer:
    """Writes canvases one after the other.

    Args:
        file: The file of canvases.
        form: Form of the pictures.
        side: Side of the canvases, in pixels.
        count: Greatest number of pictures.
    """

    def __init__(self, file: BufferedWriter, form: Form, side: int, count: int) -> None:
        self.form = form
        self.kept: list[int] = []
        self.extent: list[tuple[int, int]] = []
        self.sums: list[int] = []
        self._file = file
        self._most = (count, form.channels, side, side)
        self._digest = Digest(self._most)

    def add(self, row: int, pixels: Tensor) -> None:
        """Write the next picture (C, h, w), top left on black."""
        height, width = pixels.shape[1:]
        canvas = np.zeros(self._most[1:], dtype=np.uint8 if self.form.bits == 8 else np.uint16)
        canvas[:, :height, :width] = pixels.numpy()
        self._file.write(canvas.data)
        self._digest.add(canvas)
        self.sums.append(zlib.crc32(canvas.data))
        self.kept.append(row)
        self.extent.append((height, width))

    def finish(self, about: Path, failed: list[Failure], labels: Tensor | None) -> None:
        """Write the file that describes the canvases."""
        self._file.flush()
        os.fsync(self._file.fileno())
        extent = torch.tensor(self.extent)
        chosen = None if labels is None else labels[torch.tensor(self.kept)]
        shape = (len(self.kept), *self._most[1:])
        if shape == self._most:
            fingerprint = self._digest.finished(extent, chosen)
        else:  # the hash begins with the count, which is smaller now
            canvases = Mapped(Path(self._file.name), shape, self.form.bits, extent, self.sums)
            fingerprint = fingerprint_of(canvases, extent, chosen)
        arrays: dict[str, Any] = {
            "shape": shape,
            "bits": self.form.bits,
            "extent": extent.numpy(),
            "kept": self.kept,
            "sums": np.array(self.sums, dtype=np.uint32),
            "failed_titles": np.array([f.title for f in failed], dtype=str),
            "failed_reasons": np.array([str(f.reason) for f in failed], dtype=str),
            "fingerprint": fingerprint,
        }
        with about.open("xb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())


def opened(place: Path) -> Map | None:
    """Open a map; None if there is none or it is damaged."""
    try:
        with (place / ABOUT).open("rb") as file, np.load(file, allow_pickle=False) as about:
            return _described(place / IMAGES, about)
    except Exception:  # zip, numpy and the fields raise various errors for damaged bytes
        return None


def _described(images: Path, about: Any) -> Map | None:
    """Make a map of its description; None if the size of its canvases does not match."""
    extent = torch.from_numpy(about["extent"])
    count, channels, side, _ = about["shape"].tolist()
    bits, kept, sums = int(about["bits"]), about["kept"].tolist(), about["sums"].tolist()
    expected = count * Form(channels, bits).bytes_each(side)
    if images.stat().st_size != expected or not len(kept) == len(extent) == len(sums) == count:
        return None
    pairs = zip(about["failed_titles"].tolist(), about["failed_reasons"].tolist(), strict=True)
    return Map(
        Mapped(images, (count, channels, side, side), bits, extent, sums),
        extent,
        kept,
        [Failure(title, Unreadable(reason)) for title, reason in pairs],
        str(about["fingerprint"]),
    )
