"""Lessons: how long a task must train until it has surely left its own beginning behind.

A lesson asks the trained network and the same network as it began, picture by picture: the gain is
how many more of the test pictures' classes a linear probe reads off the one than off the other, and
its `low` lies two standard errors of the pictures below it. A network that learned nothing keeps
its beginning's answers, so that this tells more from one training than the accuracies of other
untrained networks would. A verdict compares with those; some lessons ask for it too.

A task's row in the table of tasks says how long it trains, by a rule: over `SEEDS`, the mean gain
lies at least `MARGIN` of its standard errors above nothing, and every seed's `low` above nothing.
The spread from seed to seed is taken over all tasks together, since three runs of one tell little
of it. `tests/learning/measured.csv` keeps what was measured; a test holds that the lengths follow
from it. In the suite each lesson then runs once, with the first seed, and asks for its `low`.

Run as a program this file measures: a lesson a seed is a row, kept as soon as it is there, and what
has its row is not measured again.

    python tests/lessons.py --work FOLDER [--task NAME ...] [--seed N ...]

Several may measure at once with the same FOLDER, each other tasks or seeds.
"""

import argparse
import csv
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch

import selfsight
from selfsight.data.pictures import open_data, read
from selfsight.data.pictures.source import PictureSource
from selfsight.probes.measure import measure
from selfsight.probes.network import picture_network
from selfsight.probes.sampling import choose_labelled
from selfsight.probes.untrained import calibrating, kept_answers, untrained_encoder
from selfsight.system.locks import alone
from selfsight.tasks.table import TASKS, Lesson
from selfsight.training.run import Run

SEEDS = (0, 1, 2)
MARGIN = 3.0  # standard errors of a mean over seeds
BELOW = 2.0  # standard errors of the test pictures
LEARNED_FROM, TESTED_ON = 10_000, 5_000  # pictures of CIFAR-10
MEASURED = Path(__file__).parent / "learning" / "measured.csv"
# Alike on every processor, as far as arithmetic can be.
ALIKE: dict[str, Any] = {"precision": "f32", "threads": 1}


# A task that is fitted has no beginning to leave behind; it is held beside pixels.
LESSONS: dict[str, Lesson] = {
    name: row.lesson
    for name, row in TASKS.items()
    if row.way == "trained" and row.modality == "pictures"
}


def lesson_data(name: str, shared: Path, home: Path) -> Path:
    """Give a lesson's pictures: of CIFAR-10 a part, decoded once and kept for all that ask.

    Args:
        name: Of the data, as a lesson names it.
        shared: The folder of real data.
        home: Where what is decoded is kept; who else asks meanwhile waits.
    """
    if name != "cifar10":
        return shared / name
    place = home / "cifar10.npz"
    home.mkdir(parents=True, exist_ok=True)
    with alone(home / "cifar10.lock"):
        if not place.exists():
            parts = open_data(str(shared / name))
            assert parts.test is not None  # the data set has one
            arrays = {
                f"{part}_{key}": value
                for part, source, count in (
                    ("train", parts.train, LEARNED_FROM),
                    ("test", parts.test, TESTED_ON),
                )
                for key, value in _some_of(source, count).items()
            }
            beside = place.with_suffix(".part.npz")
            np.savez(beside, **arrays)  # pyright: ignore[reportArgumentType] -- its stub knows one
            beside.replace(place)
    return place


def _some_of(source: PictureSource, count: int) -> dict[str, np.ndarray]:
    """Decode so many pictures, of every class alike: -> images (N, H, W, C), labels (N,)."""
    assert source.labels is not None
    rows = choose_labelled(source.labels, count, seed=0, draw=0)[0].sort().values
    images = [source.decode(int(row)).permute(1, 2, 0).numpy() for row in rows]
    return {"images": np.stack(images), "labels": source.labels[rows].numpy()}


def trained(task: str, lesson: Lesson, data: Path, out: Path, *, seed: int = SEEDS[0]) -> Run:
    """Train a task as its lesson says, or take up the run that is there."""
    if out.exists():
        return selfsight.pretrain(resume=str(out))
    given = {**ALIKE, "samples": lesson.samples, "seed": seed, **lesson.settings}
    return selfsight.pretrain(str(data), task, out=str(out), **given)


def row_of(task: str, lesson: Lesson, seed: int) -> dict[str, str]:
    """Say what a row of the measured table is about, as the table writes it."""
    about = {"task": task, "data": lesson.data, "samples": lesson.samples}
    settings = " ".join(f"{name}={value}" for name, value in lesson.settings.items())
    return {key: str(value) for key, value in {**about, "settings": settings, "seed": seed}.items()}


def measured() -> list[dict[str, str]]:
    """Read the measured table."""
    if not MEASURED.exists():
        return []
    with MEASURED.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def rows_about(task: str, rows: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Find a task's rows, one a seed, measured as its lesson is now."""
    wanted = [row_of(task, LESSONS[task], seed) for seed in SEEDS]
    return [row for about in wanted for row in rows if about.items() <= row.items()]


def standard_error(rows: Sequence[Mapping[str, str]]) -> float:
    """Estimate how far the mean gain over the seeds falls from the truth, from all tasks."""
    squares, freedom = 0.0, 0
    for task in LESSONS:
        found = [float(row["value"]) for row in rows_about(task, rows)]
        if found:
            squares += sum((gain - fmean(found)) ** 2 for gain in found)
            freedom += len(found) - 1
    return math.sqrt(squares / freedom / len(SEEDS))


class Gain(NamedTuple):
    """What a run has over its own beginning, in shares of the test pictures.

    Attributes:
        trained: Read off the trained network, at its own best layer.
        began: Read off the same network as it began.
        value: The difference.
        low: `BELOW` standard errors of the pictures under it.
    """

    trained: float
    began: float
    value: float
    low: float


def gained(run: Run, data: Path) -> Gain:
    """Probe a run and the network it began as on the labelled pictures of its lesson."""
    network, parts = picture_network(str(run.path), device="cpu"), open_data(str(data))
    recipe = network.encoder.recipe
    assert parts.test is not None  # every lesson's data has a test part
    train, test = (
        read(part, side=network.size, fit="square", channels=recipe.channels)
        for part in (parts.train, parts.test)
    )
    assert test.labels is not None
    trained = measure(network.encoder, train, test, draws=1)
    began = kept_answers(  # tasks that are fed alike share it
        {"lesson": recipe.to_json(), "size": network.size, "initial": network.seed},
        train,
        test,
        lambda: measure(
            untrained_encoder(recipe, network.seed, calibrating(train)), train, test, draws=1
        ),
    )
    before, after = ((answers.own[0] == test.labels).double() for answers in (began, trained))
    differences = after - before
    value, error = float(differences.mean()), float(differences.std()) / math.sqrt(len(test))
    return Gain(float(after.mean()), float(before.mean()), value, value - BELOW * error)


def _measured_row(task: str, seed: int, shared: Path, work: Path) -> dict[str, str]:
    lesson, began = LESSONS[task], time.process_time()
    data = lesson_data(lesson.data, shared, work)
    named = "-".join(row_of(task, lesson, seed).values())  # another lesson, another run
    run = trained(task, lesson, data, work / named, seed=seed)
    taught = time.process_time()
    gain, told = gained(run, data), run.result("pretrain") or {}
    numbers = {key: round(value, 4) for key, value in gain._asdict().items()}
    numbers |= {
        "loss": told["loss"],
        "blind": told["blind"],
        "training_seconds": round(taught - began, 1),
        "seconds": round(time.process_time() - began, 1),
        "processor": run.settings["machine"]["processor"],
        "torch": run.settings["versions"]["torch"],
    }
    return row_of(task, lesson, seed) | {key: str(value) for key, value in numbers.items()}


def main() -> None:
    """Measure the lessons that have no row yet, seed by seed, so that all tasks come early."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--task", action="append", choices=LESSONS, help="only this one, or these")
    parser.add_argument("--seed", action="append", type=int, choices=SEEDS, help="only this one")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs and baselines")
    asked = parser.parse_args()
    work = asked.work.resolve()
    os.environ.setdefault("SELFSIGHT_CACHE", str(work / "cache"))
    torch.set_num_threads(1)
    shared = Path(os.environ.get("SELFSIGHT_DATA", Path(__file__).parents[2] / "shared" / "data"))
    for seed in asked.seed or SEEDS:
        for task in asked.task or LESSONS:
            rows = measured()
            if any(row_of(task, LESSONS[task], seed).items() <= row.items() for row in rows):
                continue
            row = _measured_row(task, seed, shared, work)
            print(row, flush=True)
            with alone(work / "measured.lock"):
                _keep(row)


def _keep(row: dict[str, str]) -> None:
    """Add a row to the measured table, in the place of one about the same."""
    places = list(LESSONS)
    by_place = {(places.index(one["task"]), one["seed"]): one for one in [*measured(), row]}
    rows = [by_place[place] for place in sorted(by_place)]
    with MEASURED.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
