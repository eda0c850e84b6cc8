"""Batches of pictures: what a task of this modality receives.

Legend: B batch, C channels, S side of the square canvas in pixels.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from selfsight.draws import Draws


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
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride] -- nobody searches a batch
    draws: Draws
    labels: Tensor

    @classmethod
    def of(
        cls, images: Tensor, labels: Tensor, *, seed: int = 0, epoch: int = 0
    ) -> "LabelledImages":
        """Wrap pictures (B, C, S, S) that fill their canvas, numbered from 0, and labels (B,)."""
        return cls(*Images.of(images, seed=seed, epoch=epoch), labels)
