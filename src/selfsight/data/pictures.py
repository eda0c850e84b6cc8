"""Pictures: decoded and kept in memory, ready to be batched."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Skipped:
    """A picture that could not be read.

    Attributes:
        title: Its relative path, or its row.
        reason: Why, in words.
    """

    title: str
    reason: str


@dataclass(frozen=True)
class Pictures:
    """Pictures on square canvases.

    Attributes:
        images: (N, C, S, S) uint8; a picture lies top left on its canvas, black beyond it.
        extent: (N, 2) int64, height and width of the picture on its canvas, in pixels, at least 1.
        labels: (N,) int64 class numbers from 0, or None when unlabelled.
        classes: K class names; () when unlabelled.
        titles: N names for messages.
        skipped: The pictures that could not be read; these are not among the N.
        name: Where the pictures come from.
        fingerprint: Hexadecimal hash of images, extents and labels: another one, other data.
    """

    images: Tensor
    extent: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    titles: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    name: str
    fingerprint: str

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, index: Tensor) -> "Pictures":
        """Keep the pictures of `index` (M,) int64, in that order."""
        images, extent = self.images[index], self.extent[index]
        labels = None if self.labels is None else self.labels[index]
        return replace(
            self,
            images=images,
            extent=extent,
            labels=labels,
            titles=tuple(self.titles[i] for i in index.tolist()),
            fingerprint=fingerprint_of(images, extent, labels),
        )


def fingerprint_of(images: Tensor, extent: Tensor, labels: Tensor | None) -> str:
    """Hash what a task can see of the data: -> 32 hexadecimal digits."""
    digest = hashlib.sha256(repr(tuple(images.shape)).encode())
    for part in (images, extent, labels):
        if part is not None:
            digest.update(np.ascontiguousarray(part.cpu().numpy()).data)
    return digest.hexdigest()[:32]
