"""Splitting: shares by hand, every picture once, the same split every time."""

import numpy as np
import pytest
import torch

from selfsight.data.pictures.forms.arrays import Arrays
from selfsight.data.pictures.forms.classes import Labels
from selfsight.data.pictures.source import PictureSource
from selfsight.data.splitting import folds_of, split
from selfsight.errors import SelfsightError, UsageError


def source(labels: list[int] | None, count: int) -> PictureSource:
    classes = () if labels is None else tuple("abcdef"[: max(labels) + 1])
    images = np.zeros((count, 8, 8), np.uint8)
    return Arrays("made", images, Labels(classes, None if labels is None else torch.tensor(labels)))


def titles(part: PictureSource) -> list[str]:
    return [part.title(i) for i in range(len(part))]


def counts(part: PictureSource) -> list[int]:
    assert part.labels is not None
    return part.labels.bincount(minlength=3).tolist()


def test_every_class_gives_its_share() -> None:
    train, test = split(source([0] * 10 + [1] * 20 + [2] * 2, 32))

    assert counts(test) == [2, 4, 1]
    assert counts(train) == [8, 16, 1]


def test_a_class_with_one_picture_stays_in_training() -> None:
    train, test = split(source([0] * 5 + [1], 6))

    assert counts(train) == [4, 1, 0]
    assert counts(test) == [1, 0, 0]


def test_unlabelled_pictures_are_split_by_picture() -> None:
    train, test = split(source(None, 10), share=0.3)

    assert (len(train), len(test)) == (7, 3)
    assert sorted(titles(train) + titles(test)) == [f"row {i}" for i in range(10)]


def test_the_same_seed_gives_the_same_split() -> None:
    first, second, other = (split(source(None, 50), seed=seed)[1] for seed in (0, 0, 1))

    assert titles(first) == titles(second)
    assert titles(first) != titles(other)


def test_a_part_can_be_split_again() -> None:
    train, _ = split(source([0] * 10 + [1] * 10, 20))

    smaller, held_out = split(train, share=0.25)

    assert counts(smaller) == [6, 6, 0]
    assert counts(held_out) == [2, 2, 0]
    assert not set(titles(smaller)) & set(titles(held_out))


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_a_share_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        split(source(None, 10), share=share)


def test_single_pictures_cannot_be_split() -> None:
    with pytest.raises(SelfsightError, match="can be kept for testing"):
        split(source([0, 1, 2], 3))


def test_every_class_is_dealt_evenly_and_every_picture_once() -> None:
    labels = torch.tensor([0] * 23 + [1] * 12 + [2] * 2)

    folds = folds_of(labels)

    assert folds.bincount().tolist() == [8, 8, 7, 7, 7]
    for number in range(3):
        sizes = folds[labels == number].bincount(minlength=5)
        assert int(sizes.max() - sizes.min()) <= 1


def test_a_picture_alone_of_its_class_is_never_tested() -> None:
    folds = folds_of(torch.tensor([0, 0, 1, 0, 0]))

    assert folds[2] == -1
    assert sorted(folds.tolist()) == [-1, 0, 1, 2, 3]  # as many folds as pictures to deal


def test_copies_are_in_one_fold() -> None:
    labels = torch.tensor([0, 1] * 20)
    alike = torch.arange(40) // 4  # four copies each, some labelled otherwise

    folds = folds_of(labels, alike=alike)

    assert all(len(folds[alike == number].unique()) == 1 for number in range(10))
    assert folds.bincount().tolist() == [8] * 5


def test_a_picture_alone_of_its_class_is_not_tested_as_another_one_s_copy() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    alike = torch.tensor([0, 1, 2, 0, 3, 3])  # the one of class 1 copies one of class 0

    assert (folds_of(labels, alike=alike) >= 0).tolist() == [True, True, True, False, False, False]


def test_the_same_seed_deals_the_same_folds() -> None:
    labels = torch.arange(60) % 3
    first, again, other = (folds_of(labels, seed=seed) for seed in (0, 0, 1))

    assert first.equal(again)
    assert not first.equal(other)


def test_lone_pictures_cannot_be_dealt() -> None:
    with pytest.raises(SelfsightError, match="no class has two pictures"):
        folds_of(torch.arange(4))
