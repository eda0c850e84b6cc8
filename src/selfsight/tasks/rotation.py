"""Rotation: turn a picture, then ask which way is up.

Hidden:     the quarter-turn k given to each picture, k in {0, 1, 2, 3}.
Predicted:  k, by one linear layer on the encoder's pooled features.
Scored:     cross-entropy; a blind guess costs log 4 = 1.386 nats.

Gidaris, Singh, Komodakis, "Unsupervised Representation Learning by Predicting
Image Rotations", ICLR 2018, https://arxiv.org/abs/1803.07728, section 2.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.augment.views import random_view
from selfsight.data.pictures.batch import Images
from selfsight.tasks.base import Needs, Score
from selfsight.tasks.cropping import Cropping

TURNS = 4


def turn_all_ways(crops: Tensor) -> Tensor:
    """Turn each crop by 0, 90, 180 and 270 degrees anticlockwise: (B, C, S, S) -> (4B, C, S, S).

    A quarter-turn is a transpose and a flip, so no interpolation or border gives the answer away.
    """
    return torch.cat([torch.rot90(crops, k, dims=(-2, -1)) for k in range(TURNS)])


class Rotation(Cropping):
    """Predict by how many quarter-turns a picture was rotated.

    Args:
        encoder: Maps pictures (B, C, S, S) in [0, 1] to features (B, D).
        dim: Width D of those features.
        size: Side S of the crop that is turned, in pixels.
        least_scale: Least share of the picture's area that a crop keeps, in (0, 1]. Small boxes
            often do not show which way is up; in short trainings on CIFAR-10, 0.2 learned less
            than 0.5, and 0.5 less than 0.8.
    """

    needs = Needs(batch=Images)

    def __init__(
        self, encoder: nn.Module, dim: int, *, size: int, least_scale: float = 0.7
    ) -> None:
        super().__init__(encoder, size=size, least_scale=least_scale)
        self.head = nn.Linear(dim, TURNS)
        self.blind = math.log(TURNS)
        self.chance = 1 / TURNS

    def hide(self, batch: Images) -> tuple[Tensor, Tensor]:
        """Crop, then turn every crop all four ways: -> pictures (4B, C, S, S), turns (4B,).

        All four turns of a picture share a batch: the paper found single random turns weaker.
        Boxes are square: in a landscape picture wide boxes fit more often than tall ones, and how
        crops are squeezed would tell an upright picture from a lying one.
        """
        scale = (self.least_scale, 1.0)
        crops = random_view(batch, self.size, scale=scale, ratio=(1.0, 1.0))
        turns = torch.arange(TURNS, device=crops.device).repeat_interleave(len(crops))
        return turn_all_ways(crops), turns

    def predict(self, turned: Tensor) -> Tensor:
        """Guess the turn from the picture alone: (4B, C, S, S) -> logits (4B, 4)."""
        return self.head(self.encoder(turned))

    def score(self, logits: Tensor, turns: Tensor) -> Score:
        """Compare the guesses with the hidden turns; loss in nats, accuracy in [0, 1]."""
        accuracy = (logits.argmax(dim=1) == turns).float().mean()
        return Score(F.cross_entropy(logits.float(), turns), {"accuracy": accuracy})

    def forward(self, batch: Images) -> Score:
        turned, turns = self.hide(batch)
        return self.score(self.predict(turned), turns)
