"""Batches of pictures: what a task of this modality receives.

Legend: B batch, C channels, S side of the square canvas in pixels.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from selfsight.data.pictures.canvases import Taken
from selfsight.data.pictures.collection import Pictures
from selfsight.draws import Draws
from selfsight.errors import SelfsightError


class Images(NamedTuple):
    """Pictures as stored, each scaled to fit a square canvas and placed top left.

    Attributes:
        images: (B, C, S, S) uint8 in [0, 255], or float32 in [0, 1].
        extent: (B, 2) int64, height and width of the picture on its canvas, in pixels.
        index: (B,) int64, each picture's place in the data.
        draws: This batch's randomness.
    """

    images: Tensor
    extent: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride] -- tuple.index is not used
    draws: Draws

    @classmethod
    def of(cls, images: Tensor, *, seed: int = 0, epoch: int = 0) -> "Images":
        """Wrap pictures (B, C, S, S) that fill their canvas, numbered from 0."""
        index = torch.arange(len(images), device=images.device)
        extent = torch.tensor(images.shape[-2:], device=images.device).expand(len(images), 2)
        return cls(images, extent, index, Draws(seed, epoch, index))

    @classmethod
    def from_rows(
        cls,
        samples: Pictures,
        rows: Tensor,
        *,
        seed: int,
        epoch: int,
        device: torch.device | str = "cpu",
    ) -> "Images":
        """Make a batch of the pictures of `rows` (B,) int64, see `data.batches.Batch`."""
        return _images(samples.taken(rows), rows, seed, epoch, device)


class LabelledImages(NamedTuple):
    """Pictures as in `Images`, with their classes.

    Attributes:
        images: (B, C, S, S) uint8 in [0, 255], or float32 in [0, 1].
        extent: (B, 2) int64, height and width of the picture on its canvas, in pixels.
        index: (B,) int64, each picture's place in the data.
        draws: This batch's randomness.
        labels: (B,) int64, class numbers from 0.
    """

    images: Tensor
    extent: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride] -- tuple.index is not used
    draws: Draws
    labels: Tensor

    @classmethod
    def of(
        cls, images: Tensor, labels: Tensor, *, seed: int = 0, epoch: int = 0
    ) -> "LabelledImages":
        """Wrap pictures (B, C, S, S) that fill their canvas, numbered from 0, and labels (B,)."""
        return cls(*Images.of(images, seed=seed, epoch=epoch), labels)

    @classmethod
    def from_rows(
        cls,
        samples: Pictures,
        rows: Tensor,
        *,
        seed: int,
        epoch: int,
        device: torch.device | str = "cpu",
    ) -> "LabelledImages":
        """Make a batch of the pictures of `rows` (B,) int64, see `data.batches.Batch`.

        Raises:
            SelfsightError: If the pictures have no classes.
        """
        if samples.labels is None:
            raise SelfsightError(
                f"this task needs a class for every picture, and {samples.name} has none; sort the "
                "pictures into a subfolder a class, or give data with labels."
            )
        taken = samples.taken(rows)
        labels = samples.labels.index_select(0, taken.rows.cpu()).to(device, non_blocking=True)
        return cls(*_images(taken, rows, seed, epoch, device), labels)


def _images(
    taken: Taken, rows: Tensor, seed: int, epoch: int, device: torch.device | str
) -> Images:
    """Put pictures on the device; draws are of those that were meant, whichever stands in."""
    here = rows.to(device, non_blocking=True)
    return Images(
        taken.images.to(device, non_blocking=True),
        taken.extent.to(device, non_blocking=True),
        here,
        Draws(seed, epoch, here),
    )
