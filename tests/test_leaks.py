"""Leaks: labels reach neither pretraining nor a probe's answers; where they do, it is found."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import selfsight
from making import PICTURE_TASKS, photographs
from selfsight.data.pictures import Pictures
from selfsight.data.pictures.collection import Taken
from selfsight.probes import by_layer
from selfsight.tasks.table import TASKS
from selfsight.training.run import Run

pytestmark = pytest.mark.slow  # whole trainings and probes

UNLABELLED = [n for n in PICTURE_TASKS if TASKS[n].way == "trained" and TASKS[n].pretext]
SETTINGS = {"encoder": "test_resnet", "batch": 8, "precision": "f32"}
PICTURES, TESTED = 300, 300
ERRORS = 4.0  # standard errors that random answers stay within


def labelled(place: Path, *, seed: int, count: int) -> Path:
    """Write tiles of a photograph with labels drawn at random, another seed other labels."""
    tiles = photographs("relative-position", count // 2)
    images = torch.cat([tiles, tiles.flip(3)]).permute(0, 2, 3, 1).numpy()[:count]
    labels = np.random.default_rng(seed).integers(0, 2, len(images))
    np.savez(place, images=images, labels=labels)
    return place


def check_blind_to_labels(home: Path) -> None:
    """Check that other labels change no bit of what all tasks learn together, in turns."""
    weights: list[dict[str, torch.Tensor]] = []
    for seed in (0, 1):
        data = labelled(home / f"labels{seed}.npz", seed=seed, count=40)
        given = {**SETTINGS, "samples": 8 * 2 * len(UNLABELLED), "size": 48}
        run = selfsight.pretrain(str(data), UNLABELLED, out=str(home / f"run{seed}"), **given)
        weights.append(load_file(run.path / "encoder.safetensors"))

    assert all(value.equal(weights[1][key]) for key, value in weights[0].items())


def test_other_labels_change_no_bit_of_pretraining(tmp_path: Path) -> None:
    check_blind_to_labels(tmp_path)


def test_labels_that_leak_into_pictures_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = Pictures.taken

    def stamped(pictures: Pictures, rows: torch.Tensor) -> Taken:
        taken = take(pictures, rows)
        assert pictures.labels is not None
        images = taken.images.clone()
        images[:, :, 8:16, 8:16] = 200 * pictures.labels[rows].to(torch.uint8)[:, None, None, None]
        return taken._replace(images=images)

    monkeypatch.setattr(Pictures, "taken", stamped)

    with pytest.raises(AssertionError):
        check_blind_to_labels(tmp_path)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A run, and pictures of noise with labels that they do not follow."""
    home = tmp_path_factory.mktemp("noise")
    draws = np.random.default_rng(0)
    arrays = {
        f"{part}_{key}": value
        for part, count in (("train", PICTURES), ("test", TESTED))
        for key, value in (
            ("images", draws.integers(0, 256, (count, 16, 16), dtype=np.uint8)),
            ("labels", draws.integers(0, 2, count)),
        )
    }
    np.savez(home / "noise.npz", **arrays)  # pyright: ignore[reportArgumentType] -- its stub
    out = str(home / "run")
    run = selfsight.pretrain(str(home / "noise.npz"), "rotation", samples=64, out=out, **SETTINGS)
    return run, home / "noise.npz"


def check_at_chance(noise: tuple[Run, Path]) -> None:
    """Check that a probe answers labels at random no better than a guess does."""
    record = selfsight.probe(noise[0], str(noise[1]), quick=True)

    assert isinstance(record, dict)
    assert record["verdict"] != "learning"
    assert record["trained"] < 0.5 + ERRORS * math.sqrt(0.25 / TESTED)


def test_labels_at_random_stay_at_chance(
    noise: tuple[Run, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))

    check_at_chance(noise)


def test_a_probe_that_is_fitted_on_test_pictures_is_found(
    noise: tuple[Run, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))
    read = by_layer._read
    monkeypatch.setattr(by_layer, "_read", lambda *asked: (read(*asked)[1],) * 2)

    with pytest.raises(AssertionError):
        check_at_chance(noise)
