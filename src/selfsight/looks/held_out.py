"""Held out: pictures on which a run is tested, and whether it was trained on them."""

from typing import NamedTuple

import torch

from selfsight.data.batches import batch_at
from selfsight.data.pictures import Pictures
from selfsight.data.pictures.batch import Images, LabelledImages
from selfsight.tasks.base import Needs

Batch = Images | LabelledImages


class HeldOut(NamedTuple):
    """Pictures on which a run is tested.

    Attributes:
        pictures: The pictures in a random order, stored like those the run was trained on.
        part: Which part of which data they are, in words.
        trained_on: Whether the run was trained on them; None where it may have been on some.
    """

    pictures: Pictures
    part: str
    trained_on: bool | None

    @property
    def among(self) -> str:
        """Say how many pictures there are, and whether the run was trained on them."""
        count = f"{len(self.pictures):,}"
        plural = "" if len(self.pictures) == 1 else "s"
        if self.trained_on is None:
            return f"{count} picture{plural}, some perhaps trained on"
        if self.trained_on:
            return f"{count} picture{plural} that training had seen"
        return f"{count} held-out picture{plural}"

    def batch(
        self, first: int, last: int, *, needs: Needs, seed: int, device: str, epoch: int = 0
    ) -> Batch:
        """Make a batch of some of them, as the task needs it; another epoch has other draws."""
        index = torch.arange(first, min(last, len(self.pictures)))
        labels = needs.batch is LabelledImages
        return batch_at(self.pictures, index, seed=seed, epoch=epoch, labels=labels, device=device)
