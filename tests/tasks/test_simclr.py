"""SimCLR: who is whose partner, the loss by hand and by loops, fewer negatives, no collapse."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import nn

from noise import noise_batch, smooth_batch, told_apart
from selfsight.data.pictures.batch import Images
from selfsight.encoders import build
from selfsight.errors import UsageError
from selfsight.layers.heads import of_length_1
from selfsight.tasks.base import Facts
from selfsight.tasks.simclr import Partners, SimCLR


def simclr(size: int = 8, **settings: Any) -> SimCLR:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 16))
    return SimCLR(encoder, dim=16, size=size, **settings)


def partners(pictures: int) -> Partners:
    """Pair the views of some pictures, which come in their own order."""
    rows = torch.arange(2 * pictures)
    return Partners(rows, rows.roll(pictures), rows % pictures)


def test_four_views_by_hand() -> None:
    # Views 0 and 2 are of one picture, 1 and 3 of the other. Anchor 0 is as its partner, and at
    # right angles to both others; so are all of them.
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])

    score = simclr(temperature=0.5).score(directions, partners(2))

    assert score.loss.item() == pytest.approx(-math.log(math.exp(2) / (math.exp(2) + 2)))
    assert score.metrics["accuracy"].item() == 1


def test_the_accuracy_is_the_share_of_anchors_whose_partner_is_nearest() -> None:
    # Only the first two views find each other; the third is nearer to the fourth than to the first.
    angles = torch.tensor([0.0, 30.0, 20.0, 100.0]).deg2rad()
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)

    # Nearest: 0 -> 2 (its partner), 1 -> 2 (not 3), 2 -> 1 (not 0), 3 -> 1 (its partner).
    assert simclr().score(directions, partners(2)).metrics["accuracy"].item() == 0.5


def test_a_blind_guess_costs_the_log_of_all_in_reach() -> None:
    task = simclr(negatives=6)
    alike = of_length_1(torch.ones(8, 5))

    assert task.score(alike, partners(4)).loss.item() == pytest.approx(math.log(7))
    assert task.blind == pytest.approx(math.log(7))
    assert task.chance == pytest.approx(1 / 7)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_the_loss_is_that_of_the_definition(temperature: float) -> None:
    task = simclr(temperature=temperature).double()
    directions = torch.randn(10, 4, dtype=torch.float64)
    directions = directions / directions.norm(dim=1, keepdim=True)

    found = task.score(directions, partners(5)).loss

    z = directions.tolist()

    def similarity(i: int, j: int) -> float:
        return sum(a * b for a, b in zip(z[i], z[j], strict=True)) / temperature

    costs: list[float] = []
    for i in range(10):
        j = (i + 5) % 10
        total = sum(math.exp(similarity(i, k)) for k in range(10) if k != i)
        costs.append(-math.log(math.exp(similarity(i, j)) / total))
    assert found.item() == pytest.approx(sum(costs) / 10, rel=1e-12)


@pytest.mark.parametrize("negatives", [2, 4, 6])
def test_fewer_negatives_are_those_of_the_pictures_drawn_first(negatives: int) -> None:
    task = simclr(negatives=negatives, temperature=0.5)
    batch = Images.of(torch.rand(5, 3, 10, 10))
    views, asked = task.hide(batch)
    z = task.predict(views).detach().double().tolist()

    found = task.score(task.predict(views), asked).loss.item()

    in_turn = batch.draws.order("simclr/negatives").tolist()
    costs: list[float] = []
    for i in range(10):
        others = [picture for picture in in_turn if picture != i % 5][: negatives // 2]
        rows = [(i + 5) % 10, *itertools.chain(*((p, p + 5) for p in others))]
        exponents = [sum(a * b for a, b in zip(z[i], z[k], strict=True)) / 0.5 for k in rows]
        assert len(rows) == 1 + negatives
        costs.append(math.log(sum(map(math.exp, exponents))) - exponents[0])
    assert found == pytest.approx(sum(costs) / 10, rel=1e-5)


def test_all_negatives_are_as_many_as_asked_for() -> None:
    directions = of_length_1(torch.randn(12, 4))

    every = simclr().score(directions, partners(6)).loss
    asked = simclr(negatives=10).score(directions, partners(6)).loss

    assert torch.equal(every, asked)


def test_two_views_of_a_picture_are_partners_and_differ() -> None:
    views, asked = simclr().hide(Images.of(torch.rand(3, 3, 10, 10)))

    assert asked.itself.tolist() == [0, 1, 2, 3, 4, 5]
    assert asked.partner.tolist() == [3, 4, 5, 0, 1, 2]
    assert views.shape == (6, 3, 8, 8)
    assert (views[:3] - views[3:]).abs().amax(dim=(1, 2, 3)).min() > 0.05


def test_without_any_ingredient_both_views_are_the_picture() -> None:
    task = simclr(without="crop, flip,jitter,grey,blur")
    images = torch.rand(3, 3, 8, 8)

    first, second = task.views(Images.of(images))

    assert torch.allclose(first, images, atol=1e-5)
    assert torch.equal(first, second)


def test_the_settings_follow_the_batch_and_the_size() -> None:
    assert SimCLR.derive(Facts(100, 0, 3, 32, 64)) == {"negatives": 126, "strength": 0.5}
    assert SimCLR.derive(Facts(8, 0, 3, 96, 8)) == {"negatives": 14, "strength": 1.0}


def test_a_batch_without_others_is_refused() -> None:
    with pytest.raises(UsageError, match="needs a --batch of 2 pictures or more, got 1"):
        SimCLR.derive(Facts(100, 0, 3, 32, 1))


def test_more_negatives_than_the_batch_holds_are_refused() -> None:
    with pytest.raises(UsageError, match=r"at most 14, .* batch of 8, got 16; give a larger"):
        SimCLR.derive(Facts(100, 0, 3, 32, 8, chosen={"negatives": 16}))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"temperature": math.nan}, "temperature must be above 0, got nan"),
        ({"negatives": 3}, "negatives must be an even number .* got 3"),
        ({"negatives": 0}, "negatives must be an even number .* got 0"),
        ({"least_scale": 1.5}, "least_scale must be above 0 and at most 1, got 1.5"),
        ({"strength": -1.0}, "strength must be from 0 to 1, got -1.0"),
        ({"without": "colour"}, "unknown ingredient 'colour'"),
        ({"head": "deep"}, "head must be none, linear or mlp, got 'deep'"),
        ({"width": 0}, "width must be at least 1, got 0"),
    ],
)
def test_settings_outside_their_ranges_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        simclr(**settings)


def step(task: SimCLR, optimizer: torch.optim.Optimizer, number: int, batch: Images) -> Any:
    task.before_step(number, 100)
    score = task(batch)
    optimizer.zero_grad()
    score.loss.backward()
    optimizer.step()
    return task.after_step(number, 100)


def test_how_far_the_target_moves_is_told_every_25_steps() -> None:
    task = simclr()
    optimizer = torch.optim.SGD(task.parameters(), lr=0.5)
    told = [step(task, optimizer, number, noise_batch(0, 8, size=8)) for number in range(26)]

    assert [number for number, metrics in enumerate(told) if metrics] == [0, 25]
    assert -1 <= told[0]["target_cosine"].item() < 0.9999


def test_a_rate_of_nothing_does_not_move_the_target() -> None:
    task = simclr()

    told = step(task, torch.optim.SGD(task.parameters(), lr=0.0), 0, noise_batch(0, 8, size=8))

    assert told["target_cosine"].item() == pytest.approx(1, abs=1e-6)


def test_scoring_twice_gives_the_same() -> None:
    task, batch = simclr(), noise_batch(0, 8, size=8)
    task.before_step(0, 100)

    assert torch.equal(task(batch).loss, task(batch).loss)


def test_pictures_are_told_apart_and_do_not_collapse_to_a_point() -> None:
    torch.manual_seed(0)
    encoder = build("small", size=8, channels=3, arguments={"stem": 16, "widths": (16, 32)})
    task = SimCLR(encoder, encoder.dim, size=8)
    optimizer = torch.optim.Adam(task.parameters(), lr=3e-3)
    before = told_apart(task, smooth_batch(100_000, 64, size=8))

    for number in range(30):
        step(task, optimizer, number, smooth_batch(64 * number, 64, size=8))

    assert told_apart(task, smooth_batch(100_000, 64, size=8)) > before + 0.05
