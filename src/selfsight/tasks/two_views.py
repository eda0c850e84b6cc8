"""Views: what tasks share that compare two views of every picture."""

from dataclasses import replace
from typing import ClassVar

from torch import Tensor, nn

from selfsight.augment.augmentation import Augmentation, augmented
from selfsight.data.pictures.batch import Images
from selfsight.tasks.cropping import Cropping


class TwoViews(Cropping):
    """A task that compares two views of every picture, each cropped and changed by own draws.

    Args:
        encoder: Maps pictures (B, C, S, S) in [0, 1] to features (B, D).
        size: Side S of the views, in pixels.
        augmentation: What is done to a view, but for the scale of its crop.
        least_scale: Least share of the picture's area that a crop keeps, in (0, 1].
        without: What is left out of that: a comma list, see `Augmentation.without`.

    Attributes:
        view_names: Names of the two views' draws.
    """

    view_names: ClassVar[tuple[str, str]] = ("first view", "second view")

    def __init__(
        self,
        encoder: nn.Module,
        *,
        size: int,
        augmentation: Augmentation,
        least_scale: float,
        without: str,
    ) -> None:
        super().__init__(encoder, size=size, least_scale=least_scale)
        self.augmentation = replace(augmentation, scale=(least_scale, 1.0)).without(without)

    def views(self, batch: Images) -> tuple[Tensor, Tensor]:
        """Make two views of every picture: -> (B, C, S, S) twice."""
        first, second = self.view_names
        one = augmented(batch, self.size, self.augmentation, name=first)
        return one, augmented(batch, self.size, self.augmentation, name=second)
