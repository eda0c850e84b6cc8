"""Classifier: what is fitted on frozen features, whatever it is fitted by.

A probe sees features in batches, as the one pass over the pictures yields them, then is solved
once, then answers. How well it does on rows it held out is its `validation`, by which layers are
chosen; test pictures are never chosen by.
"""

from typing import Protocol

from torch import Tensor


class Classifier(Protocol):
    """Features in, class numbers out."""

    @property
    def validation(self) -> float:
        """Accuracy in [0, 1] on the rows held out, known once solved."""
        ...

    def add(self, x: Tensor, y: Tensor, held_out: Tensor) -> None:
        """Take in features x (B, F), class numbers y (B,), and which rows are held out (B,)."""
        ...

    def solve(self) -> None:
        """Choose by the rows held out, then fit on all rows."""
        ...

    def predict(self, x: Tensor) -> Tensor:
        """Answer features (B, F) with class numbers (B,) int64."""
        ...
