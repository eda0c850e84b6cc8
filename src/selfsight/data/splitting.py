"""Splitting: chooses test pictures where the data has no test part.

Either a fixed share is kept for testing, or, for few pictures, each is tested in one of several
folds by what was fitted to the others.
"""

from typing import cast

import torch
from torch import Tensor

from selfsight.data.source import S
from selfsight.draws import Draws
from selfsight.errors import SelfsightError, UsageError

FOLDS = 5


def split(source: S, share: float = 0.2, seed: int = 0) -> tuple[S, S]:
    """Split by picture, within each class where there are classes.

    Whether a picture is tested depends only on the seed and its place in the data. A class with one
    picture stays in the training part.

    Args:
        source: At least two pictures.
        share: Share kept for testing, in (0, 1); at least one picture of every class of two or
            more.
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
            "Give separate test data."
        )
    parts = (source.subset(which.nonzero()[:, 0]) for which in (~tested, tested))
    return cast(tuple[S, S], tuple(parts))


def _groups(labels: Tensor | None, order: Tensor) -> list[Tensor]:
    """Group a random order (N,) by class; without labels it is one group."""
    if labels is None:
        return [order]
    return [order[labels[order] == k] for k in labels.unique()]


def _kept(count: int, share: float) -> int:
    """Give the number of test pictures of a group: at least one, with one left to train on."""
    return min(max(1, round(count * share)), count - 1)


def folds_of(
    labels: Tensor, *, alike: Tensor | None = None, folds: int = FOLDS, seed: int = 0
) -> Tensor:
    """Distribute pictures over folds, every class evenly.

    Args:
        labels: (N,) int64 class numbers.
        alike: (N,) int64, the same number for pictures that must be in the same fold, such as
            copies; by default every picture has a different number.
        folds: Number of folds, at least 2; fewer if there are fewer pictures.
        seed: Another seed gives another distribution.

    Returns:
        (N,) int64, each picture's fold from 0; -1 for the only picture of its class, not counting
        copies, since no other picture shows its class. The sizes of folds differ by at most one,
        not counting copies.

    Raises:
        SelfsightError: If no class has two different pictures.
    """
    alike = torch.arange(len(labels)) if alike is None else alike.unique(return_inverse=True)[1]
    first = torch.full((int(alike.max()) + 1,), len(labels))
    first = first.scatter_reduce(0, alike, torch.arange(len(labels)), "amin")  # of each number
    order = Draws(seed, 0, first).order("folds")
    dealt = [group for group in _groups(labels[first], order) if len(group) > 1]
    if not dealt:
        raise SelfsightError(
            "nothing can be tested: no class has two pictures. Give separate test data."
        )
    rows = torch.cat(dealt)
    fold = torch.full((len(first),), -1)
    fold[rows] = torch.arange(len(rows)) % min(folds, len(rows))
    different = torch.stack([labels, alike], dim=1).unique(dim=0)[:, 0].bincount()
    return torch.where(different[labels] > 1, fold[alike], -1)
