"""Supervised: the price of a blind guess, what is refused, and the formula typed again."""

import math

import pytest
import torch
from torch import nn

from selfsight.augment.views import random_view
from selfsight.data.pictures.batch import Images, LabelledImages
from selfsight.tasks.base import Facts
from selfsight.tasks.supervised import Supervised


def supervised(classes: int = 5, size: int = 8) -> Supervised:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 16))
    return Supervised(encoder, dim=16, size=size, classes=classes)


def test_blind_guess_costs_log_of_the_classes() -> None:
    score = supervised(5).score(torch.zeros(10, 5), torch.arange(10) % 5)

    assert score.loss.item() == pytest.approx(math.log(5))
    assert supervised(5).blind == pytest.approx(math.log(5))


def test_blind_guess_of_unequal_classes_costs_their_entropy() -> None:
    task = Supervised(nn.Flatten(), dim=12, size=8, classes=3, shares=[0.95, 0.05, 0.0])

    # The class without a picture costs nothing: 0 log 0 is 0.
    assert task.blind == pytest.approx(-0.95 * math.log(0.95) - 0.05 * math.log(0.05))
    assert task.blind == pytest.approx(0.1985, abs=1e-4)
    assert task.chance == pytest.approx(0.95)


def test_accuracy_is_the_share_of_classes_found() -> None:
    score = supervised(3).score(torch.eye(3)[[0, 1, 1, 0]], torch.tensor([0, 1, 2, 0]))

    assert score.metrics["accuracy"].item() == 0.75


def test_labels_stay_with_their_pictures() -> None:
    images, labels = torch.rand(4, 3, 10, 10), torch.tensor([3, 0, 2, 1])

    crops, classes = supervised().hide(LabelledImages.of(images, labels))

    assert torch.equal(crops, random_view(Images.of(images), 8))
    assert torch.equal(classes, labels)


def test_classes_come_from_the_data() -> None:
    facts = Facts(samples=100, classes=7, channels=3, side=8, batch=10)

    assert Supervised.derive(facts) == {"classes": 7, "shares": None}
    skewed = Facts(samples=100, classes=2, channels=3, side=8, batch=10, shares=(0.9, 0.1))
    assert Supervised.derive(skewed) == {"classes": 2, "shares": [0.9, 0.1]}


@pytest.mark.parametrize("classes", [None, 0, 1])
def test_fewer_than_two_classes_are_refused(classes: int | None) -> None:
    with pytest.raises(ValueError, match=f"supervised needs at least 2 classes, got {classes}"):
        Supervised(nn.Flatten(), dim=12, size=8, classes=classes)


def test_a_share_of_the_area_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="least_scale must be above 0 and at most 1, got 2"):
        Supervised(nn.Flatten(), dim=12, size=8, classes=2, least_scale=2)


def test_loss_is_the_cross_entropy_of_the_definition() -> None:
    logits = torch.tensor([[0.3, -1.2, 2.0], [1.0, 0.0, 0.5]])

    found = supervised(3).score(logits, torch.tensor([2, 1])).loss.item()

    first = -2.0 + math.log(math.exp(0.3) + math.exp(-1.2) + math.exp(2.0))
    second = -0.0 + math.log(math.exp(1.0) + math.exp(0.0) + math.exp(0.5))
    assert found == pytest.approx((first + second) / 2)
