"""Exemplar: every chosen picture, changed in many ways, is a class of its own.

Hidden:     which of K exemplars a picture was made from: by a crop, a turn and other colours.
Predicted:  the exemplar, by one linear layer on the encoder's pooled features.
Scored:     cross-entropy over the exemplars; a blind guess costs log K nats.

Dosovitskiy, Springenberg, Riedmiller, Brox, "Discriminative Unsupervised Feature Learning with
Convolutional Neural Networks", NeurIPS 2014, https://arxiv.org/abs/1406.6909, section 2.

Only the exemplars are learned from, chosen evenly over the data. The paper makes a fixed number of
versions of each beforehand; here every epoch makes another one. It cuts exemplars out of larger
pictures where there is much contrast; we take whole pictures.

The classifier grows with the exemplars, and so does a step's cost. More of them are not always
better: the paper's accuracy rises up to some thousands and then falls, since exemplars that look
alike cannot be told apart.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from selfsight.augment.augmentation import Augmentation, augmented
from selfsight.augment.color import ColorJitter
from selfsight.data.pictures.batch import Images
from selfsight.encoders import Encoder, evaluating
from selfsight.layers.memory_bank import samples_of
from selfsight.system.machine import size_in_words
from selfsight.tasks.base import Facts, Needs, Score
from selfsight.tasks.cropping import Cropping

MOST = 1000  # exemplars that are taken unasked


class Exemplar(Cropping):
    """Predict which exemplar a changed picture was made from.

    Args:
        encoder: Maps pictures (B, C, S, S) in [0, 1] to features (B, D).
        dim: Width D of those features.
        size: Side S of the crops, in pixels.
        samples: How many pictures the data has, N, at least 2; None takes the data's.
        exemplars: How many of them are classes, K, from 2 to N; None is all, up to 1,000.
        least_scale: Least share of the picture's area that a crop keeps, in (0, 1]. The paper
            scales by factors from 0.7 to 1.4, which is a quarter of the greatest area.
        without: What is left out of the changes: a comma list of crop, flip, turn, jitter.
    """

    needs = Needs(batch=Images)

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        *,
        size: int,
        samples: int | None = None,
        exemplars: int | None = None,
        least_scale: float = 0.25,
        without: str = "",
    ) -> None:
        super().__init__(encoder, size=size, least_scale=least_scale)
        if samples is None or samples < 2:
            raise ValueError(f"samples must be at least 2, as many as the data has, got {samples}")
        classes = min(samples, MOST) if exemplars is None else exemplars
        if not 2 <= classes <= samples:
            raise ValueError(f"exemplars must be from 2 to the {samples} pictures, got {exemplars}")
        self.samples, self.classes = samples, classes
        self.augmentation = _augmentation(least_scale, without)
        self.head = nn.Linear(dim, classes)
        self.blind = math.log(classes)
        self.chance = 1 / classes

    @classmethod
    def derive(cls, facts: Facts) -> dict[str, Any]:
        """Take the number of pictures from the data, and up to 1,000 of them as exemplars."""
        samples = samples_of(facts, "exemplar")
        return {"samples": samples, "exemplars": min(samples, MOST)}

    @classmethod
    def needs_with(cls, settings: Mapping[str, Any]) -> Needs:
        """Ask for no more pictures than there are exemplars."""
        return replace(super().needs_with(settings), samples=settings["exemplars"])

    def rows(self, samples: int) -> Tensor:
        """Choose the exemplars evenly: -> (K,) int64, places in the data.

        Exemplar j is at ceil(j N / K), so that `classes_of` finds j again: j <= i K / N < j + 1.
        """
        return -(-torch.arange(self.classes) * samples // self.classes)

    def classes_of(self, index: Tensor) -> Tensor:
        """Tell which exemplars pictures are: places in the data (B,) -> classes (B,)."""
        return index * self.classes // self.samples

    def hide(self, batch: Images) -> tuple[Tensor, Tensor]:
        """Change every picture: -> (B, C, S, S), exemplars (B,)."""
        return augmented(batch, self.size, self.augmentation), self.classes_of(batch.index)

    def predict(self, changed: Tensor) -> Tensor:
        """Guess the exemplar: (B, C, S, S) -> logits (B, K)."""
        return self.head(self.encoder(changed))

    def score(self, logits: Tensor, exemplars: Tensor) -> Score:
        """Compare the guesses with the exemplars; loss in nats, accuracy in [0, 1]."""
        accuracy = (logits.argmax(dim=1) == exemplars).float().mean()
        return Score(F.cross_entropy(logits.float(), exemplars), {"accuracy": accuracy})

    def forward(self, batch: Images) -> Score:
        changed, exemplars = self.hide(batch)
        return self.score(self.predict(changed), exemplars)

    def notes(self) -> tuple[str, ...]:
        """Say what the classifier costs, which grows with the exemplars."""
        share = self._share_of_arithmetic()
        size = size_in_words(4 * self.head.weight.numel())
        return (
            f"the classifier of {self.classes:,} exemplars holds {size} of weights, and takes "
            f"{share:.0%} of the networks' arithmetic; both grow with the exemplars",
        )

    def _share_of_arithmetic(self) -> float:
        """Count the multiplications of encoder and classifier for a picture: -> a share."""
        parameter = next(self.encoder.parameters(), self.head.weight)
        network = cast(nn.Module, self.encoder)
        channels = network.recipe.channels if isinstance(network, Encoder) else 3
        picture = torch.zeros(1, channels, self.size, self.size, device=parameter.device)
        counter = FlopCounterMode(display=False)
        with evaluating(self.encoder), torch.no_grad(), counter:
            self.encoder(picture)
        classifying = 2 * self.head.weight.numel()
        return classifying / (classifying + counter.get_total_flops())


def _augmentation(least_scale: float, without: str) -> Augmentation:
    """Put the changes together: the paper turns by up to 20 degrees and does not mirror."""
    augmentation = Augmentation(
        scale=(least_scale, 1.0),
        ratio=(1.0, 1.0),
        flip=0.0,
        degrees=20.0,
        colors=ColorJitter(0.5, 0.5, 0.5, 0.1, share=1.0, grey=0.0),
        blur=0.0,
    )
    return augmentation.without(without)
