"""Encoders: which small network learns most from rotation in a given time, in one run.

Every candidate trains on the same steps of CIFAR-10 at 32 px in bf16, and is then probed by layer
with the linear probe, beside itself untrained. Read what a step takes beside the others':
seconds alone are those of a machine that may be busy.

Run: python benchmarks/encoders.py [STEPS] [NAME ...]   (SELFSIGHT_DATA names cifar10's folder)
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from selfsight.data.batches import Order
from selfsight.data.pictures import Pictures, open_data, read
from selfsight.data.pictures.batch import Images
from selfsight.distributed.engine import Engine, resolve_device
from selfsight.encoders import Encoder, build
from selfsight.probes.measure import Answers, measure
from selfsight.probes.untrained import calibrating, untrained_encoder
from selfsight.tasks.rotation import Rotation
from selfsight.training.optimizer import parameter_groups, rate_factor

SIZE, BATCH, LABELS, SEED = 32, 64, 5000, 0


class Candidate(NamedTuple):
    """A timm architecture with keyword arguments, and its optimiser."""

    name: str
    arguments: dict[str, Any]
    optimizer: str = "sgd"
    rate: float = 0.1


CANDIDATES = {
    "small": Candidate("small", {}),
    "small-256": Candidate("small", {"widths": (64, 128, 256)}),
    "small-96": Candidate("small", {"widths": (96, 128, 128)}),
    "resnet10": Candidate(
        "resnet18",
        {
            "layers": (1, 1, 1, 1),
            "channels": (64, 96, 160, 224),
            "stem_type": "deep",
            "stem_width": 16,
        },
    ),
    "nf-resnet": Candidate(
        "nf_resnet26",
        {
            "depths": (1, 1, 1),
            "channels": (128, 256, 512),
            "stem_type": "3x3",
            "stem_chs": 64,
            "bottle_ratio": 0.5,
        },
        rate=0.05,
    ),
    "test-resnet": Candidate("test_resnet", {}),
    "convnext": Candidate(
        "convnext_atto",
        {
            "patch_size": 2,
            "dims": (64, 128, 192, 320),
            "depths": (1, 1, 2, 1),
            "kernel_sizes": 3,
        },
        optimizer="adamw",
        rate=2e-3,
    ),
}


def trained(candidate: Candidate, pictures: Pictures, steps: int, device: str) -> tuple[Any, float]:
    """Train by rotation: -> encoder, median seconds a step."""
    torch.manual_seed(SEED)
    encoder = build(candidate.name, size=SIZE, arguments=candidate.arguments)
    task = Rotation(encoder, encoder.dim, size=SIZE)
    sgd = candidate.optimizer == "sgd"
    groups = parameter_groups(task, 5e-4 if sgd else 0.05)
    optimizer = (
        torch.optim.SGD(groups, lr=candidate.rate, momentum=0.9, nesterov=True)
        if sgd
        else torch.optim.AdamW(groups, lr=candidate.rate)
    )
    engine = Engine(device, "bf16")
    engine.prepare(task, optimizer)
    order = Order(len(pictures), BATCH, SEED)
    times: list[float] = []
    for step in range(steps):
        begun = time.perf_counter()
        epoch, rows = order.at(step)
        batch = Images.from_rows(pictures, rows, seed=SEED, epoch=epoch, device=device)
        assert isinstance(batch, Images)
        for group in optimizer.param_groups:
            group["lr"] = candidate.rate * rate_factor(step, steps, steps // 20, "cosine")
        engine.update(engine.score(batch).loss, clip=None if sgd else 1.0)
        times.append(time.perf_counter() - begun)
    return encoder, statistics.median(times)


def accuracy(answers: Answers, test: Pictures) -> float:
    """Give the accuracy of the layer that does best on held-out training pictures."""
    return float((answers.predictions[:, answers.best] == test.labels).double().mean())


def main() -> None:
    """Print a line a candidate, and all of it as JSON."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    names = sys.argv[2:] or list(CANDIDATES)
    device = resolve_device("auto")
    folder = Path(os.environ.get("SELFSIGHT_DATA", Path(__file__).parents[2] / "shared/data"))
    parts = open_data(folder / "cifar10")
    assert parts.test is not None
    train = read(parts.train, side=SIZE, limit=20_000)
    test = read(parts.test, side=SIZE, limit=5_000)

    def probed(encoder: Encoder) -> float:
        answers = measure(encoder, train, test, labels=LABELS, draws=1, device=device)
        return accuracy(answers, test)

    rows: list[dict[str, Any]] = []
    for name in names:
        encoder, seconds = trained(CANDIDATES[name], train, steps, device)
        fresh = untrained_encoder(encoder.recipe, SEED, calibrating(train), device=device)
        before, after = probed(fresh), probed(encoder)
        weights = sum(p.numel() for p in encoder.parameters())
        rows.append(
            {
                "name": name,
                "weights": weights,
                "strides": list(encoder.layer_strides.values()),
                "ms_a_step": round(1000 * seconds, 1),
                "untrained": round(before, 4),
                "trained": round(after, 4),
                "gain": round(after - before, 4),
            }
        )
        print(
            f"{name:12} {weights / 1e6:5.2f} M  {1000 * seconds:7.1f} ms a step  "
            f"{before:6.1%} -> {after:6.1%} in {steps} steps",
            flush=True,
        )
    print(json.dumps({"benchmark": "encoders", "steps": steps, "device": device, "rows": rows}))


if __name__ == "__main__":
    main()
