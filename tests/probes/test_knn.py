"""k-NN: a vote by hand, and the vote typed again as a plain loop."""

import math

import pytest
import torch
from torch import Tensor

from selfsight.probes.features import Labelled
from selfsight.probes.knn import NearestNeighbours, vote


def directions(*degrees: float) -> Tensor:
    angle = torch.tensor(degrees) * math.pi / 180
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def test_two_near_neighbours_outvote_a_nearer_one() -> None:
    # Cosines 0.985, 0.966, 0.966. At temperature 1 two votes beat one; at 0.01 the nearest counts
    # exp(0.019 / 0.01) = 6.7 times as much as each of the two, and wins.
    bank = Labelled(directions(10, -15, 15), torch.tensor([0, 1, 1]))
    query = directions(0)

    assert vote(bank, query, classes=2, k=3, temperature=1.0).tolist() == [1]
    assert vote(bank, query, classes=2, k=3, temperature=0.01).tolist() == [0]
    assert vote(bank, query, classes=2, k=1, temperature=1.0).tolist() == [0]


def test_lengths_do_not_count_and_the_bank_is_all_rows() -> None:
    x = directions(0, 5, 90, 95) * torch.tensor([[1.0], [50.0], [0.1], [3.0]])
    probe = NearestNeighbours(2, k=1)
    probe.add(x, torch.tensor([0, 0, 1, 1]), torch.tensor([False, True, False, True]))
    probe.solve()

    assert probe.validation == 1.0
    assert probe.predict(directions(4, 93) * 7).tolist() == [0, 1]


def test_a_plain_loop_finds_the_same_winners() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 5, generator=generator), torch.randint(3, (60,), generator=generator)
    queries = torch.randn(40, 5, generator=generator)
    probe = NearestNeighbours(3, k=7)
    held_out = torch.arange(60) % 5 == 0
    for chunk in torch.arange(60).split(17):
        probe.add(x[chunk], y[chunk], held_out[chunk])
    probe.solve()

    expected: list[int] = []
    for query in queries.double():
        cosines = [float(query @ row / query.norm() / row.norm()) for row in x.double()]
        votes = [0.0, 0.0, 0.0]
        for place in sorted(range(60), key=lambda row: -cosines[row])[:7]:
            votes[int(y[place])] += math.exp(cosines[place] / 0.07)
        expected.append(votes.index(max(votes)))
    assert probe.predict(queries).tolist() == expected


def test_k_is_lowered_to_a_small_bank() -> None:
    probe = NearestNeighbours(2, k=20)
    probe.add(directions(0, 90), torch.tensor([0, 1]), torch.tensor([True, False]))
    probe.solve()

    assert probe.validation == 0.0  # the only voter left is of the other class
    assert probe.predict(directions(1)).tolist() == [0]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 neighbour, got 0"):
        NearestNeighbours(2, k=0)
    with pytest.raises(ValueError, match="above 0, got 0"):
        NearestNeighbours(2, temperature=0)
    with pytest.raises(ValueError, match="call solve"):
        NearestNeighbours(2).predict(directions(0))


def test_nothing_held_out_is_refused() -> None:
    probe = NearestNeighbours(2)
    probe.add(directions(0, 90), torch.tensor([0, 1]), torch.tensor([False, False]))
    with pytest.raises(ValueError, match="got 0 of 2"):
        probe.solve()
