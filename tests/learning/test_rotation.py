"""Rotation, and labels: short trainings on real pictures beat the same network untrained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import selfsight
from selfsight.encoders import save
from selfsight.run import Run

pytestmark = pytest.mark.learn

Probed = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Run:
    """Two minutes' worth of rotation on CIFAR-10."""
    return selfsight.pretrain(
        str(shared_data / "cifar10"),
        "rotation",
        samples=40_000,
        out=str(tmp_path_factory.mktemp("runs") / "rotation"),
    )


def test_rotation_beats_the_untrained_network(
    probed: Probed, rotated: Run, shared_data: Path
) -> None:
    record = probed(rotated, shared_data / "cifar10", labels=5000)

    assert record["verdict"] == "learning"
    assert record["gain_low"] > 0.02
    assert record["trained"] > record["pixels"]


def test_rotation_is_solved_above_a_guess(rotated: Run) -> None:
    record = rotated.result("pretrain")

    assert record is not None
    assert record["verdict"] == "unknown"
    assert record["accuracy"] > 0.4
    assert record["loss"] < record["blind"]


def test_a_constant_encoder_is_collapsed(
    probed: Probed, rotated: Run, shared_data: Path, tmp_path: Path
) -> None:
    planted = Run.create(tmp_path / "constant")
    planted.write_settings(rotated.settings)
    encoder = rotated.encoder()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
    save(encoder, planted.path)

    record = probed(planted, shared_data / "cifar10", labels=500)

    assert record["verdict"] == "collapsed"


def test_supervised_learning_beats_the_untrained_network(
    probed: Probed, tmp_path: Path, shared_data: Path
) -> None:
    data = shared_data / "cifar10"
    run = selfsight.pretrain(str(data), "supervised", samples=60_000, out=str(tmp_path / "run"))
    record = probed(run, data, labels=5000)

    assert record["verdict"] == "learning"
    assert record["gain"] > 0.05


def test_the_medical_user_gets_a_verdict(probed: Probed, tmp_path: Path, shared_data: Path) -> None:
    data = shared_data / "pneumoniamnist"
    run = selfsight.pretrain(str(data), "rotation", samples=3000, out=str(tmp_path / "run"))
    record = probed(run, data)

    assert run.encoder().recipe.channels == 1
    assert record["trained"] > record["chance"]
    assert record["verdict"] in ("learning", "too close to tell", "no better than untrained")
