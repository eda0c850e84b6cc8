"""Held out: pictures on which a run is tested, and whether it was trained on them."""

from typing import Any, NamedTuple

import torch

from selfsight.data.pictures import Pictures
from selfsight.tasks.base import Needs


class HeldOut(NamedTuple):
    """Pictures on which a run is tested.

    Attributes:
        pictures: The pictures in a random order, stored like those the run was trained on.
        part: Which part of which data they are, in words.
        trained_on: Whether the run was trained on them; None where it may have been on some.
        unit: What they are called, in the plural.
    """

    pictures: Pictures
    part: str
    trained_on: bool | None
    unit: str = "pictures"

    @property
    def among(self) -> str:
        """Say how many they are and what the run knows of them."""
        count = len(self.pictures)
        unit = self.unit.removesuffix("s") if count == 1 else self.unit
        if self.trained_on is None:
            return f"{count:,} {unit}, some perhaps trained on"
        if self.trained_on:
            return f"{count:,} {unit} that training had seen"
        return f"{count:,} held-out {unit}"

    def batch(
        self, first: int, last: int, *, needs: Needs, seed: int, device: str, epoch: int = 0
    ) -> Any:
        """Make a batch of some of them, as the task needs it; another epoch has other draws."""
        index = torch.arange(first, min(last, len(self.pictures)))
        return needs.batch.from_rows(self.pictures, index, seed=seed, epoch=epoch, device=device)
