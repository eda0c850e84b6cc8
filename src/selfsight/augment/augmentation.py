"""Augmentation of views for contrastive tasks: all its settings as one object, applied to batches.

The defaults are those of Chen et al., "A Simple Framework for Contrastive Learning of Visual
Representations", ICML 2020, https://arxiv.org/abs/2002.05709, appendix A: crop, flip, colour
jitter, greyscale, blur, in this order. Solarising, off by default, comes from Grill et al.,
"Bootstrap Your Own Latent", NeurIPS 2020, https://arxiv.org/abs/2006.07733.

Departures: the jitter is one matrix (`color.py`) unless `colors.exact` is set, and views below 96
pixels a side are not blurred.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from selfsight.augment.affine import Points, at_a_time, parts, sampled, sampling_points
from selfsight.augment.blur import blur_where_wide_, drawn_widths
from selfsight.augment.color import (
    THRESHOLD,
    ColorJitter,
    Matrices,
    Ordered,
    drawn_bright,
    drawn_colors,
    inverted,
)
from selfsight.augment.views import view_matrices
from selfsight.data.pictures.batch import Images, LabelledImages
from selfsight.errors import unknown_name

PAPER = ColorJitter()
BLUR_FROM = 96  # pixels a side: smaller views have too little detail to blur


@dataclass(frozen=True)
class Augmentation:
    """What is done to a view.

    Attributes:
        scale: Least and greatest share of the picture's area that a crop keeps, in (0, 1].
        ratio: Least and greatest width over height of a crop.
        flip: Share of views mirrored left to right, in [0, 1].
        degrees: Views are rotated by at most this many degrees, either way, in [0, 180].
        shear: Views are sheared by at most this many degrees, either way, below 90.
        colors: How colours change, and the share of views that become grey.
        blur: Share of views that are blurred, in [0, 1]; None is 0.5 for sides of 96 pixels or
            more, else 0.
        sigma: Least and greatest standard deviation of the blur, in pixels.
        solarise: Share of views whose bright half is inverted, in [0, 1].
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    degrees: float = 0.0
    shear: float = 0.0
    colors: ColorJitter = PAPER
    blur: float | None = None
    sigma: tuple[float, float] = (0.1, 2.0)
    solarise: float = 0.0

    def without(self, *ingredients: str) -> "Augmentation":
        """Leave ingredients out, to measure what each of them contributes.

        Without "crop" a view is the largest centred square. "turn" is rotation and shear.

        Args:
            ingredients: Names, or several in one text as "jitter,grey"; empty texts are ignored.

        Raises:
            UsageError: If there is no such ingredient.
        """
        left = self
        for ingredient in ",".join(ingredients).split(","):
            if ingredient.strip():
                left = replace(left, **left._absent(ingredient.strip()))
        return left

    def _absent(self, ingredient: str) -> dict[str, Any]:
        """Give the settings that switch an ingredient off."""
        absent: dict[str, dict[str, Any]] = {
            "crop": {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)},
            "flip": {"flip": 0.0},
            "turn": {"degrees": 0.0, "shear": 0.0},
            "jitter": {"colors": self.colors._replace(share=0.0)},
            "grey": {"colors": self.colors._replace(grey=0.0)},
            "blur": {"blur": 0.0},
            "solarise": {"solarise": 0.0},
        }
        if ingredient not in absent:
            raise unknown_name("ingredient", ingredient, absent)
        return absent[ingredient]

    def blurred_share(self, size: int) -> float:
        """Give the share of views that are blurred, for views of `size` pixels a side."""
        if self.blur is None:
            return 0.5 if size >= BLUR_FROM else 0.0
        return self.blur


def augmented(
    batch: Images | LabelledImages, size: int, augmentation: Augmentation, *, name: str = "view"
) -> Tensor:
    """Make one view of every picture.

    All random numbers are drawn for the whole batch at once. On a processor the changes are then
    applied to a few pictures at a time, so that they stay in its cache; the result is the same.

    Args:
        batch: Pictures (B, C, H, H) on their canvases.
        size: Side S of the views, in pixels.
        augmentation: What is done to them. Pictures without three channels keep their colours, with
            one warning.
        name: Which view this is: another name draws another one.

    Returns:
        (B, C, S, S) float32 in [0, 1], on the batch's device.

    Raises:
        UsageError: If a setting is outside its range.
    """
    images = batch.images
    with torch.autocast(images.device.type, enabled=False):
        decided = _decided(batch, size, augmentation, name)
        if at_a_time(images) >= len(images):
            return decided.applied(images)
        views = torch.empty(*images.shape[:2], size, size, device=images.device)
        for rows in parts(images):
            views[rows] = decided.of(rows).applied(images[rows])
        return views


class _Decisions(NamedTuple):
    """All that is drawn for a batch, before any picture is changed; None for steps left out."""

    points: Points
    colors: Matrices | Ordered | None
    widths: Tensor | None
    bright: Tensor | None

    def of(self, rows: slice) -> "_Decisions":
        """Take those of some pictures."""
        return _Decisions(
            self.points.of(rows),
            None if self.colors is None else self.colors.of(rows),
            None if self.widths is None else self.widths[rows],
            None if self.bright is None else self.bright[rows],
        )

    def applied(self, images: Tensor) -> Tensor:
        """Make the views of these pictures."""
        views = sampled(images, self.points)
        if self.colors is not None:
            views = self.colors.applied(views)
        if self.widths is not None:
            views = blur_where_wide_(views, self.widths)
        if self.bright is not None:
            views = inverted(views, self.bright, THRESHOLD)
        return views


def _decided(
    batch: Images | LabelledImages, size: int, augmentation: Augmentation, name: str
) -> _Decisions:
    """Draw for a whole batch at once: a hundred small operations that parts need not repeat."""
    channels, side = batch.images.shape[1], batch.images.shape[-1]
    matrix = view_matrices(
        batch,
        size,
        scale=augmentation.scale,
        ratio=augmentation.ratio,
        flip=augmentation.flip,
        degrees=augmentation.degrees,
        shear=augmentation.shear,
        name=name,
    )
    jitter = augmentation.colors
    changes = jitter.share or jitter.grey
    share = augmentation.blurred_share(size)
    return _Decisions(
        sampling_points(batch.extent.float(), matrix, side, size),
        drawn_colors(batch, channels, jitter, name) if changes else None,
        drawn_widths(batch, share, augmentation.sigma, name),
        drawn_bright(batch, augmentation.solarise, THRESHOLD, name),
    )
