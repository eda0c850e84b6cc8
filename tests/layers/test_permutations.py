"""Permutations: all different, with the greatest possible mean distance and a great least one."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from selfsight.layers.permutations import (
    _agreements,
    _first_rows,
    distant_permutations,
    kept_permutations,
)


def distances(rows: Tensor) -> Tensor:
    """Count the places in which each pair of rows differs: (P, N) -> (P (P - 1) / 2,)."""
    apart = (rows[:, None] != rows[None]).sum(dim=-1)
    return apart[tuple(torch.triu_indices(len(rows), len(rows), offset=1))]


def searched(count: int, places: int) -> Tensor:
    """Run the paper's algorithm 1 as it stands: always the greatest mean distance."""
    every = torch.tensor(list(itertools.permutations(range(places))))
    chosen = [0]
    while len(chosen) < count:
        apart = (every[:, None] != every[chosen]).sum(dim=-1).double().mean(dim=1)
        apart[chosen] = -1
        chosen.append(int(apart.argmax()))
    return every[chosen]


def test_two_permutations_differ_everywhere() -> None:
    assert distances(distant_permutations(2, 9)).tolist() == [9]


@pytest.mark.parametrize(("count", "places"), [(24, 4), (6, 3), (2, 2), (100, 9), (13, 5)])
def test_every_row_is_a_permutation_and_no_two_are_alike(count: int, places: int) -> None:
    rows = distant_permutations(count, places)

    assert rows.shape == (count, places)
    assert (rows.sort(dim=1).values == torch.arange(places)).all()
    assert len(set(map(tuple, rows.tolist()))) == count


@pytest.mark.parametrize("count", [2, 5, 7, 23, 60])
def test_the_mean_distance_is_that_of_the_papers_search(count: int) -> None:
    found = distances(distant_permutations(count, 5)).double().mean()

    assert found >= distances(searched(count, 5)).double().mean() - 1e-12


@pytest.mark.parametrize("count", [20, 100])
def test_every_tile_is_at_every_place_equally_often(count: int) -> None:
    rows = distant_permutations(count, 9)

    often = torch.stack([(rows == tile).sum(dim=0) for tile in range(9)])
    assert often.max() - often.min() <= 1


def test_no_two_of_a_hundred_are_nearly_alike() -> None:
    drawn = torch.stack([torch.randperm(9) for _ in range(100)])

    assert distances(distant_permutations(100, 9)).min() == 6
    assert distances(drawn).min() < 6


def test_the_distance_of_squares_is_that_of_their_nearest_rows() -> None:
    rows = _first_rows(5)
    found = _agreements(rows.T.contiguous(), 7)

    for row, most in zip(rows.long(), found.tolist(), strict=True):
        pairs = [((row + k) % 5 == rows[7]).sum().item() for k in range(5)]
        assert most == max(pairs)


def test_fewer_permutations_are_the_first_of_more() -> None:
    assert torch.equal(distant_permutations(100, 6)[:31], distant_permutations(31, 6))


def test_a_seed_gives_permutations_of_its_own() -> None:
    first, again = distant_permutations(10, 9), distant_permutations(10, 9)

    assert torch.equal(first, again)
    assert not torch.equal(first, distant_permutations(10, 9, seed=1))


def test_all_permutations_of_eight_are_found() -> None:
    rows = distant_permutations(math.factorial(8), 8)  # more squares than are compared

    numbers = (rows * 8 ** torch.arange(8)).sum(dim=1)
    assert len(numbers.unique()) == math.factorial(8)


@pytest.mark.parametrize(
    ("count", "places", "message"),
    [
        (25, 4, "permutations must be from 2 to 24, all those of 4 tiles, got 25"),
        (1, 4, "permutations must be from 2 to 24, all those of 4 tiles, got 1"),
        (2, 1, "places must be from 2 to 9, got 1"),
        (2, 10, "places must be from 2 to 9, got 10"),
    ],
)
def test_more_permutations_than_there_are_are_refused(
    count: int, places: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        distant_permutations(count, places)


def test_large_sets_are_kept_and_a_damaged_one_is_chosen_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path))
    chosen = kept_permutations(600, 6)
    (path,) = tmp_path.rglob("*.npy")

    assert torch.equal(chosen, distant_permutations(600, 6))
    kept = np.load(path)
    np.save(path, kept[::-1])
    assert torch.equal(kept_permutations(600, 6), chosen.flip(0))  # it is the file that is read
    np.save(path, np.zeros_like(kept))
    assert torch.equal(kept_permutations(600, 6), chosen)
    whole = path.read_bytes()
    for damaged in (b"damaged", whole.replace(b"}", b"("), whole.replace(b"600", b"'a'")):
        path.write_bytes(damaged)
        assert torch.equal(kept_permutations(600, 6), chosen)


def test_sets_that_cannot_be_kept_are_chosen_all_the_same_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "file" / "cache"))

    assert torch.equal(kept_permutations(600, 6), distant_permutations(600, 6))
    assert "the permutations are not kept for the next time: " in capsys.readouterr().err
