"""Learning: short trainings on real pictures beat the same network untrained."""

from pathlib import Path
from typing import Any

import pytest
import torch

import selfsight
from selfsight.encoders import save
from selfsight.run import Run

pytestmark = pytest.mark.learn


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for the whole file: patch dictionaries and untrained networks are probed once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(cache))


def probed(run: Run, data: Path, **options: Any) -> dict[str, Any]:
    record = selfsight.probe(run, str(data), quick=True, **options)
    assert isinstance(record, dict)
    return record


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Run:
    """Two minutes' worth of rotation on CIFAR-10."""
    return selfsight.pretrain(
        str(shared_data / "cifar10"),
        "rotation",
        samples=40_000,
        out=str(tmp_path_factory.mktemp("runs") / "rotation"),
    )


def test_rotation_beats_the_untrained_network(rotated: Run, shared_data: Path) -> None:
    record = probed(rotated, shared_data / "cifar10", labels=5000)

    assert record["verdict"] == "learning"
    assert record["gain_low"] > 0.02
    assert record["trained"] > record["pixels"]


@pytest.mark.parametrize(
    ("task", "samples"),
    [
        ("jigsaw", 60_000),
        ("colorization", 60_000),
        ("colorization-vae", 80_000),
        ("inpainting", 100_000),
    ],
)
def test_a_pretext_task_beats_the_untrained_network(
    task: str, samples: int, tmp_path: Path, shared_data: Path
) -> None:
    data = shared_data / "cifar10"
    run = selfsight.pretrain(str(data), task, samples=samples, out=str(tmp_path / "run"))
    record = probed(run, data, labels=5000)

    assert record["verdict"] == "learning"
    told = run.result("pretrain")
    assert told is not None
    assert told["blind"] is None or told["loss"] < told["blind"]


@pytest.mark.parametrize(
    ("task", "samples", "limit"),
    [
        ("exemplar", 40_000, None),
        ("instance-discrimination", 50_000, 10_000),  # a bank needs pictures to be met again
        ("simclr", 30_000, None),
        ("pirl", 50_000, 10_000),
        ("moco", 40_000, None),
        ("moco-v2", 40_000, None),
        ("deepcluster", 40_000, None),
    ],
)
def test_telling_pictures_apart_beats_the_untrained_network(
    task: str, samples: int, limit: int | None, tmp_path: Path, shared_data: Path
) -> None:
    data, out = shared_data / "cifar10", str(tmp_path / "run")
    run = selfsight.pretrain(str(data), task, samples=samples, limit=limit, out=out)
    record = probed(run, data, labels=5000)

    assert record["verdict"] == "learning"
    told = run.result("pretrain")
    assert told is not None
    assert told["loss"] < told["blind"]


def test_a_dictionary_of_patches_beats_random_patches(tmp_path: Path, shared_data: Path) -> None:
    data = shared_data / "cifar10"
    run = selfsight.pretrain(str(data), "patch-dictionary", out=str(tmp_path / "run"))
    record = probed(run, data, labels=5000)

    assert record["verdict"] == "learning"
    assert record["trained"] > record["pixels"] + 0.15


def test_relative_position_beats_the_untrained_network(tmp_path: Path, shared_data: Path) -> None:
    data = shared_data / "caltech30"
    run = selfsight.pretrain(
        str(data), "relative-position", samples=12_000, size=96, out=str(tmp_path / "run")
    )
    record = probed(run, data)

    assert record["verdict"] == "learning"


def test_tasks_that_share_an_encoder_beat_the_untrained_network(
    tmp_path: Path, shared_data: Path
) -> None:
    data = shared_data / "cifar10"
    tasks = ("jigsaw", "rotation")
    run = selfsight.pretrain(str(data), tasks, samples=40_000, out=str(tmp_path / "run"))
    record = probed(run, data, labels=5000)

    assert record["verdict"] == "learning"
    told = run.result("pretrain")
    assert told is not None
    assert all(one["loss"] < one["blind"] for one in told["tasks"].values())


def test_rotation_is_solved_above_a_guess(rotated: Run) -> None:
    record = rotated.result("pretrain")

    assert record is not None
    assert record["verdict"] == "unknown"
    assert record["accuracy"] > 0.4
    assert record["loss"] < record["blind"]


def test_a_constant_encoder_is_collapsed(rotated: Run, shared_data: Path, tmp_path: Path) -> None:
    planted = Run.create(tmp_path / "constant")
    planted.write_settings(rotated.settings)
    encoder = rotated.encoder()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
    save(encoder, planted.path)

    record = probed(planted, shared_data / "cifar10", labels=500)

    assert record["verdict"] == "collapsed"


def test_supervised_learning_beats_the_untrained_network(tmp_path: Path, shared_data: Path) -> None:
    data = shared_data / "cifar10"
    run = selfsight.pretrain(str(data), "supervised", samples=60_000, out=str(tmp_path / "run"))
    record = probed(run, data, labels=5000)

    assert record["verdict"] == "learning"
    assert record["gain"] > 0.05


def test_the_medical_user_gets_a_verdict(tmp_path: Path, shared_data: Path) -> None:
    data = shared_data / "pneumoniamnist"
    run = selfsight.pretrain(str(data), "rotation", samples=3000, out=str(tmp_path / "run"))
    record = probed(run, data)

    assert run.encoder().recipe.channels == 1
    assert record["trained"] > record["chance"]
    assert record["verdict"] in ("learning", "no better than untrained")
