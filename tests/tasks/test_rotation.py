"""Rotation: the turn by hand, the price of a blind guess, and where the gradient goes."""

import math

import pytest
import torch
from torch import nn

from selfsight.data.pictures.batch import Images
from selfsight.tasks.rotation import Rotation, turn_all_ways


def rotation(size: int = 8) -> Rotation:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 16))
    return Rotation(encoder, dim=16, size=size)


def test_a_lit_corner_goes_round_anticlockwise() -> None:
    crop = torch.zeros(1, 3, 8, 8)
    crop[..., 0, 0] = 1  # one lit pixel, top left

    turned = turn_all_ways(crop)

    lit = [tuple(picture[0].nonzero()[0].tolist()) for picture in turned]
    assert lit == [(0, 0), (7, 0), (7, 7), (0, 7)]


def test_blind_guess_costs_log4() -> None:
    score = rotation().score(torch.zeros(8, 4), torch.arange(8) % 4)

    assert score.loss.item() == pytest.approx(math.log(4))
    assert rotation().blind == pytest.approx(math.log(4))


def test_all_four_turns_of_a_picture_share_the_batch() -> None:
    turned, turns = rotation().hide(Images.of(torch.rand(3, 3, 10, 10)))

    assert turns.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    upright = turned[:3]
    for turn in range(4):
        assert torch.equal(turned[turns == turn], torch.rot90(upright, turn, dims=(-2, -1)))


def test_accuracy_is_the_share_of_turns_found() -> None:
    logits = torch.eye(4)[[0, 1, 2, 0]]

    assert rotation().score(logits, torch.arange(4)).metrics["accuracy"].item() == 0.75


def test_gradient_reaches_the_encoder() -> None:
    task = rotation()

    task(Images.of(torch.rand(2, 3, 8, 8), seed=0)).loss.backward()

    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in task.encoder.parameters())


@pytest.mark.parametrize("least_scale", [0.0, -0.5, 1.5, math.nan])
def test_a_share_of_the_area_outside_its_range_is_refused(least_scale: float) -> None:
    with pytest.raises(ValueError, match="least_scale must be above 0 and at most 1, got"):
        Rotation(nn.Flatten(), dim=12, size=8, least_scale=least_scale)


def test_loss_is_the_cross_entropy_of_the_definition() -> None:
    task = rotation().double()
    turned, turns = task.hide(Images.of(torch.rand(5, 3, 12, 12)))
    turned = turned.double()

    found = task.score(task.predict(turned), turns).loss

    costs: list[float] = []
    weight, bias = task.head.weight.tolist(), task.head.bias.tolist()
    for features, turn in zip(task.encoder(turned).tolist(), turns.tolist(), strict=True):
        logits = [
            sum(w * x for w, x in zip(row, features, strict=True)) + b
            for row, b in zip(weight, bias, strict=True)
        ]
        costs.append(math.log(sum(math.exp(z) for z in logits)) - logits[turn])
    assert found.item() == pytest.approx(sum(costs) / len(costs), rel=1e-5)  # float32 logits


def test_crops_of_a_landscape_picture_are_not_squeezed() -> None:
    across = torch.arange(24.0).expand(24, 24) / 24  # rises by 1/24 a pixel to the right
    canvas = torch.stack([across, across.T, torch.zeros(24, 24)]).expand(16, 3, 24, 24)
    batch = Images.of(canvas.contiguous())._replace(extent=torch.tensor([12, 24]).expand(16, 2))

    upright = rotation().hide(batch)[0][:16]

    right = (upright[:, 0, 4, 5] - upright[:, 0, 4, 4]).abs()
    down = upright[:, 1, 5, 4] - upright[:, 1, 4, 4]
    torch.testing.assert_close(right, down)
