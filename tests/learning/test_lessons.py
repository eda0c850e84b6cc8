"""Lessons: short trainings on real pictures beat the same network untrained, for every task."""

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

import selfsight
from lessons import (
    ALIKE,
    LESSONS,
    MARGIN,
    SEEDS,
    gained,
    lesson_data,
    measured,
    rows_about,
    standard_error,
)
from selfsight.encoders import save
from selfsight.tasks.table import TASKS
from selfsight.training.run import Run

Taught = Callable[[str], Run]
Probed = Callable[..., dict[str, Any]]

learn = pytest.mark.learn


@pytest.mark.parametrize("task", LESSONS)
def test_every_lesson_is_as_long_as_the_rule_asks(task: str) -> None:
    rows = measured()
    about = rows_about(task, rows)

    assert [int(row["seed"]) for row in about] == list(SEEDS), "measure it: tests/lessons.py"
    assert min(float(row["low"]) for row in about) > 0
    assert fmean(float(row["value"]) for row in about) >= MARGIN * standard_error(rows)


@learn
@pytest.mark.parametrize("task", LESSONS)
def test_a_task_leaves_its_own_beginning_behind(
    taught: Taught, home: Path, shared_data: Path, task: str
) -> None:
    run = taught(task)

    assert gained(run, lesson_data(LESSONS[task].data, shared_data, home)).low > 0
    told = run.result("pretrain")
    assert told is not None
    assert told["blind"] is None or told["loss"] < told["blind"]


@learn
def test_tasks_that_share_an_encoder_leave_their_beginning_behind(
    home: Path, tmp_path: Path, shared_data: Path
) -> None:
    data = lesson_data("cifar10", shared_data, home)
    out = str(tmp_path / "run")
    run = selfsight.pretrain(str(data), ("jigsaw", "rotation"), samples=20_000, out=out, **ALIKE)

    assert gained(run, data).low > 0
    told = run.result("pretrain")
    assert told is not None
    assert all(one["loss"] < one["blind"] for one in told["tasks"].values())


@learn
@pytest.mark.parametrize("task", [name for name, row in TASKS.items() if row.modality == "words"])
def test_like_words_come_together(task: str, tmp_path: Path, shared_data: Path) -> None:
    """Vectors of seventeen books agree with people on more pairs than untrained ones."""
    books, lists = (shared_data / "text" / part for part in ("corpora/gutenberg", "wordsim"))
    samples, out = TASKS[task].lesson.samples, str(tmp_path / "run")
    run = selfsight.pretrain(str(books), task, samples=samples, threads=1, out=out)
    record = selfsight.probe(run, probe="words", test=str(lists))

    assert isinstance(record, dict)
    assert record["verdict"] == "learning"


@learn
def test_the_medical_user_gets_a_verdict(probed: Probed, tmp_path: Path, shared_data: Path) -> None:
    data, out = shared_data / "pneumoniamnist", str(tmp_path / "run")
    run = selfsight.pretrain(str(data), "rotation", samples=3000, out=out, **ALIKE)
    record = probed(run, quick=True)

    assert run.encoder().recipe.channels == 1
    assert record["trained"] > record["chance"]
    assert record["verdict"] in ("learning", "too close to tell", "no better than untrained")


@learn
def test_rotation_is_solved_above_a_guess_and_beats_pixels(taught: Taught, probed: Probed) -> None:
    run = taught("rotation")
    told, record = run.result("pretrain"), probed(run)

    assert told is not None
    assert told["verdict"] == "unknown"
    assert told["accuracy"] > 0.4
    assert record["verdict"] == "learning"
    assert record["trained"] > record["pixels"]


@learn
def test_a_dictionary_of_patches_is_far_above_pixels(
    probed: Probed, home: Path, tmp_path: Path, shared_data: Path
) -> None:
    data = lesson_data("cifar10", shared_data, home)
    run = selfsight.pretrain(str(data), "patch-dictionary", out=str(tmp_path / "run"))
    record = probed(run, quick=True)

    assert record["trained"] > record["pixels"] + 0.1


@learn
def test_a_constant_encoder_is_collapsed(taught: Taught, probed: Probed, tmp_path: Path) -> None:
    rotated = taught("rotation")
    planted = Run.create(tmp_path / "constant")
    planted.write_settings(rotated.settings)
    encoder = rotated.encoder()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
    save(encoder, planted.path)

    assert probed(planted, labels=500, quick=True)["verdict"] == "collapsed"
