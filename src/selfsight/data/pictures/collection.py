"""Pictures: decoded, on canvases of one size, ready to be batched."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from selfsight.data.pictures.canvases import Canvases, Taken
from selfsight.data.pictures.scaling import WHITE, as_float
from selfsight.data.samples import Samples, Skipped, Storage

HASHED_AT_ONCE, MEASURED_AT_ONCE = 512, 16  # pictures
LEAST_DEVIATION = 1e-4  # so that a constant channel is not divided by 0


@dataclass(frozen=True)
class Pictures(Samples):
    """Pictures on square canvases.

    Attributes:
        images: (N, C, S, S) uint8 or uint16; a picture lies top left on its canvas, black beyond
            it. A tensor, or what is indexed like one by a tensor of rows.
        extent: (N, 2) int64, height and width of the picture on its canvas, in pixels, at least 1.
        labels: (N,) int64 class numbers from 0, or None when unlabelled.
        classes: K class names; () when unlabelled.
        titles: N names for messages.
        skipped: The pictures that could not be read; these are not among the N.
        name: Where the pictures come from.
        fingerprint: Hexadecimal hash of images, extents and labels, which identifies the data; for
            streamed pictures, the hash of their files.
        storage: Where they are stored.
        origins: (N,) int64, each picture's row in the source it was read from.
        notes: Sentences that a user should know: the source's notes, and what their files hold that
            is not read.
    """

    images: Tensor | Canvases
    extent: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    titles: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    name: str
    fingerprint: str
    storage: Storage = "memory"
    origins: Tensor | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def bits(self) -> int:
        """Bits of a sample, 8 or 16."""
        return 8 if self.images.dtype == torch.uint8 else 16

    @property
    def tensor(self) -> Tensor:
        """All images as one tensor (N, C, S, S), fetched if they are not in memory."""
        return (
            self.images[torch.arange(len(self))]
            if isinstance(self.images, Canvases)
            else self.images
        )

    def taken(self, rows: Tensor) -> Taken:
        """Fetch the pictures of `rows` (B,) int64, in that order, on the images' device."""
        if isinstance(self.images, Canvases):
            return self.images.taken(rows)
        rows = rows.to(self.images.device, non_blocking=True)
        return Taken(
            self.images.index_select(0, rows),
            self.extent.to(rows.device).index_select(0, rows),
            rows,
        )

    def seen(self, rows: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Give pictures of `rows` (B,) as an encoder takes them: -> (B, C, S, S) in [0, 1]."""
        return as_float(self.taken(rows).images.to(device, non_blocking=True))

    def contents(self) -> Iterator[bytes]:
        """Hash the pixels of each picture as it was read, in order."""
        for part in _pieces(self.images):
            for picture in part:
                yield hashlib.sha256(np.ascontiguousarray(picture).data).digest()

    def broken(self) -> dict[int, Skipped]:
        """List the streamed pictures that proved unreadable on the way, by their rows."""
        return self.images.broken if isinstance(self.images, Canvases) else {}

    def former_fingerprint(self) -> str:
        """Give the fingerprint as runs without an imprint have it."""
        former = self.images.former_fingerprint if isinstance(self.images, Canvases) else None
        return former or self.fingerprint

    def rows(self, index: Tensor) -> "Pictures":
        """Keep the pictures of `index` (M,) int64, in that order, in memory."""
        images, extent, index = self.taken(index)
        labels = None if self.labels is None else self.labels[index]
        return replace(
            self,
            images=images,
            extent=extent,
            labels=labels,
            titles=tuple(self.titles[i] for i in index.tolist()),
            fingerprint=fingerprint_of(images, extent, labels),
            storage="memory",
            origins=None if self.origins is None else self.origins[index],
        )

    def statistics(self, rows: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Measure the pictures of `rows`, channel by channel, in [0, 1]: -> means, deviations."""
        area, total, square = 0.0, 0.0, 0.0
        for some in rows.split(MEASURED_AT_ONCE):
            images, extent, _ = self.taken(some)
            values = images.double() / WHITE[images.dtype]
            area = area + extent.prod(dim=1).sum()  # canvases are black beyond it and add nothing
            total = total + values.sum(dim=(0, 2, 3))
            square = square + values.square().sum(dim=(0, 2, 3))
        mean = torch.as_tensor(total / area)
        deviation = (square / area - mean.square()).clamp(min=LEAST_DEVIATION**2).sqrt()
        return tuple(mean.tolist()), tuple(deviation.tolist())


class Digest:
    """A hash of all data that a task can see, computed piece by piece.

    Args:
        shape: (N, C, S, S) of all images.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._hash = hashlib.sha256(repr(tuple(shape)).encode())

    def add(self, part: np.ndarray) -> None:
        """Add the next images to the hash."""
        self._hash.update(np.ascontiguousarray(part).data)

    def finished(self, extent: Tensor, labels: Tensor | None) -> str:
        """Finish the hash with extents and labels: -> 32 hexadecimal digits."""
        self.add(extent.cpu().numpy())
        if labels is not None:
            self.add(labels.cpu().numpy())
        return self._hash.hexdigest()[:32]


def fingerprint_of(images: Tensor | Canvases, extent: Tensor, labels: Tensor | None) -> str:
    """Hash all data that a task can see: -> 32 hexadecimal digits."""
    digest = Digest(tuple(images.shape))
    for part in _pieces(images):
        digest.add(part)
    return digest.finished(extent, labels)


def _pieces(images: Tensor | Canvases) -> Iterator[np.ndarray]:
    """Iterate over all images in order, some at a time if they are not in memory."""
    if isinstance(images, Tensor):
        yield images.cpu().numpy()
    else:
        for rows in torch.arange(len(images)).split(HASHED_AT_ONCE):
            yield images[rows].numpy()
