"""k-means: a case by hand, what is refused, and scikit-learn from the same centroids."""

import math
from statistics import median
from typing import Any, cast

import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

from selfsight.errors import UsageError
from selfsight.layers.kmeans import BLOCK, ROUNDS, assigned, kmeans, mutual_information


def clouds(*, of: int = 60, at: float = 0.0) -> Tensor:
    """Scatter rows (5 of, 8) about five points."""
    generator = torch.Generator().manual_seed(0)
    middles = 4 * torch.randn(5, 1, 8, generator=generator)
    return (middles + torch.randn(5, of, 8, generator=generator)).flatten(0, 1) + at


def test_two_pairs_on_a_line() -> None:
    rows = torch.tensor([[0.0], [2.0], [10.0], [14.0]])

    found = kmeans(rows, 2, seed=0)

    assert found.assignments[0] == found.assignments[1] != found.assignments[2]
    assert found.assignments[2] == found.assignments[3]
    assert sorted(found.centroids.flatten().tolist()) == [1.0, 12.0]
    assert found.inertia == pytest.approx(1 + 1 + 4 + 4)


def test_one_cluster_is_the_mean_and_as_many_as_rows_are_the_rows() -> None:
    rows = clouds(of=4)

    one, all_of_them = kmeans(rows, 1, seed=0), kmeans(rows, len(rows), seed=0)

    assert torch.allclose(one.centroids[0], rows.mean(dim=0), atol=1e-5)
    assert sorted(all_of_them.assignments.tolist()) == list(range(len(rows)))
    assert all_of_them.inertia < 1e-6


@pytest.mark.parametrize("clusters", [0, 6])
def test_more_clusters_than_rows_or_none_are_refused(clusters: int) -> None:
    with pytest.raises(UsageError, match=f"clusters must be from 1 to the 5 rows, got {clusters}"):
        kmeans(torch.rand(5, 2), clusters, seed=0)


@pytest.mark.parametrize("iterations", [1, 3, 50])
@pytest.mark.parametrize("at", [0.0, 1000.0])  # far from the origin digits must not be lost
def test_the_same_beginning_ends_as_with_scikit_learn(iterations: int, at: float) -> None:
    rows = clouds(at=at)
    start = rows[::23][:12].clone()

    found = kmeans(rows, 12, seed=0, start=start, iterations=iterations)

    theirs = cast(Any, KMeans)(
        12, init=start.double().numpy(), n_init=1, max_iter=iterations, tol=0
    )
    theirs.fit(rows.double().numpy())
    assert found.assignments.tolist() == theirs.labels_.tolist()
    assert found.inertia == pytest.approx(theirs.inertia_, rel=1e-4)
    expected = torch.from_numpy(theirs.cluster_centers_).float()
    assert torch.allclose(found.centroids, expected, atol=1e-5 * max(at, 1))


def blobs(clusters: int, of: int, seed: int) -> Tensor:
    """Scatter rows about points that lie far apart."""
    generator = torch.Generator().manual_seed(seed)
    middles = 10 * torch.randn(clusters, 1, 8, generator=generator)
    return (middles + torch.randn(clusters, of, 8, generator=generator)).flatten(0, 1)


@pytest.mark.parametrize(
    ("clusters", "of", "seeds"),
    [(10, 60, 6), (40, 30, 6), (ROUNDS + 100, 8, 1)],  # the last in rounds of several rows
)
def test_separated_blobs_are_found_as_well_as_by_scikit_learn(
    clusters: int, of: int, seeds: int
) -> None:
    """A blob that no centroid begins in is never found: its rows cost a hundredfold."""
    ours = theirs = 0.0
    for seed in range(seeds):
        rows = blobs(clusters, of, seed)
        ours += kmeans(rows, clusters, seed=seed).inertia
        theirs += (
            cast(Any, KMeans)(clusters, n_init=1, random_state=seed).fit(rows.numpy()).inertia_
        )

    assert ours < 1.25 * theirs


def test_assigned_is_the_nearest_of_all_distances_over_several_blocks() -> None:
    rows, centroids = clouds(of=600, at=100.0), clouds(of=90, at=100.0).flip(0)

    found = assigned(rows, centroids)

    assert len(rows) * len(centroids) > BLOCK["cpu"]
    apart = (rows.double()[:, None] - centroids.double()[None]).square().sum(dim=2)
    more = apart.gather(1, found[:, None])[:, 0] - apart.amin(dim=1)
    assert more.max() < 1e-4  # of two as near as that, rounding chooses


def test_the_seed_decides_and_nothing_else() -> None:
    rows = torch.rand(300, 6, generator=torch.Generator().manual_seed(0))
    first = kmeans(rows, 20, seed=1)

    torch.rand(3)
    again, other = kmeans(rows, 20, seed=1), kmeans(rows, 20, seed=2)

    assert torch.equal(first.assignments, again.assignments)
    assert torch.equal(first.centroids, again.centroids)
    assert not torch.equal(first.assignments, other.assignments)
    pairs = {(0, 1): (1, 0), (0, 0): (0, 1), (2, 1): (1, 2)}
    for (seed, epoch), (other_seed, other_epoch) in pairs.items():
        one = kmeans(rows, 20, seed=seed, epoch=epoch)
        two = kmeans(rows, 20, seed=other_seed, epoch=other_epoch)
        assert not torch.equal(one.assignments, two.assignments)


def test_centroids_that_lost_their_rows_share_a_large_group() -> None:
    rows = clouds()
    far = torch.full((6, 8), 1e3) * torch.arange(1, 7)[:, None]  # nearest to no row
    start = torch.cat([rows[:2], far])

    found = [kmeans(rows, 8, seed=seed, start=start) for seed in range(7)]

    assert all(one.assignments.bincount(minlength=8).min() > 0 for one in found)
    # In which direction a group is split is drawn, and now and then two clouds stay together.
    assert median(one.inertia for one in found) < 1.1 * kmeans(rows, 8, seed=0).inertia


def test_rows_that_are_alike_leave_clusters_empty_and_stay_finite() -> None:
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).repeat_interleave(20, dim=0)

    found = kmeans(rows, 7, seed=0)

    assert found.centroids.isfinite().all()
    assert found.assignments[:20].unique().numel() == 1
    assert found.assignments[0] != found.assignments[20]
    assert found.inertia == pytest.approx(0, abs=1e-4)


def test_centroids_are_learned_from_some_rows_and_all_are_assigned() -> None:
    rows = clouds(of=400)

    found = kmeans(rows, 5, seed=0, rows_a_centroid=30)

    assert len(found.assignments) == 2000
    assert torch.equal(found.assignments, assigned(rows, found.centroids))
    assert found.inertia < 1.1 * kmeans(rows, 5, seed=0).inertia


def test_progress_counts_the_iterations() -> None:
    told: list[tuple[int, int]] = []

    kmeans(
        torch.rand(400, 4, generator=torch.Generator().manual_seed(0)),
        30,
        seed=0,
        iterations=3,
        progress=lambda done, of: told.append((done, of)),
    )

    assert told == [(1, 3), (2, 3), (3, 3)]


def test_half_precision_rows_under_autocast_are_grouped_in_f32() -> None:
    rows = clouds().bfloat16()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = kmeans(rows, 5, seed=0)

    assert found.centroids.dtype == torch.float32
    assert torch.equal(found.assignments, kmeans(rows.float(), 5, seed=0).assignments)


def test_mutual_information_by_hand() -> None:
    halves = torch.tensor([0, 0, 1, 1])

    assert mutual_information(halves, 1 - halves).item() == pytest.approx(1)
    assert mutual_information(halves, torch.tensor([0, 1, 0, 1])).item() == pytest.approx(0)
    # Quarters tell the halves, log 2 of their own log 4: log 2 / sqrt(log 2 log 4).
    found = mutual_information(halves, torch.tensor([3, 2, 1, 0])).item()
    assert found == pytest.approx(1 / math.sqrt(2))


def test_mutual_information_is_that_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(0, 9, (500,), generator=generator)
    second = (first + torch.randint(0, 3, (500,), generator=generator)) // 2

    found = mutual_information(first, second).item()

    theirs = normalized_mutual_info_score(first, second, average_method="geometric")
    assert 0.2 < found < 0.9
    assert found == pytest.approx(theirs, abs=1e-5)


def test_one_group_tells_nothing_of_several_and_all_of_another_one() -> None:
    one, several = torch.zeros(6, dtype=torch.int64), torch.arange(6)

    assert mutual_information(one, several) == mutual_information(several, one) == 0
    assert mutual_information(one, one) == 1
    assert mutual_information(several, several).item() == pytest.approx(1)
