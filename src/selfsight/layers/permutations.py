"""Permutations: the classes of the jigsaw task, chosen to differ as much as possible.

Noroozi, Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles", ECCV
2016, https://arxiv.org/abs/1603.09246, section 3.2, algorithm 1: begin with a random permutation
and repeatedly add, from all N!, the one with the greatest mean Hamming distance to those chosen.

We reach the aim of that search without it. Let c(i, v) be how many of the P chosen permutations
have the value v at place i. The pairs that agree there number c (c - 1) / 2, so that

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
WORTH_KEEPING = 500  # permutations: smaller sets are not cached
REVISION = 1  # of the method of choice: another number makes cached permutations invalid
MOST_COMPARED = 1200  # squares chosen by their distance: takes seconds for 3 x 3 tiles


def distant_permutations(count: int, places: int, *, seed: int = 0) -> Tensor:
    """Choose permutations with the greatest mean Hamming distance, then a great least distance.

    Args:
        count: Number of permutations, P, from 2 to N!.
        places: Number of permuted things, N, from 2 to 9.
        seed: Chooses the first permutation and the order among equally distant ones. The same seed
            gives the same permutations on every machine.

    Returns:
        (P, N) int64, the numbers from 0 to N - 1 in every row, no row twice. A smaller P gives the
        first rows of a larger one.

    Raises:
        ValueError: If a number is outside its range.
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
    """Read `distant_permutations` from the cache folder, or choose and save them.

    Small sets, which are chosen quickly, are not saved.
    """
    if count < WORTH_KEEPING:
        return distant_permutations(count, places, seed=seed)
    path = cache_folder() / "permutations" / f"{REVISION}-{count}-of-{places}-{seed}.npy"
    with contextlib.suppress(Exception):  # missing or damaged in any way: chosen again
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
    """List of every square the row that begins with 0: -> ((N - 1)!, N) uint8."""
    rest = list(itertools.permutations(range(1, places)))
    rows = torch.zeros(len(rest), places, dtype=torch.uint8)
    rows[:, 1:] = torch.tensor(rest, dtype=torch.uint8)
    return rows


def _shuffled(rows: Tensor, seed: int) -> Tensor:
    return rows[Draws(seed, 0, torch.arange(len(rows))).order("permutations")]


def _distant(rows: Tensor, count: int) -> Tensor:
    """Choose squares greedily by their least distance to those chosen: -> (count,) int64.

    Args:
        rows: (Q, N) uint8, a row of each square; the first square is chosen first.
        count: How many to choose. Past `MOST_COMPARED` they are taken in the order of the rows.
    """
    places = rows.T.contiguous()  # (N, Q)
    # The most agreements of each square with any chosen one. A chosen square agrees with itself in
    # all N places, more than any other can, so it is never chosen again.
    most = torch.zeros(len(rows), dtype=torch.uint8)
    chosen = [0]
    while len(chosen) < min(count, MOST_COMPARED):
        most = torch.maximum(most, _agreements(places, chosen[-1]))
        chosen.append(int(most.argmin()))
    left = torch.ones(len(rows), dtype=torch.bool)
    left[chosen] = False
    return torch.cat([torch.tensor(chosen), left.nonzero()[:, 0]])[:count]


def _agreements(places: Tensor, one: int) -> Tensor:
    """Count the places in which the most similar rows of two squares agree: -> (Q,) uint8.

    Args:
        places: (N, Q) uint8, the row of every square as a column.
        one: Number of the square that is compared with every square.
    """
    count = len(places)
    row = places[:, one : one + 1]
    shifted = [(row + shift) % count for shift in range(count)]  # each (N, 1)
    agreeing = [(places == other).sum(dim=0, dtype=torch.uint8) for other in shifted]
    return torch.stack(agreeing).amax(dim=0)
