"""Classifier: the interface of what is fitted on frozen features, such as a linear map or k-NN.

A classifier gets features in batches, in one pass over the pictures, is then solved once, and then
predicts. Its accuracy on rows that it held out is its `validation`, by which layers are chosen;
test pictures are never used for a choice.
"""

from typing import Protocol

from torch import Tensor


class Classifier(Protocol):
    """Predicts class numbers from features."""

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
