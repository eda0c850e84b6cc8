"""Pretext tasks: short trainings on real pictures beat the same network untrained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import selfsight

pytestmark = pytest.mark.learn

Probed = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("task", "samples"),
    [
        ("jigsaw", 60_000),
        ("colorization", 60_000),
        ("colorization-vae", 60_000),
        ("inpainting", 100_000),
    ],
)
def test_a_pretext_task_beats_the_untrained_network(
    probed: Probed, task: str, samples: int, tmp_path: Path, shared_data: Path
) -> None:
    data = shared_data / "cifar10"
    run = selfsight.pretrain(str(data), task, samples=samples, out=str(tmp_path / "run"))
    record = probed(run, data, labels=5000)

    assert record["verdict"] == "learning"
    told = run.result("pretrain")
    assert told is not None
    assert told["blind"] is None or told["loss"] < told["blind"]


def test_relative_position_beats_the_untrained_network(
    probed: Probed, tmp_path: Path, shared_data: Path
) -> None:
    data = shared_data / "caltech30"
    run = selfsight.pretrain(
        str(data), "relative-position", samples=12_000, size=96, out=str(tmp_path / "run")
    )
    record = probed(run, data)

    assert record["verdict"] == "learning"


def test_tasks_that_share_an_encoder_beat_the_untrained_network(
    probed: Probed, tmp_path: Path, shared_data: Path
) -> None:
    data = shared_data / "cifar10"
    tasks = ("jigsaw", "rotation")
    run = selfsight.pretrain(str(data), tasks, samples=40_000, out=str(tmp_path / "run"))
    record = probed(run, data, labels=5000)

    assert record["verdict"] == "learning"
    told = run.result("pretrain")
    assert told is not None
    assert all(one["loss"] < one["blind"] for one in told["tasks"].values())
