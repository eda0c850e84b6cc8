"""Contrast beside lightly: pictures a second of whole trainings, in one run.

The same decoded pictures, the same timm network, the same batch, the same machine. The contestants:

    network alone        forward, backward and SGD of the network on views that are ready, in the
                         precision of ours; MoCo's keys go forward only
    lightly              as documented: f32, its transform of PIL pictures, its loader with two
                         workers (lightly_recipes.py says whence)
    lightly, our precision   the same under bf16 autocast, if that is what ours takes
    ours                 the steps of a run, in the precision and with the threads of its plan
    ours, f32            the same when f32 is asked for

They take turns, so that other work on the machine falls on all of them; a turn begins with steps
that do not count, in which the loader's workers start, and the medians of the turns are compared:
read the ratios. lightly's workers stop with its turn. On bf16 units a processor's gain over f32 is
the machine's and not ours; the row at our precision takes it out.

Wanted: at least 3 x lightly as documented with test_resnet, 1.5 x with resnet18_small.

Run: python benchmarks/peers.py DATA [--network NAME ...] [--method NAME ...] [--quick]
"""

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from selfsight import encoders
from selfsight.data.pictures import open_data, read
from selfsight.distributed.engine import resolve_device, threads
from selfsight.distributed.processes import ALONE
from selfsight.settings import Pretrain
from selfsight.system import machine
from selfsight.tasks.cards import parsed_settings
from selfsight.training.loop import Training
from selfsight.training.plan import Plan
from selfsight.training.prepare import prepared, source_of
from selfsight.training.run import Run

SIZE, BATCH, WORKERS = 32, 256, 2
LIMIT = 10_000  # pictures; more would not change what a step costs
WANTED = {"test_resnet": 3.0, "resnet18_small": 1.5}
METHODS = ("simclr", "moco-v2")


class Passes(NamedTuple):
    """Views of each picture that go through the network in a step.

    Attributes:
        trained: Forward and backward.
        forward: Forward only.
    """

    trained: int
    forward: int


PASSES = {"simclr": Passes(2, 0), "moco-v2": Passes(1, 1)}


class Length(NamedTuple):
    """How long is measured.

    Attributes:
        turns: Of each contestant.
        seconds: Of a turn, at least, the steps that count.
        least: Steps that count in a turn, at least.
        warm: Steps of a turn before those.
    """

    turns: int
    seconds: float
    least: int
    warm: int


WHOLE, QUICK = Length(3, 6.0, 2, 2), Length(1, 0.0, 1, 1)

Step = Callable[[], None]
Turn = Callable[[Length], float]  # -> pictures a second


def rate(step: Step, wait: Step, length: Length) -> float:
    """Time steps: -> pictures a second."""
    for _ in range(length.warm):
        step()
    wait()
    begun, count = time.perf_counter(), 0
    while count < length.least or time.perf_counter() - begun < length.seconds:
        step()
        count += 1
    wait()
    return count * BATCH / (time.perf_counter() - begun)


def ours(
    data: str, method: str, network: str, precision: str, folder: str, limit: int
) -> tuple[Turn, Plan]:
    """Prepare a run: -> its turn, and how it was planned."""
    settings = Pretrain(
        data=data,
        task=(method,),
        encoder=network,
        size=SIZE,
        batch=BATCH,
        limit=limit,
        precision=precision,  # pyright: ignore[reportArgumentType] -- one of two literals
        samples=10**9,  # so many that no turn comes to its end
    )
    source = source_of(open_data(data), settings.task, settings)
    chosen = parsed_settings(settings.task, ())
    begun = prepared(settings, chosen, source, resolve_device("auto"), ALONE)
    training = Training(
        begun.task, begun.batches, begun.plan, Run(folder), features_of=begun.features_of
    )
    begun.task.train()

    def turn(length: Length) -> float:
        with threads(begun.plan.threads):
            return rate(training._advance, training.engine.wait, length)

    return turn, begun.plan


def by_lightly(images: torch.Tensor, method: str, network: str, device: str, *, bf16: bool) -> Turn:
    """Prepare lightly's training: -> its turn."""
    import lightly_recipes as lightly

    encoder = encoders.build(network, size=SIZE, mean=lightly.MEAN, deviation=lightly.DEVIATION)
    model = lightly.made(method, encoder.model, encoder.dim)
    learner = lightly.Learner(model, batch=BATCH, device=device, bf16=bf16)
    loader = lightly.loader_of(images, batch=BATCH, workers=WORKERS)

    def turn(length: Length) -> float:
        batches = lightly.endless(loader, device)
        found = rate(lambda: learner.step(next(batches)), learner.wait, length)
        batches.close()  # its workers end with it
        return found

    return turn


def alone(method: str, network: str, plan: Plan) -> Turn:
    """Prepare the network's own work on ready views: -> its turn."""
    encoder = encoders.build(network, size=SIZE).to(plan.device).train()
    encoder.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] -- as documented
    optimizer = torch.optim.SGD(encoder.parameters(), 1e-3, momentum=0.9, fused=True)
    passes = PASSES[method]
    views = [
        torch.rand(count * BATCH, 3, SIZE, SIZE, device=plan.device).contiguous(
            memory_format=torch.channels_last
        )
        for count in passes
    ]

    def step() -> None:
        with torch.autocast(plan.device, torch.bfloat16, enabled=plan.precision == "bf16"):
            loss = encoder(views[0]).float().square().mean()
            if passes.forward:
                with torch.no_grad():
                    encoder(views[1])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def wait() -> None:
        if plan.device == "cuda":
            torch.cuda.synchronize()

    def turn(length: Length) -> float:
        with threads(plan.threads):
            return rate(step, wait, length)

    return turn


def race(data: str, images: torch.Tensor, method: str, network: str, length: Length) -> dict:
    """Let all contestants take turns on one method and network: -> the figures."""
    limit = len(images)
    device = resolve_device("auto")
    with tempfile.TemporaryDirectory() as folder:
        own, plan = ours(data, method, network, "auto", folder, limit)
        turns: dict[str, Turn] = {
            "network alone": alone(method, network, plan),
            "lightly": by_lightly(images, method, network, device, bf16=False),
            "ours": own,
        }
        if plan.precision == "bf16":
            turns["lightly, our precision"] = by_lightly(images, method, network, device, bf16=True)
            turns["ours, f32"], _ = ours(data, method, network, "f32", folder, limit)
        rates: dict[str, list[float]] = {name: [] for name in turns}
        for _ in range(length.turns):
            for name, turn in turns.items():
                rates[name].append(turn(length))
                machine.give_back_memory()
    median = {name: statistics.median(several) for name, several in rates.items()}
    same = median.get("lightly, our precision", median["lightly"])
    return {
        "method": method,
        "network": network,
        "batch": BATCH,
        "precision": plan.precision,
        "threads": plan.threads,
        "compiled": plan.compiled,
        "pictures_per_s": {name: round(value, 1) for name, value in median.items()},
        "spread": {n: [round(min(v), 1), round(max(v), 1)] for n, v in rates.items()},
        "ratio": round(median["ours"] / median["lightly"], 2),
        "ratio_at_our_precision": round(median["ours"] / same, 2),
        "ratio_at_f32": round(median.get("ours, f32", median["ours"]) / median["lightly"], 2),
        "share_of_network_alone": round(median["ours"] / median["network alone"], 3),
        "wanted": WANTED.get(network),
    }


def told(row: dict[str, Any]) -> str:
    """Write the figures of one race for people."""
    wanted = "" if row["wanted"] is None else f", wanted {row['wanted']:g}"
    lines = [
        f"{row['method']} with {row['network']}, batch {row['batch']}, ours in {row['precision']} "
        f"with {row['threads']} threads: {row['ratio']} x lightly as documented{wanted}; "
        f"{row['ratio_at_our_precision']} x at our precision, {row['ratio_at_f32']} x both in f32; "
        f"{row['share_of_network_alone']:.0%} of the network alone"
    ]
    for name, value in row["pictures_per_s"].items():
        low, high = row["spread"][name]
        lines.append(f"    {name:24s}{value:9.1f} pictures/s ({low} to {high})")
    return "\n".join(lines)


def main() -> None:
    """Print every race, and all of it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", help="CIFAR-10: a folder or file")
    parser.add_argument("--network", action="append", help="any timm network")
    parser.add_argument("--method", action="append", choices=METHODS)
    parser.add_argument("--limit", type=int, default=LIMIT, help="pictures")
    parser.add_argument("--quick", action="store_true", help="one turn of one step each")
    asked = parser.parse_args()
    import lightly_recipes  # noqa: F401 -- says at once how to install lightly

    warnings.simplefilter("ignore")  # the peers' remarks on their own future
    pictures = read(open_data(asked.data).train, side=SIZE, limit=asked.limit)
    rows: list[dict[str, Any]] = []
    for network in asked.network or WANTED:
        for method in asked.method or METHODS:
            length = QUICK if asked.quick else WHOLE
            rows.append(race(asked.data, pictures.tensor, method, network, length))
            print(told(rows[-1]), flush=True)
    described = machine.described(resolve_device("auto"))
    print(json.dumps({"benchmark": "peers", "machine": described, "rows": rows}))


if __name__ == "__main__":
    main()
