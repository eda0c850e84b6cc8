"""Splitting: a fixed share of the pictures kept for testing, where the data has no test part."""

import torch
from torch import Tensor

from selfsight.data.source import Source
from selfsight.draws import Draws
from selfsight.errors import SelfsightError, UsageError


def split(source: Source, share: float = 0.2, seed: int = 0) -> tuple[Source, Source]:
    """Split by picture, within each class where there are classes.

    Whether a picture is tested on depends on the seed and its place in the data, on nothing drawn
    before. A class with one picture stays in the training part.

    Args:
        source: At least two pictures.
        share: Share kept for testing, in (0, 1); every class of two pictures or more gives one.
        seed: Another seed gives another split.

    Returns:
        The training and the test part, each in the order of `source`.

    Raises:
        UsageError: If `share` is outside its range.
        SelfsightError: If nothing could be kept for testing.
    """
    if not 0 < share < 1:
        raise UsageError(f"share must lie between 0 and 1, got {share}")
    order = Draws(seed, 0, torch.arange(len(source))).order("split")  # (N,)
    tested = torch.zeros(len(source), dtype=torch.bool)
    for group in _groups(source.labels, order):
        tested[group[: _kept(len(group), share)]] = True
    if not tested.any():
        raise SelfsightError(
            f"nothing of {source.name} can be kept for testing: no class has two pictures. "
            "Give test data of its own."
        )
    return source.subset((~tested).nonzero()[:, 0]), source.subset(tested.nonzero()[:, 0])


def _groups(labels: Tensor | None, order: Tensor) -> list[Tensor]:
    """Part a random order (N,) by class, or not at all when unlabelled."""
    if labels is None:
        return [order]
    return [order[labels[order] == k] for k in labels.unique()]


def _kept(count: int, share: float) -> int:
    """Count the test pictures of a group: at least one, and one is left to train on."""
    return min(max(1, round(count * share)), count - 1)
