"""Permutations: the puzzles that jigsaw tells apart, as different from each other as they can be.

Noroozi, Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles", ECCV
2016, https://arxiv.org/abs/1603.09246, section 3.2, algorithm 1: begin with a random permutation,
then add the one of all N! with the greatest mean Hamming distance to those chosen, again and again.

We reach what that search is after without it. Count how many of the P chosen permutations have the
value v at place i, c(i, v). Pairs that agree there number c (c - 1) / 2, so that

    pairs that agree, over all places = sum over i, v of c(i, v) (c(i, v) - 1) / 2,

and since every place has P values, that is least, and the mean distance greatest, exactly when the
counts c(i, v) differ by 1 at most. The N permutations p + k, k = 0 .. N - 1, values taken modulo N,
have every value once at every place (a Latin square). So whole squares {p + k}, the last of them
perhaps in part, have the greatest mean distance there is, whichever p they begin with.

That leaves the choice of the p to a second aim, the greatest least distance, so that no two
puzzles are nearly the same: each next square is one whose least distance to those chosen is
greatest (past the first thousand or so, any). Squares number (N - 1)!, 40,320 for 3 x 3 tiles, and
two of them are compared by p - q modulo N alone: p + k and q + m agree where p - q = m - k, so that
the most agreements of any two of their permutations are the most frequent value of p - q.
"""

import contextlib
import itertools
import math

import numpy as np
import torch
from torch import Tensor

from selfsight.draws import Draws
from selfsight.system import atomic
from selfsight.system.machine import CACHE, cache_folder

MOST_PLACES = 9  # (N - 1)! squares are compared
WORTH_KEEPING = 500  # permutations
REVISION = 1  # of how they are chosen: another one makes kept ones useless
MOST_COMPARED = 1200  # squares chosen by their distance: seconds for 3 x 3 tiles


def distant_permutations(count: int, places: int, *, seed: int = 0) -> Tensor:
    """Choose permutations of great Hamming distance: the greatest mean, then a great least.

    Args:
        count: How many, P, from 2 to N!.
        places: What is permuted, N things, from 2 to 9.
        seed: Of the first one and of the order among equals. The same seed gives the same
            permutations on every machine.

    Returns:
        (P, N) int64, the numbers from 0 to N - 1 in every row, no row twice. A smaller P gives the
        first rows of a larger one.

    Raises:
        ValueError: If there are not so many permutations, or a number is outside its range.
    """
    if not 2 <= places <= MOST_PLACES:
        raise ValueError(f"places must be from 2 to {MOST_PLACES}, got {places}")
    if not 2 <= count <= math.factorial(places):
        raise ValueError(
            f"permutations must be from 2 to {math.factorial(places)}, all those of {places} "
            f"tiles, got {count}"
        )
    firsts = _shuffled(_first_rows(places), seed)
    chosen = firsts[_distant(firsts, math.ceil(count / places))].long()
    shifts = torch.arange(places)[:, None]
    squares = (chosen[:, None, :] + shifts) % places  # (squares, N, N)
    return squares.flatten(0, 1)[:count]


def kept_permutations(count: int, places: int, *, seed: int = 0) -> Tensor:
    """Give `distant_permutations` from the cache folder, or choose and keep them.

    Sets that are chosen in no time are not kept.
    """
    if count < WORTH_KEEPING:
        return distant_permutations(count, places, seed=seed)
    path = cache_folder() / "permutations" / f"{REVISION}-{count}-of-{places}-{seed}.npy"
    with contextlib.suppress(Exception):  # missing, or damaged in one of many ways: chosen anew
        kept = torch.from_numpy(np.load(path, allow_pickle=False))
        if kept.shape == (count, places) and _are_permutations(kept):
            return kept.long()
    chosen = distant_permutations(count, places, seed=seed)
    with (
        atomic.kept_if_possible("the permutations"),
        atomic.written(
            atomic.folder(path.parent, another=CACHE) / path.name, another=CACHE
        ) as file,
    ):
        np.save(file, chosen.to(torch.uint8).numpy(), allow_pickle=False)
    return chosen


def _are_permutations(rows: Tensor) -> bool:
    return bool((rows.sort(dim=1).values == torch.arange(rows.shape[1])).all())


def _first_rows(places: int) -> Tensor:
    """List the row of every square that begins with 0: -> ((N - 1)!, N) uint8."""
    rest = list(itertools.permutations(range(1, places)))
    rows = torch.zeros(len(rest), places, dtype=torch.uint8)
    rows[:, 1:] = torch.tensor(rest, dtype=torch.uint8)
    return rows


def _shuffled(rows: Tensor, seed: int) -> Tensor:
    return rows[Draws(seed, 0, torch.arange(len(rows))).order("permutations")]


def _distant(rows: Tensor, count: int) -> Tensor:
    """Choose squares greedily by their least distance to those chosen: -> (count,) int64.

    Args:
        rows: (Q, N) uint8, a row of each square; the first one begins.
        count: How many to choose. Past `MOST_COMPARED` they are taken in the order of the rows.
    """
    places = rows.T.contiguous()  # (N, Q)
    # The most agreements of each square with any chosen one; a chosen one agrees with itself in
    # all N places, more than any other can, and so is never chosen again.
    most = torch.zeros(len(rows), dtype=torch.uint8)
    chosen = [0]
    while len(chosen) < min(count, MOST_COMPARED):
        most = torch.maximum(most, _agreements(places, chosen[-1]))
        chosen.append(int(most.argmin()))
    left = torch.ones(len(rows), dtype=torch.bool)
    left[chosen] = False
    return torch.cat([torch.tensor(chosen), left.nonzero()[:, 0]])[:count]


def _agreements(places: Tensor, one: int) -> Tensor:
    """Count where the best matching rows of a square and of every square agree: -> (Q,) uint8.

    Args:
        places: (N, Q) uint8, the row of every square as a column.
        one: Number of the square.
    """
    count = len(places)
    row = places[:, one : one + 1]
    shifted = [(row + shift) % count for shift in range(count)]  # each (N, 1)
    agreeing = [(places == other).sum(dim=0, dtype=torch.uint8) for other in shifted]
    return torch.stack(agreeing).amax(dim=0)
