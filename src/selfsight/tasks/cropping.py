"""Cropping: base class of tasks that learn from random crops of pictures."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from selfsight.tasks.base import Needs, Task


class Cropping(Task):
    """A task that learns from random crops of pictures.

    Args:
        encoder: Maps pictures (B, C, S, S) in [0, 1] to features (B, D).
        size: Side S of the crops, in pixels.
        least_scale: Least share of the picture's area that a crop keeps, in (0, 1].
    """

    def __init__(self, encoder: nn.Module, *, size: int, least_scale: float) -> None:
        super().__init__(encoder)
        if not 0 < least_scale <= 1:
            raise ValueError(f"least_scale must be above 0 and at most 1, got {least_scale}")
        self.size, self.least_scale = size, least_scale

    @classmethod
    def needs_with(cls, settings: Mapping[str, Any]) -> Needs:
        """Ask for pictures large enough that the smallest crop is not magnified."""
        return replace(cls.needs, least_scale=settings["least_scale"])
