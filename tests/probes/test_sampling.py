"""Sampling: classes keep their shares, none goes without, and the same seed draws the same."""

import pytest
import torch

from selfsight.probes.sampling import choose_labelled, stratified


def test_seats_are_shared_out_by_class() -> None:
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)

    rows = stratified(labels, torch.randperm(100, generator=torch.Generator().manual_seed(0)))

    assert sorted(rows.tolist()) == list(range(100))
    assert labels[rows[:3]].sort().values.tolist() == [0, 1, 2]
    assert labels[rows[:20]].bincount().tolist() == [12, 6, 2]


def test_a_fifth_is_held_out_by_class() -> None:
    labels = torch.arange(1000) % 10

    rows, held_out = choose_labelled(labels, 100, seed=0, draw=0)

    assert len(rows.unique()) == 100
    assert labels[rows].bincount().tolist() == [10] * 10
    assert labels[rows[held_out]].bincount().tolist() == [2] * 10


def test_the_only_picture_of_a_class_is_fitted_on() -> None:
    labels = torch.tensor([0] * 50 + [1])

    rows, held_out = choose_labelled(labels, 10, seed=0, draw=0)

    assert 1 in labels[rows[~held_out]]
    assert int(held_out.sum()) == 2


def test_another_draw_is_another_choice() -> None:
    labels = torch.arange(200) % 2
    first, again, other = (choose_labelled(labels, 20, seed=3, draw=draw)[0] for draw in (0, 0, 1))

    assert torch.equal(first, again)
    assert not torch.equal(first.sort().values, other.sort().values)


def test_two_pictures_are_enough() -> None:
    rows, held_out = choose_labelled(torch.tensor([0, 1]), 9, seed=0, draw=0)

    assert sorted(rows.tolist()) == [0, 1]
    assert int(held_out.sum()) == 1


def test_fewer_labels_than_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="one a class, got 4 for 5 classes"):
        choose_labelled(torch.arange(10) % 5, 4, seed=0, draw=0)
