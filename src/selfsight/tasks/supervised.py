"""Supervised: learn from the labels, as the reference that pretext tasks are held against.

Hidden:     each picture's class.
Predicted:  the class, by one linear layer on the encoder's pooled features.
Scored:     cross-entropy; a blind guess costs the entropy of the classes' shares, log K nats where
            all K are equally frequent.

Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural
Networks", NeurIPS 2012, https://doi.org/10.1145/3065386; crops and flips as in its section 4.1.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.augment.views import random_view
from selfsight.data.pictures.batch import LabelledImages
from selfsight.errors import UsageError
from selfsight.layers.entropy import entropy
from selfsight.tasks.base import Facts, Needs, Score
from selfsight.tasks.cropping import Cropping


class Supervised(Cropping):
    """Predict a picture's class from its labels.

    Args:
        encoder: Maps pictures (B, C, S, S) in [0, 1] to features (B, D).
        dim: Width D of those features.
        size: Side S of the crops, in pixels.
        classes: How many classes K there are, at least 2; None takes the data's.
        shares: Share of the pictures that each class has, in [0, 1]; None where all have the same.
        least_scale: Least share of the picture's area that a crop keeps, in (0, 1].
    """

    needs = Needs(batch=LabelledImages, labels=True)

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        *,
        size: int,
        classes: int | None = None,
        shares: Sequence[float] | None = None,
        least_scale: float = 0.2,
    ) -> None:
        super().__init__(encoder, size=size, least_scale=least_scale)
        if classes is None or classes < 2:
            raise ValueError(f"supervised needs at least 2 classes, got {classes}")
        self.head = nn.Linear(dim, classes)
        known = torch.tensor([1 / classes] * classes if shares is None else shares)
        self.blind = entropy(known)
        self.chance = float(known.max())

    @classmethod
    def derive(cls, facts: Facts) -> dict[str, Any]:
        """Take the number of classes and their shares from the data.

        Raises:
            UsageError: If fewer classes were chosen than the data has.
        """
        chosen = facts.chosen.get("classes")
        if chosen is not None and chosen < facts.classes:
            raise UsageError(
                f"classes of supervised must be at least the {facts.classes} of the data, got "
                f"{chosen}"
            )
        return {"classes": facts.classes, "shares": list(facts.shares) or None}

    def hide(self, batch: LabelledImages) -> tuple[Tensor, Tensor]:
        """Crop and flip, and set the labels apart: -> pictures (B, C, S, S), classes (B,)."""
        return random_view(batch, self.size, scale=(self.least_scale, 1.0)), batch.labels

    def predict(self, crops: Tensor) -> Tensor:
        """Guess the class: (B, C, S, S) -> logits (B, K)."""
        return self.head(self.encoder(crops))

    def score(self, logits: Tensor, labels: Tensor) -> Score:
        """Compare the guesses with the labels; loss in nats, accuracy in [0, 1]."""
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        return Score(F.cross_entropy(logits.float(), labels), {"accuracy": accuracy})

    def forward(self, batch: LabelledImages) -> Score:
        crops, labels = self.hide(batch)
        return self.score(self.predict(crops), labels)
