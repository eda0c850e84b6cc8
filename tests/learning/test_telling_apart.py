"""Telling pictures apart: short trainings on real pictures beat the same network untrained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import selfsight

pytestmark = pytest.mark.learn

Probed = Callable[..., dict[str, Any]]


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
    probed: Probed, task: str, samples: int, limit: int | None, tmp_path: Path, shared_data: Path
) -> None:
    data, out = shared_data / "cifar10", str(tmp_path / "run")
    run = selfsight.pretrain(str(data), task, samples=samples, limit=limit, out=out)
    record = probed(run, data, labels=5000)

    assert record["verdict"] == "learning"
    told = run.result("pretrain")
    assert told is not None
    assert told["loss"] < told["blind"]


def test_a_dictionary_of_patches_beats_random_patches(
    probed: Probed, tmp_path: Path, shared_data: Path
) -> None:
    data = shared_data / "cifar10"
    run = selfsight.pretrain(str(data), "patch-dictionary", out=str(tmp_path / "run"))
    record = probed(run, data, labels=5000)

    assert record["verdict"] == "learning"
    assert record["trained"] > record["pixels"] + 0.15
