"""Mapping: pictures decoded once onto the disk, for data that does not fit into memory.

A map is a folder of the cache: `images`, the canvases one after the other, and `about.npz`, which
pictures these are. Its name is a hash of all that its content depends on: the files' paths, sizes
and times, and how pictures are scaled. It is written beside its place and renamed, under a lock
that ends with its process: a crash leaves nothing that is ever read, and a second run that needs
the same map waits for the first.

Pictures are read by position rather than through mapped memory, whose pages would be counted as
this process's own.
"""

import contextlib
import hashlib
import os
import shutil
import time
import weakref
from collections.abc import Callable, Generator
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfsight import machine
from selfsight.data.canvases import DTYPES, Canvases, Form, Taken
from selfsight.data.decode import Unreadable
from selfsight.data.decoding import Wanted, workers
from selfsight.data.pictures import Digest, fingerprint_of
from selfsight.data.skipping import Failure, judge
from selfsight.errors import SelfsightError

REVISION = 1  # of how a map is written: another one makes old maps useless
UNUSED_DAYS = 30  # after which a map is taken away when another one is written
IMAGES, ABOUT = "images", "about.npz"


class Map(NamedTuple):
    """A map that is there.

    Attributes:
        canvases: The pictures.
        extent: (N, 2) int64, height and width on the canvas, in pixels.
        kept: Rows of the source that could be read.
        failed: Those that could not, by title, with the reason.
        fingerprint: Of images, extents and labels.
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
        bits: 8 or 16, of a sample.
        extent: (N, 2) int64.
    """

    def __init__(
        self, path: Path, shape: tuple[int, int, int, int], bits: int, extent: Tensor
    ) -> None:
        self.path, self.shape, self.dtype = path, shape, DTYPES[bits]
        self._extent = extent
        self._file = path.open("rb", buffering=0)
        weakref.finalize(self, self._file.close)
        self._each = Form(shape[1], bits).bytes_each(shape[3])
        self._lock = Lock()

    def taken(self, rows: Tensor) -> Taken:
        """Read the pictures of `rows` (B,)."""
        images = torch.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        raw = images.numpy().view(np.uint8).reshape(len(rows), self._each)
        with self._lock:
            for place in rows.argsort().tolist():  # in the order of the file
                self._file.seek(int(rows[place]) * self._each)
                if self._file.readinto(raw[place].data) != self._each:
                    raise SelfsightError(
                        f"{self.path} has been cut short; take away {self.path.parent}, and it "
                        "will be written anew"
                    )
        return Taken(images, self._extent.index_select(0, rows), rows)


def mapped(wanted: Wanted, progress: Callable[[int, int], None] | None) -> Map:
    """Open the map of what is wanted, or write it first.

    Raises:
        SelfsightError: If the cache cannot be written, or too many pictures cannot be read.
    """
    folder, key = machine.cache_folder() / "maps", _key(wanted)
    place = folder / key
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / f"{key}.lock"):
            if not (place / ABOUT).exists():
                _tidy(folder, key)
                _write(wanted, folder / f"{key}.part", progress)
                (folder / f"{key}.part").rename(place)
            os.utime(place)  # so that it counts as used
        return _opened(place)
    except OSError as error:
        raise SelfsightError(
            f"the memory map of {wanted.source.name} cannot be kept in {folder}: "
            f"{error.strerror or error}. Free some space, name another folder with "
            "SELFSIGHT_CACHE, or decode as you go with --storage stream."
        ) from error


def _key(wanted: Wanted) -> str:
    """Hash all that a map depends on: -> hexadecimal digits."""
    how = (REVISION, wanted.side, wanted.fit, wanted.channels)
    digest = hashlib.blake2b(repr(how).encode(), digest_size=16)
    for stamp in wanted.source.stamp():
        digest.update(stamp.encode("utf-8", "surrogateescape") + b"\0")
    digest.update(np.array(wanted.rows).tobytes())
    if wanted.source.labels is not None:
        digest.update(wanted.source.labels.numpy().tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _alone(path: Path) -> Generator[None]:
    """Hold a lock that other processes wait for; the system takes it from one that dies."""
    with path.open("w") as file:
        try:
            import fcntl
        except ImportError:  # Windows: a second run finds the first one's half map, and stops
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _tidy(folder: Path, key: str) -> None:
    """Take away what a crash left under this key, and maps that nobody used for long."""
    shutil.rmtree(folder / f"{key}.part", ignore_errors=True)
    shutil.rmtree(folder / key, ignore_errors=True)  # a map without its `about` is none
    before = time.time() - UNUSED_DAYS * 24 * 3600
    for place in folder.iterdir():
        if place.is_dir() and place.stat().st_mtime < before:
            shutil.rmtree(place, ignore_errors=True)


def _write(wanted: Wanted, part: Path, progress: Callable[[int, int], None] | None) -> None:
    """Write a map into a new folder, all of it or nothing."""
    part.mkdir()
    try:
        form = wanted.form
        while (wider := _filled(wanted, form, part, progress)) is not None:
            form = wider  # from the start: what is written already has the narrower form
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _filled(
    wanted: Wanted, form: Form, part: Path, progress: Callable[[int, int], None] | None
) -> Form | None:
    """Write all pictures in this form: -> None, or the wider form that a picture needs."""
    count = len(wanted.rows)
    with _Writer(part / IMAGES, form, wanted.side, count) as writer, workers() as pool:
        failed: list[Failure] = []
        for done, (row, result) in enumerate(wanted.decoded(wanted.rows, pool), start=1):
            try:
                if isinstance(result, Unreadable):
                    raise result
                wider = form.joined(Form.of(result))
            except Unreadable as reason:
                failed.append(wanted.failure(row, reason))
            else:
                if wider != form:
                    pool.shutdown(wait=False, cancel_futures=True)
                    return wider
                writer.add(row, form.brought(result))
            if progress:
                progress(done, count)
        judge(wanted.source.name, failed, count)
        writer.finish(part / ABOUT, failed, wanted.source.labels)
    return None


class _Writer:
    """Canvases written one after the other.

    Args:
        path: The file.
        form: What pictures have been brought to.
        side: Side of the canvases, in pixels.
        count: Most pictures there can be.
    """

    def __init__(self, path: Path, form: Form, side: int, count: int) -> None:
        self.path, self.form = path, form
        self.kept: list[int] = []
        self.extent: list[tuple[int, int]] = []
        self._most = (count, form.channels, side, side)
        self._digest = Digest(self._most)

    def __enter__(self) -> "_Writer":
        self._file = self.path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, row: int, pixels: Tensor) -> None:
        """Write the next picture (C, h, w), top left on black."""
        height, width = pixels.shape[1:]
        canvas = np.zeros(self._most[1:], dtype=np.uint8 if self.form.bits == 8 else np.uint16)
        canvas[:, :height, :width] = pixels.numpy()
        self._file.write(canvas.data)
        self._digest.add(canvas)
        self.kept.append(row)
        self.extent.append((height, width))

    def finish(self, about: Path, failed: list[Failure], labels: Tensor | None) -> None:
        """Write what the canvases are."""
        self._file.flush()
        os.fsync(self._file.fileno())
        extent = torch.tensor(self.extent)
        chosen = None if labels is None else labels[torch.tensor(self.kept)]
        shape = (len(self.kept), *self._most[1:])
        if shape == self._most:
            fingerprint = self._digest.finished(extent, chosen)
        else:  # the count stands first in the hash, and is another one now
            canvases = Mapped(self.path, shape, self.form.bits, extent)
            fingerprint = fingerprint_of(canvases, extent, chosen)
        arrays: dict[str, Any] = {
            "shape": shape,
            "bits": self.form.bits,
            "extent": extent.numpy(),
            "kept": self.kept,
            "failed_titles": np.array([f.title for f in failed], dtype=str),
            "failed_reasons": np.array([str(f.reason) for f in failed], dtype=str),
            "fingerprint": fingerprint,
        }
        np.savez(about, allow_pickle=False, **arrays)


def _opened(place: Path) -> Map:
    """Open a map that is there."""
    with np.load(place / ABOUT, allow_pickle=False) as about:
        extent = torch.from_numpy(about["extent"])
        count, channels, side, _ = about["shape"].tolist()
        pairs = zip(about["failed_titles"].tolist(), about["failed_reasons"].tolist(), strict=True)
        return Map(
            Mapped(place / IMAGES, (count, channels, side, side), int(about["bits"]), extent),
            extent,
            about["kept"].tolist(),
            [Failure(title, Unreadable(reason)) for title, reason in pairs],
            str(about["fingerprint"]),
        )
