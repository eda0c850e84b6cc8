"""Planted: a small BYOL, and mistakes in it that the checks of the contract must catch.

Hidden:     what a network that follows slowly makes of the other view of a picture.
Predicted:  that, from what the trained network makes of the one view.
Scored:     squared distance of the two directions; a guess without looking has no meaning, since
            what is to be guessed moves.

Grill et al., "Bootstrap Your Own Latent", NeurIPS 2020, https://arxiv.org/abs/2006.07733,
section 3.
"""

from typing import cast

import torch
from torch import Tensor, nn

from selfsight.augment.augmentation import Augmentation, augmented
from selfsight.data.pictures.batch import Images
from selfsight.encoders import Encoder
from selfsight.layers.heads import Head, of_length_1
from selfsight.layers.momentum import MomentumEncoder
from selfsight.tasks.base import Needs, Score
from selfsight.tasks.two_views import TwoViews


class BYOL(TwoViews):
    """Guess what a network that follows slowly makes of the other view.

    Args:
        encoder: Maps pictures (B, C, S, S) in [0, 1] to features (B, D).
        dim: Width D of those features.
        size: Side S of the views, in pixels.
        momentum: Share of its weights that the target keeps in a step, in [0, 1).
        width: Width W of what is guessed, at least 1.
        least_scale: Least share of the picture's area that a crop keeps, in (0, 1].
    """

    needs = Needs(batch=Images)

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        *,
        size: int,
        momentum: float = 0.9,
        width: int = 16,
        least_scale: float = 0.2,
    ) -> None:
        super().__init__(
            encoder, size=size, augmentation=Augmentation(), least_scale=least_scale, without=""
        )
        self.momentum = momentum
        self.head = Head(dim, width, normalised=True)
        self.guess = Head(width, width)
        self.target = MomentumEncoder(self.encoder, self.head)

    def hide(self, batch: Images) -> tuple[Tensor, Tensor]:
        """Make two views: -> all of them (2B, C, S, S), and the other view of each."""
        first, second = self.views(batch)
        return torch.cat([first, second]), torch.cat([second, first])

    def predict(self, views: Tensor) -> Tensor:
        """Guess the target's directions: (2B, C, S, S) -> (2B, W) of length 1."""
        return of_length_1(self.guess(self.head(self.encoder(views))))

    def score(self, guessed: Tensor, others: Tensor) -> Score:
        """Compare with what the target makes of the other views; loss in [0, 4]."""
        return Score((guessed - self.target(others)).square().sum(dim=1).mean(), {})

    def forward(self, batch: Images) -> Score:
        views, others = self.hide(batch)
        return self.score(self.predict(views), others)

    def after_step(self, step: int, steps: int) -> dict[str, Tensor]:
        """Let the target follow."""
        self.target.follow(self.encoder, self.head, self.momentum)
        return {}

    def targets(self) -> dict[str, Tensor]:
        """Give the target's weights."""
        return dict(self.target.named_parameters())

    def encoders(self) -> dict[str, Encoder]:
        """Give the trained encoder, and the target's."""
        return {"trained": self.encoder, "target": cast(Encoder, self.target.encoder)}


class NeverFollows(BYOL):
    """The target stays where it began."""

    def after_step(self, step: int, steps: int) -> dict[str, Tensor]:
        return {}


class ItsOwnTarget(BYOL):
    """Each view is compared with what the target makes of the very same view."""

    def hide(self, batch: Images) -> tuple[Tensor, Tensor]:
        views, _ = super().hide(batch)
        return views, views


class EqualViews(BYOL):
    """Both views are drawn by one name, so that they are the same."""

    def views(self, batch: Images) -> tuple[Tensor, Tensor]:
        view = augmented(batch, self.size, self.augmentation, name="first view")
        return view, view.clone()


class ChangedByScoring(BYOL):
    """The target follows while a batch is scored, so that scoring it twice is not the same."""

    def score(self, guessed: Tensor, others: Tensor) -> Score:
        scored = super().score(guessed, others)
        self.target.follow(self.encoder, self.head, self.momentum)
        return scored


class NoStopGradient(BYOL):
    """The trained network is its own target, and learns to please itself: the gradient flows."""

    def score(self, guessed: Tensor, others: Tensor) -> Score:
        target = of_length_1(self.head(self.encoder(others)))
        return Score((guessed - target).square().sum(dim=1).mean(), {})


class UndeclaredTarget(BYOL):
    """The target never follows, and the task does not say that it has one."""

    def after_step(self, step: int, steps: int) -> dict[str, Tensor]:
        return {}

    def targets(self) -> dict[str, Tensor]:
        return {}


class WrongShape(BYOL):
    """The score compares what cannot be compared."""

    def score(self, guessed: Tensor, others: Tensor) -> Score:
        return Score((guessed - self.target(others)[:, :3]).square().mean(), {})


class WrongPictures(BYOL):
    """The network is given pictures of which one axis was lost."""

    def predict(self, views: Tensor) -> Tensor:
        return super().predict(views.flatten(2))


class OneStepTooFar(BYOL):
    """A mistake that shows only once the training has begun."""

    def after_step(self, step: int, steps: int) -> dict[str, Tensor]:
        return {"moved": self.momenta[step]}  # pyright: ignore -- the mistake
