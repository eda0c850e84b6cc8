"""Sampling: which labelled pictures a draw gets, and which of them it holds out for validation.

Both are in proportion to the classes. In a random order, the picture that comes r-th (from 0) in
its class of n has place (r + 1/2) / n; taking pictures in increasing place distributes them among
classes as the method of Webster and Sainte-Lague distributes seats. The first picture of every
class comes before all others, so that every class is represented.
"""

import torch
from torch import Tensor

from selfsight.draws import Draws
from selfsight.errors import UsageError

HELD_OUT_SHARE = 5  # one in so many
HELD_OUT_MOST = 5000  # past this the standard error of an accuracy is under 0.7 points


def stratified(labels: Tensor, order: Tensor) -> Tensor:
    """Rearrange a random order so that every beginning of it is in proportion to the classes.

    Args:
        labels: (N,) int64, class numbers from 0.
        order: (N,) int64, a random order of the pictures.

    Returns:
        (N,) int64, the same pictures; one of each class there is comes first.
    """
    shuffled = labels[order]
    by_class = shuffled.argsort(stable=True)
    counts = shuffled.bincount()
    first = counts.cumsum(0) - counts  # where each class begins in by_class
    rank = torch.empty_like(order)
    rank[by_class] = torch.arange(len(order)) - first[shuffled[by_class]]
    place = (rank + 0.5) / counts[shuffled]
    place[rank == 0] = 0
    return order[place.argsort(stable=True)]


def choose_labelled(labels: Tensor, count: int, *, seed: int, draw: int) -> tuple[Tensor, Tensor]:
    """Draw the pictures whose labels are used, and say which are held out.

    Args:
        labels: (N,) int64, class numbers from 0 of all training pictures.
        count: Labels to use; all of them if there are no more than that.
        seed: The run's seed.
        draw: Number of the draw; another number gives another choice.

    Returns:
        Pictures (n,) int64 in random order, and held out (n,) bool: one in five, at least 1 and
        at most `HELD_OUT_MOST`. A class's only picture is held out last.

    Raises:
        UsageError: If count is below the number of classes, or there are fewer than 2 pictures.
    """
    present = len(labels.unique())
    if len(labels) < 2 or count < max(2, present):
        raise UsageError(
            f"labels must be at least 2 and one a class, got {min(count, len(labels))} for "
            f"{present} classes; label more pictures"
        )
    order = Draws(seed, draw, torch.arange(len(labels))).order("labelled")
    rows = stratified(labels, order)[:count]
    last = stratified(labels[rows], torch.arange(len(rows)))
    held_out = torch.zeros(len(rows), dtype=torch.bool)
    held_out[last[-min(HELD_OUT_MOST, max(1, len(rows) // HELD_OUT_SHARE)) :]] = True
    return rows, held_out
