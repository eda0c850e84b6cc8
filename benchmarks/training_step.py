"""Training step: what a task's whole step costs beside its networks' own work, in one run.

The floor is the forward, backward and optimiser step of encoder and head, with the loss, on a batch
that is ready: hidden beforehand. A whole step adds fetching the stored pictures, hiding (cropping,
turning, cutting tiles, parting colours) and logging. Both alternate, so that other work on the
machine falls on both alike; the ratio is that of the medians. At most 1.10 is wanted.

Run: python benchmarks/training_step.py [--task NAME ...] [--size N ...] [--precision f32|bf16 ...]
"""

import argparse
import json
import statistics
import time
from typing import Any, cast

import torch
from torch import Tensor

from selfsight.data.batches import Order
from selfsight.data.pictures.batch import Images
from selfsight.data.pictures.collection import Pictures
from selfsight.distributed.engine import Engine, Precision, resolve_device
from selfsight.encoders import build
from selfsight.modalities.pictures import side_of_canvas
from selfsight.tasks.base import Facts, Needs, Score, Task
from selfsight.tasks.cards import settings_of
from selfsight.tasks.table import TASKS, load_task, make_task
from selfsight.training.optimizer import parameter_groups

BATCH, CLASSES = 64, 10
STORED = 2048  # pictures
REPEATS = {32: 30, 96: 8}


def stored(side: int) -> Pictures:
    """Make pictures of noise: a step's cost does not depend on what they show."""
    images = torch.randint(0, 256, (STORED, 3, side, side), dtype=torch.uint8)
    extent = torch.full((STORED, 2), side)
    titles = tuple(str(i) for i in range(STORED))
    classes = tuple(str(i) for i in range(CLASSES))
    labels = torch.arange(STORED) % CLASSES
    return Pictures(images, extent, labels, classes, titles, (), "noise", "noise")


class Ready(Task):
    """A task without its hiding: what is left when the batch is ready."""

    needs = Needs(batch=tuple)

    def __init__(self, task: Task) -> None:
        super().__init__(task.encoder)
        self.task = task

    def forward(self, batch: tuple[Tensor, Any]) -> Score:
        """Score a ready batch: pictures, and what was hidden of them."""
        pictures, answers = batch
        task = cast(Any, self.task)
        return task.score(task.predict(pictures), answers)


def made(name: str, size: int) -> Task:
    """Make a task as a run makes it."""
    derived = load_task(name).derive(Facts(STORED, CLASSES, 3, size, BATCH))
    return make_task(name, build("small", size=size), size=size, **derived)


def measured(name: str, size: int, device: str, precision: Precision) -> dict[str, object]:
    """Time whole steps and bare ones in turn: -> the figures of one task at one size."""
    task = made(name, size)
    pictures = stored(side_of_canvas(size, 10_000, task.needs_with(settings_of(name)).least_scale))
    order = Order(STORED, BATCH, 0)

    def batch(step: int) -> Any:
        epoch, rows = order.at(step)
        return task.needs.batch.from_rows(pictures, rows, seed=0, epoch=epoch, device=device)

    some = torch.arange(500)
    task.look_at(Images.from_rows(pictures, some, seed=0, epoch=0))
    engines: list[Engine] = []
    for module in (task, Ready(task)):
        engine = Engine(device, precision)
        groups = parameter_groups(task, 5e-4)
        engine.prepare(module, torch.optim.SGD(groups, lr=0.01, momentum=0.9, fused=True))
        engines.append(engine)
    with torch.no_grad():
        ready = cast(Any, task).hide(batch(0))
    times: dict[str, list[float]] = {"whole": [], "bare": [], "data": []}
    for step in range(REPEATS.get(size, 8)):
        begun = time.perf_counter()
        fetched = batch(step)
        times["data"].append(time.perf_counter() - begun)
        task.before_step(step, 100)
        advance(engines[0], fetched)
        task.after_step(step, 100)
        times["whole"].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        advance(engines[1], ready)
        times["bare"].append(time.perf_counter() - begun)
    median = {key: statistics.median(values[2:]) for key, values in times.items()}
    least = {key: min(values[2:]) for key, values in times.items()}
    return {
        "task": name,
        "size": size,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "whole_ms": round(1000 * median["whole"], 1),
        "bare_ms": round(1000 * median["bare"], 1),
        "ratio": round(median["whole"] / median["bare"], 3),
        "ratio_of_least": round(least["whole"] / least["bare"], 3),
        "waiting_for_data": round(median["data"] / median["whole"], 4),
    }


def advance(engine: Engine, batch: Any) -> None:
    """Take a step and wait until it is done."""
    engine.update(engine.score(batch).loss, clip=None)
    engine.wait()


def main() -> None:
    """Print a line a task, size and precision, and all of it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    trained = [name for name, row in TASKS.items() if row.way == "trained"]
    parser.add_argument("--task", action="append", choices=trained)
    parser.add_argument("--size", action="append", type=int)
    parser.add_argument("--precision", action="append", choices=["f32", "bf16"])
    asked = parser.parse_args()
    device = resolve_device("auto")
    rows = [
        measured(name, size, device, precision)
        for name in asked.task or trained
        for size in asked.size or REPEATS
        for precision in asked.precision or ("f32", "bf16")
        if size >= load_task(name).needs.least_side
    ]
    for row in rows:
        print(
            f"{row['task']:18} {row['size']:3} px {row['precision']:4}: whole {row['whole_ms']} ms,"
            f" networks alone {row['bare_ms']} ms, ratio {row['ratio']} (of the fastest "
            f"{row['ratio_of_least']})"
        )
    print(json.dumps({"benchmark": "training_step", "device": device, "rows": rows}))


if __name__ == "__main__":
    main()
