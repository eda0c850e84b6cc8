"""Training step: what rotation's whole step costs beside its networks' own work, in one run.

The floor is the encoder's and head's forward, backward and optimiser step on a batch that is ready:
cropped, turned and scaled beforehand. A whole step adds fetching the stored pictures, cropping,
turning and logging. Both alternate, so that other work on the machine falls on both alike; the
ratio is that of the medians. At most 1.10 is wanted.

Run: python benchmarks/training_step.py
"""

import json
import statistics
import time

import torch
from torch import Tensor

from selfsight.batch import Images
from selfsight.data import Order, batch_at
from selfsight.data.pictures import Pictures
from selfsight.encoders import build
from selfsight.engine import Engine, Precision, resolve_device
from selfsight.plan import parameter_groups, side_of_canvas
from selfsight.score import Score
from selfsight.tasks.rotation import Rotation

BATCH = 64
STORED = 2048  # pictures
REPEATS = {32: 30, 96: 8}


def stored(side: int) -> Pictures:
    """Make pictures of noise: a step's cost does not depend on what they show."""
    images = torch.randint(0, 256, (STORED, 3, side, side), dtype=torch.uint8)
    extent = torch.full((STORED, 2), side)
    titles = tuple(str(i) for i in range(STORED))
    return Pictures(images, extent, None, (), titles, (), "noise", "noise")


class Ready(torch.nn.Module):
    """Rotation without its hiding: what is left when the batch is ready."""

    def __init__(self, task: Rotation) -> None:
        super().__init__()
        self.task = task

    def forward(self, batch: tuple[Tensor, Tensor]) -> Score:
        """Score a ready batch: pictures (4B, C, S, S) and turns (4B,)."""
        turned, turns = batch
        return self.task.score(self.task.predict(turned), turns)


def measured(size: int, device: str, precision: Precision) -> dict[str, object]:
    """Time whole steps and bare ones in turn: -> the figures of one size."""
    encoder = build("small", size=size)
    task = Rotation(encoder, encoder.dim, size=size)
    pictures = stored(side_of_canvas(size, 10_000, task.least_scale))
    order = Order(STORED, BATCH, 0)
    engines = []
    for module in (task, Ready(task)):
        engine = Engine(device, precision)
        groups = parameter_groups(task, 5e-4)
        engine.prepare(module, torch.optim.SGD(groups, lr=0.01, momentum=0.9, fused=True))
        engines.append(engine)

    def batch(step: int):
        epoch, rows = order.at(step)
        return batch_at(pictures, rows, seed=0, epoch=epoch, labels=False, device=device)

    with torch.no_grad():
        ready = batch(0)
        assert isinstance(ready, Images)  # no labels were asked for
        turned, turns = task.hide(ready)
    times: dict[str, list[float]] = {"whole": [], "bare": [], "data": []}
    for step in range(REPEATS[size]):
        begun = time.perf_counter()
        fetched = batch(step)
        times["data"].append(time.perf_counter() - begun)
        score = engines[0].score(fetched)
        engines[0].update(score.loss, clip=None)
        engines[0].wait()
        times["whole"].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        score = engines[1].score((turned, turns))
        engines[1].update(score.loss, clip=None)
        engines[1].wait()
        times["bare"].append(time.perf_counter() - begun)
    median = {name: statistics.median(values[2:]) for name, values in times.items()}
    least = {name: min(values[2:]) for name, values in times.items()}
    return {
        "size": size,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "whole_ms": round(1000 * median["whole"], 1),
        "bare_ms": round(1000 * median["bare"], 1),
        "ratio": round(median["whole"] / median["bare"], 3),
        "ratio_of_least": round(least["whole"] / least["bare"], 3),
        "waiting_for_data": round(median["data"] / median["whole"], 4),
    }


def main() -> None:
    """Print a line a size and precision, and all of it as JSON."""
    device = resolve_device("auto")
    precisions: tuple[Precision, ...] = ("f32", "bf16")
    rows = [measured(size, device, p) for size in REPEATS for p in precisions]
    for row in rows:
        print(
            f"{row['size']:3} px {row['precision']}: whole {row['whole_ms']} ms, networks alone "
            f"{row['bare_ms']} ms, ratio {row['ratio']} (of the fastest {row['ratio_of_least']})"
        )
    print(json.dumps({"benchmark": "training_step", "device": device, "rows": rows}))


if __name__ == "__main__":
    main()
