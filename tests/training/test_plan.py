"""Plan: every derived number worked by hand."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from making import Plain
from selfsight.encoders import build
from selfsight.errors import UsageError
from selfsight.modalities.base import Usual
from selfsight.modalities.pictures import encoder_name, side_of_canvas, side_of_pictures
from selfsight.settings import Pretrain
from selfsight.system.machine import processors
from selfsight.training.optimizer import optimization, parameter_groups, rate_factor
from selfsight.training.plan import (
    batch_size,
    minutes_of,
    step_count,
    steps_within,
    thread_count,
)

USUAL = Usual()


def asked(**settings: object) -> Pretrain:
    return Pretrain(data="photos", task=("rotation",), **settings)  # pyright: ignore[reportArgumentType] -- any settings


@pytest.mark.parametrize(
    ("longer_side", "device", "expected"),
    [
        (8, "cpu", 32),
        (50, "cpu", 48),  # 50 / 16 = 3.125
        (60, "cpu", 64),  # 60 / 16 = 3.75
        (500, "cpu", 96),
        (500, "cuda", 224),
        (28, "cuda", 32),
    ],
)
def test_pictures_are_seen_at_their_own_size_within_limits(
    longer_side: int, device: str, expected: int
) -> None:
    assert side_of_pictures(None, longer_side, device) == expected


def test_an_asked_size_is_taken_as_it_is() -> None:
    assert side_of_pictures(50, 500, "cpu") == 50


@pytest.mark.parametrize(
    ("size", "longest", "least_scale", "expected"),
    [
        (32, 500, 0.2, 36),  # 32 / (2 sqrt 0.2) = 35.8
        (32, 500, 0.04, 80),  # 32 / (2 * 0.2)
        (32, 500, 1.0, 32),  # 16 would do, but whole pictures would be magnified
        (32, 20, 0.2, 20),  # nothing is gained by enlarging what is stored
    ],
)
def test_crops_are_magnified_at_most_twofold(
    size: int, longest: int, least_scale: float, expected: int
) -> None:
    assert side_of_canvas(size, longest, least_scale) == expected


@pytest.mark.parametrize("least_scale", [0.0, -0.5, 1.5, math.nan])
def test_a_share_of_the_area_outside_its_range_is_refused(least_scale: float) -> None:
    with pytest.raises(UsageError, match="least_scale must be above 0 and at most 1, got"):
        side_of_canvas(32, 500, least_scale)


def test_the_small_encoder_is_for_small_pictures_on_a_processor() -> None:
    assert encoder_name(None, 128, "cpu") == "small"
    assert encoder_name(None, 129, "cpu") == "resnet18"
    assert encoder_name(None, 32, "cuda") == "resnet18"
    assert encoder_name("resnet50", 32, "cpu") == "resnet50"


def test_a_batch_is_64_on_a_processor_and_256_on_a_gpu() -> None:
    assert batch_size(None, 1000, "cpu") == (64, ())
    assert batch_size(None, 1000, "cuda") == (256, ())
    assert batch_size(100, 1000, "cuda") == (100, ())
    assert batch_size(None, 1000, "cpu", least=128) == (128, ())
    assert batch_size(None, 1000, "cuda", least=128) == (256, ())
    assert batch_size(None, 30, "cpu", least=128) == (30, ())


def test_a_batch_over_the_data_is_lowered_and_said_if_it_was_asked_for() -> None:
    note = "the batch of 100 is lowered to the 30 pictures there are"

    assert batch_size(100, 30, "cpu") == (30, (note,))
    assert batch_size(None, 30, "cpu") == (30, ())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"samples": 1000}, 16),  # 1000 / 64 = 15.6
        ({"samples": 1}, 1),
        ({"epochs": 3}, 45),  # 15 whole batches each
        ({}, 1500),  # a hundred epochs
    ],
)
def test_a_length_in_pictures_becomes_steps(settings: dict[str, float], expected: int) -> None:
    assert step_count(asked(**settings), 1000, 64, USUAL) == expected


def test_a_length_in_time_has_room_for_steps() -> None:
    assert steps_within(2.0, 0.5) == 240  # 120 s / 0.5 s
    assert steps_within(0.0001, 0.5) == 1


@pytest.mark.parametrize(
    ("settings", "device", "expected"),
    [
        ({}, "cpu", 10),
        ({}, "cuda", None),
        ({"minutes": 2.0}, "cpu", 2.0),
        ({"minutes": 2.0}, "cuda", 2.0),
        ({"samples": 10}, "cpu", None),
        ({"epochs": 1}, "cpu", None),
    ],
)
def test_a_length_is_a_time_if_asked_for_and_without_any_on_a_processor(
    settings: dict[str, float], device: str, expected: float | None
) -> None:
    assert minutes_of(asked(**settings), device, USUAL) == expected


def test_processes_share_the_processors_there_are() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(processors())
        assert thread_count(None, 1) == processors()
        assert thread_count(None, 2) == max(1, processors() // 2)
        assert thread_count(None, 1000) == 1
        torch.set_num_threads(1)  # the caller's word counts
        assert thread_count(None, 1) == 1
        assert thread_count(3, 1) == 3
    finally:
        torch.set_num_threads(before)


def test_the_rate_rises_evenly_then_falls_by_a_half_cosine() -> None:
    factors = [rate_factor(step, 104, 4, "cosine") for step in (0, 1, 3, 4, 29, 54, 79)]

    down = (1 + math.sqrt(0.5)) / 2  # a quarter of the way down the cosine
    assert factors == pytest.approx([0.25, 0.5, 1, 1, down, 0.5, 1 - down])


def test_the_rate_is_never_nought() -> None:
    for schedule in ("cosine", "step"):
        assert all(rate_factor(s, n, n // 20, schedule) > 0 for n in (1, 2, 100) for s in range(n))


def test_the_rate_falls_to_tenths_at_60_and_80_percent() -> None:
    factors = [rate_factor(step, 100, 0, "step") for step in (0, 59, 60, 79, 80, 99)]

    assert factors == [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]


def test_biases_and_normalisation_do_not_decay() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))

    decayed, free = parameter_groups(Plain(network), 0.05)

    assert (decayed["weight_decay"], free["weight_decay"]) == (0.05, 0.0)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3, 3, 3), (2, 4)]
    assert [tuple(p.shape) for p in free["params"]] == [(4,), (4,), (4,), (2,)]


def test_what_is_not_trained_is_in_no_group() -> None:
    network = nn.Linear(4, 2)
    network.weight.requires_grad_(False)

    decayed, free = parameter_groups(Plain(network), 0.05)

    assert decayed["params"] == []
    assert free["params"] == [network.bias]


def test_what_a_task_names_gets_its_factor_of_the_rate() -> None:
    network = nn.Linear(4, 2)

    class Paced(Plain):
        def parameter_groups(self) -> list[dict[str, Any]]:
            return [{"params": [network.weight], "rate": 0.1}]

    groups = parameter_groups(Paced(network), 0.05)

    assert {p: group["factor"] for group in groups for p in group["params"]} == {
        network.weight: 0.1,
        network.bias: 1.0,
    }


def test_networks_without_batch_normalisation_get_adamw() -> None:
    torch.manual_seed(0)
    normalised, bare = build("small", size=32), build("vit_tiny_patch16_224", size=32)

    sgd, adamw = (
        optimization(asked(), normalised, 32, USUAL),
        optimization(asked(), bare, 64, USUAL),
    )

    assert sgd == {"optimizer": "sgd", "rate": 0.05, "decay": 5e-4, "clip": None}
    assert adamw == {"optimizer": "adamw", "rate": 1e-3, "decay": 0.05, "clip": 1.0}


def test_rates_stop_growing_with_the_batch_and_give_way_to_what_is_asked() -> None:
    torch.manual_seed(0)
    encoder = build("small", size=32)

    assert optimization(asked(), encoder, 4096, USUAL)["rate"] == 0.1
    assert optimization(asked(optimizer="adamw"), encoder, 4096, USUAL)["rate"] == 2e-3
    chosen = optimization(asked(rate=0.3, decay=0.0, clip=2.0), encoder, 4096, USUAL)
    assert chosen == {"optimizer": "sgd", "rate": 0.3, "decay": 0.0, "clip": 2.0}
