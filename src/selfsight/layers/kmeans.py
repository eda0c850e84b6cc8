"""k-means clustering: rows are grouped around centroids.

Lloyd, "Least Squares Quantization in PCM", IEEE Transactions on Information Theory 1982,
https://doi.org/10.1109/TIT.1982.1056489: assign every row to its nearest centroid, move every
centroid to the mean of its rows, and repeat. Two details follow faiss (Johnson, Douze, Jegou,
https://arxiv.org/abs/1702.08734): with very many rows, centroids are learned from a sample of them;
and a centroid that has lost all its rows is moved next to that of a large group, to split it.

The nearest centroid needs no distances. |x - c|^2 = |x|^2 - 2 (x . c - |c|^2 / 2), and |x|^2 is the
same for all centroids, so the nearest one has the largest x . c - |c|^2 / 2: a matrix product,
computed a block of rows at a time.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from selfsight.draws import Draws
from selfsight.errors import UsageError

ROWS_A_CENTROID = 256  # rows that centroids are learned from: more would move them little
BLOCK = {"cpu": 1 << 20, "cuda": 1 << 26}  # entries of rows x centroids at once: 4 MB and 256 MB
ROWS_A_START = 32  # rows a centroid, among which the first centroids are chosen
ROUNDS = 512  # greatest number of rounds in which the first centroids are chosen
NUDGE = 1 / 1024  # of the rows' deviation: the offset between the centroids of a split group


class Clusters(NamedTuple):
    """The result of k-means.

    Attributes:
        centroids: (K, D) float32.
        assignments: (N,) int64, each row's nearest centroid. If rows are equal, some centroids may
            have no row.
        inertia: Sum over rows of the squared distance to the nearest centroid.
    """

    centroids: Tensor
    assignments: Tensor
    inertia: float


def kmeans(
    rows: Tensor,
    clusters: int,
    *,
    seed: int,
    epoch: int = 0,
    iterations: int = 20,
    rows_a_centroid: int = ROWS_A_CENTROID,
    start: Tensor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Clusters:
    """Group rows around centroids, on the rows' device; the same seed gives the same groups.

    Args:
        rows: (N, D).
        clusters: Number of centroids K, from 1 to N.
        seed: Of the random choice of first centroids, rows far from each other, and of the sample
            of rows that centroids are learned from.
        epoch: Another epoch makes other choices with the same seed.
        iterations: Greatest number of iterations; they end early once no row changes its group.
        rows_a_centroid: Most rows for each centroid that centroids are learned from; all rows are
            assigned at the end.
        start: (K, D) first centroids; None chooses K of the rows.
        progress: Called after every iteration with the number done and the greatest number.

    Raises:
        UsageError: If there are fewer rows than clusters, or no clusters.
    """
    if not 1 <= clusters <= len(rows):
        raise UsageError(f"clusters must be from 1 to the {len(rows):,} rows, got {clusters:,}")

    def draws(count: int) -> Draws:
        return Draws(seed, epoch, torch.arange(count, device=rows.device))

    with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
        order = draws(len(rows)).order("kmeans/rows")
        some = rows[order[: clusters * rows_a_centroid]].float()
        middle = some.mean(dim=0)
        some -= middle  # far from the origin, float32 would lose digits
        if start is None:
            few = some[: clusters * ROWS_A_START]
            begun = _spread(few, clusters, draws(len(few)))
        else:
            begun = start.float() - middle
        centroids = _moved(some, begun, draws(clusters), iterations, progress) + middle
        assignments = assigned(rows, centroids)
        return Clusters(centroids, assignments, _inertia(rows, centroids, assignments))


def assigned(rows: Tensor, centroids: Tensor) -> Tensor:
    """Find each row's nearest centroid: rows (N, D), centroids (K, D) -> (N,) int64."""
    with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
        middle = centroids.float().mean(dim=0)
        return _closeness(rows, centroids.float() - middle, middle)[1]


def _closeness(
    rows: Tensor, centroids: Tensor, middle: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Find each row's nearest centroid c: -> x . c - |c|^2 / 2, and its number, each (N,).

    Args:
        rows: (N, D).
        centroids: (K, D), centred: less the middle.
        middle: (D,) to be subtracted from the rows; None if the rows are centred already.
    """
    towards = centroids.T.contiguous()
    lead = -0.5 * centroids.square().sum(dim=1)  # -|c|^2 / 2
    found: list[tuple[Tensor, Tensor]] = []
    for block in rows.split(_block(rows, len(centroids))):
        block = block.float() if middle is None else block.float() - middle
        # max is faster than argmax.
        best = torch.addmm(lead, block, towards).max(dim=1)
        found.append((best.values, best.indices))
    values, places = zip(*found, strict=True)
    return torch.cat(values), torch.cat(places)


def _block(rows: Tensor, columns: int) -> int:
    """Give the number of rows that are compared with `columns` centroids at once."""
    return max(1, BLOCK.get(rows.device.type, BLOCK["cpu"]) // columns)


def _spread(rows: Tensor, clusters: int, draws: Draws) -> Tensor:
    """Choose rows far from each other: -> (K, D).

    Arthur, Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007: a row is
    chosen with a probability proportional to its squared distance to the rows chosen before. As in
    scikit-learn, several candidates are drawn, and the one is taken that leaves the least sum of
    squared distances: otherwise two centroids often begin in one group while another has none. With
    very many clusters, several rows are chosen in a round, each from its own candidates.

    To draw, each row gets an exponential variable of rate d^2, and the smallest ones are chosen.
    """
    lengths = rows.square().sum(dim=1)
    tries = 2 + int(math.log(clusters))
    chosen = [rows[draws.order("kmeans/start")[:1]]]
    distance = _apart(rows, lengths, chosen[0])[:, 0]
    left = clusters - 1
    while left:
        several = min(-(-clusters // ROUNDS), left)
        drawn = -torch.log1p(-draws.uniform(f"kmeans/start/{left}", 1)[:, 0])
        # A draw of 0 would win at any rate, hence the clamp. Rows chosen before, at distance 0,
        # wait for ever.
        waits = (drawn.clamp(min=1e-9) / distance).nan_to_num()
        count = several * min(tries, len(rows) // several)
        candidates = rows[waits.topk(count, largest=False).indices]
        remaining = _remaining(rows, lengths, candidates, distance).view(-1, several)
        best = remaining.argmin(dim=0) * several + torch.arange(several, device=rows.device)
        chosen.append(candidates[best])
        distance = distance.minimum(_apart(rows, lengths, chosen[-1]).amin(dim=1))
        left -= several
    return torch.cat(chosen)


def _apart(rows: Tensor, lengths: Tensor, others: Tensor) -> Tensor:
    """Measure squared distances: rows (N, D) of squared lengths (N,), others (C, D) -> (N, C)."""
    both = lengths[:, None] + others.square().sum(dim=1)
    return torch.addmm(both, rows, others.T, alpha=-2).clamp(min=0)


def _remaining(rows: Tensor, lengths: Tensor, candidates: Tensor, distance: Tensor) -> Tensor:
    """Sum the squared distances (N,) that would be left with each candidate (C, D): -> (C,)."""
    total = rows.new_zeros(len(candidates))
    step = _block(rows, len(candidates))
    parts = (rows.split(step), lengths.split(step), distance.split(step))
    for some, long, before in zip(*parts, strict=True):
        total += _apart(some, long, candidates).minimum(before[:, None]).sum(dim=0)
    return total


def _moved(
    rows: Tensor,
    centroids: Tensor,
    draws: Draws,
    iterations: int,
    progress: Callable[[int, int], None] | None,
) -> Tensor:
    """Iterate: assign rows to centroids, move centroids to the means of their rows: -> (K, D)."""
    before: Tensor | None = None
    deviation = rows.std(dim=0, correction=0)  # (D,)
    for iteration in range(iterations):
        assignments = _closeness(rows, centroids)[1]
        if before is not None and torch.equal(assignments, before):
            break
        counts = assignments.bincount(minlength=len(centroids))
        means = _sums(rows, assignments, len(centroids)) / counts.clamp(min=1)[:, None]
        sides = draws.uniform(f"kmeans/split/{iteration}", means.shape[1])
        centroids = _split(means, counts, deviation, sides)
        before = assignments
        if progress is not None:
            progress(iteration + 1, iterations)
    return centroids


def _sums(rows: Tensor, assignments: Tensor, clusters: int) -> Tensor:
    """Add up the rows of each group: -> (K, D)."""
    sums = rows.new_zeros(clusters, rows.shape[1])
    if rows.device.type == "cpu":
        return sums.index_add_(0, assignments, rows)
    # On other devices index_add_ adds in any order, and the last bits would differ between runs.
    step = _block(rows, clusters)
    for block, groups in zip(rows.split(step), assignments.split(step), strict=True):
        sums.addmm_(torch.nn.functional.one_hot(groups, clusters).to(block.dtype).T, block)
    return sums


def _split(means: Tensor, counts: Tensor, deviation: Tensor, sides: Tensor) -> Tensor:
    """Move every centroid without rows next to that of a large group, the largest group first.

    The large group's centroid moves the opposite way, so that the border runs through the group's
    middle. `sides` (K, D), numbers in [0, 1), decides the direction along every axis.
    """
    empty = (counts == 0).nonzero()[:, 0]
    if not len(empty):
        return means
    by_size = counts.argsort(descending=True, stable=True)[: len(means) - len(empty)]
    # If more groups are empty than not, the largest are split again, in other directions.
    shared = by_size[torch.arange(len(empty), device=means.device) % len(by_size)]
    nudge = torch.where(sides[: len(empty)] < 0.5, NUDGE, -NUDGE) * deviation  # (E, D)
    split = means.index_copy(0, empty, means[shared] + nudge)
    once = slice(0, len(by_size))
    return split.index_add(0, shared[once], nudge[once], alpha=-1)


def _inertia(rows: Tensor, centroids: Tensor, assignments: Tensor) -> float:
    """Sum the squared distances of rows to their centroids."""
    step = _block(rows, rows.shape[1])
    total = 0.0
    for block, groups in zip(rows.split(step), assignments.split(step), strict=True):
        total += float((block.float() - centroids[groups]).square().sum())
    return total


def mutual_information(first: Tensor, second: Tensor) -> Tensor:
    """Measure how far two groupings of the same rows agree: mutual information, normalised.

    Args:
        first: (N,) int64 groups, from 0.
        second: (N,) int64 groups of the other grouping, from 0.

    Returns:
        I / sqrt(H1 H2) in [0, 1], float32: 0 if they are independent, 1 if each determines the
        other; also 1 if both have only one group.
    """
    apart = first * (second.max() + 1) + second
    both, one, other = (
        _entropy(groups.unique(return_counts=True)[1]) for groups in (apart, first, second)
    )
    scale = (one * other).sqrt()
    shared = (one + other - both).clamp(min=0)
    # A single group has entropy 0, and groups of one row have equal entropies up to rounding.
    return torch.where(scale > 0, shared / scale, (one == other).to(scale.dtype)).float()


def _entropy(counts: Tensor) -> Tensor:
    """Compute the entropy of groups from their sizes, in nats."""
    shares = counts.double() / counts.sum()
    return -(shares * shares.log()).sum()
