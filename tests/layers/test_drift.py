"""Drift: rotation by a known angle, which steps are measured, and that nothing is changed."""

import math

import pytest
import torch
from torch import Tensor, nn

from selfsight.layers.drift import EVERY, PICTURES, Drift
from selfsight.layers.heads import of_length_1


class Turned(nn.Module):
    """Gives every picture the same direction, at an angle that can be changed."""

    def __init__(self) -> None:
        super().__init__()
        self.angle = 0.0

    def forward(self, pictures: Tensor) -> Tensor:
        direction = torch.tensor([math.cos(self.angle), math.sin(self.angle)])
        return direction.expand(len(pictures), 2)


def test_the_cosine_is_that_of_the_turn() -> None:
    drift, network = Drift(), Turned()
    drift.begin(0)
    drift.keep(torch.rand(4, 1, 2, 2), network, network)

    network.angle = math.radians(60)

    assert drift.moved(network, network)["target_cosine"].item() == pytest.approx(0.5)


def test_a_target_that_stands_still_gives_1() -> None:
    drift, network = Drift(), Turned()
    drift.begin(EVERY)
    drift.keep(torch.rand(4, 1, 2, 2), network, network)

    assert drift.moved(network, network)["target_cosine"].item() == pytest.approx(1.0)


def test_it_looks_in_every_25th_step_only() -> None:
    drift, network = Drift(), Turned()

    looked: list[int] = []
    for step in range(60):
        drift.begin(step)
        drift.keep(torch.rand(2, 1, 2, 2), network, network)
        looked += [step] if drift.moved(network, network) else []

    assert looked == [0, 25, 50]


def test_a_task_that_takes_turns_looks_in_the_first_of_its_own_steps() -> None:
    drift, network = Drift(), Turned()

    looked: list[int] = []
    for step in range(60):
        drift.begin(step)
        if step % 5 == 3:
            drift.keep(torch.rand(2, 1, 2, 2), network, network)
        looked += [step] if drift.moved(network, network) else []

    assert looked == [3, 28, 53]


def test_it_looks_at_a_few_pictures_in_evaluation_mode_and_changes_no_statistics() -> None:
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4))
    seen: list[tuple[int, bool]] = []

    def embed(pictures: Tensor) -> Tensor:
        seen.append((len(pictures), network.training or torch.is_grad_enabled()))
        return of_length_1(network(pictures))

    drift = Drift()
    before = [values.clone() for values in network.state_dict().values()]
    drift.begin(0)
    drift.keep(torch.rand(64, 1, 2, 2), embed, network)
    drift.moved(embed, network)

    assert seen == [(PICTURES, False)] * 2
    assert network.training
    assert all(map(torch.equal, before, network.state_dict().values()))


def test_rounding_to_bf16_is_no_movement() -> None:
    network = nn.Linear(8, 8)

    def embed(pictures: Tensor) -> Tensor:
        return of_length_1(network(pictures))

    drift = Drift()
    drift.begin(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        drift.keep(torch.rand(4, 8), embed, network)

    assert drift.moved(embed, network)["target_cosine"].item() == pytest.approx(1.0, abs=1e-6)


def test_without_a_forward_pass_there_is_nothing_to_tell() -> None:
    drift, network = Drift(), Turned()
    drift.begin(0)
    drift.keep(torch.rand(2, 1, 2, 2), network, network)
    drift.begin(EVERY)  # what was kept before is of another step

    assert drift.moved(network, network) == {}


def test_a_resumed_run_looks_where_an_unbroken_one_does() -> None:
    drift, network = Drift(), Turned()
    drift.begin(EVERY)
    drift.keep(torch.rand(2, 1, 2, 2), network, network)
    assert drift.moved(network, network)

    resumed = Drift()
    resumed.load_state_dict(drift.state_dict())
    looked: list[int] = []
    for step in range(EVERY + 1, 2 * EVERY + 2):
        resumed.begin(step)
        resumed.keep(torch.rand(2, 1, 2, 2), network, network)
        looked += [step] if resumed.moved(network, network) else []

    assert looked == [2 * EVERY]


def test_a_state_without_looks_is_one_before_the_first() -> None:
    drift, network = Drift(), Turned()

    nn.ModuleDict({"drift": drift}).load_state_dict({})
    drift.begin(EVERY + 1)
    drift.keep(torch.rand(2, 1, 2, 2), network, network)

    assert drift.moved(network, network)
