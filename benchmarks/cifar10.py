"""The long training on CIFAR-10: SimCLR or MoCo v2 for 200 epochs, and k-NN at the end.

ResNet-18 with the small stem, batch 512; then every test picture is answered by its 200 nearest of
all training pictures (weights exp(cosine / 0.1), pooled features, pictures as they are), which is
how lightly reports: 84.8 % in 87 minutes for SimCLR and 84.7 % in 112 for MoCo, on one A6000
(`cifar10_benchmark.py` in https://github.com/lightly-ai/lightly, results of 27.03.2023). Beside the
accuracy stand the seconds of training, the arithmetic that the network alone takes a second, and
its share of the device's peak; augmentation, head, loss and optimiser are not counted as work.

    --minutes-a-slice M  stop politely after M minutes of this call, everything saved; exit 3. The
                         same call again goes on where it stopped
    --peer EPOCHS        train by lightly instead for some epochs on the same device, as documented
                         (TF32 on a GPU, eight workers, MoCo symmetric unless --one-way): seconds
                         an epoch, beside ours where --out holds them

Without a GPU it runs small: --epochs 1 --limit 2000 --encoder test_resnet --batch 64.

Run: python benchmarks/cifar10.py DATA --method simclr|moco-v2 [--out DIR] [...]
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any, cast

import torch
from torch.utils.flop_counter import FlopCounterMode

import selfsight
from peers import METHODS, PASSES
from selfsight import encoders
from selfsight.data.pictures import Pictures, open_data, read
from selfsight.distributed.engine import resolve_device
from selfsight.encoders import Encoder
from selfsight.errors import Stopped
from selfsight.modalities.pictures import of_pictures
from selfsight.probes.encoding import encoded
from selfsight.probes.features import Labelled
from selfsight.probes.knn import vote
from selfsight.system import machine
from selfsight.training.run import SETTINGS, Run

SIZE = 32
NEIGHBOURS, TEMPERATURE = 200, 0.1
# bf16 without sparsity, in TFLOP/s, by what the device's name holds; the makers' data sheets
PEAKS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "A6000": 154.8}
WORKERS = 8  # of lightly's loader, as in its benchmark
AGAIN = 5.0  # seconds after which a stop is asked again that nobody could heed
GOES_ON = 3  # exit status of a slice that is not the last


class Slice:
    """Asks this process to stop after a time, and again while nobody heeds.

    A training heeds SIGTERM: it finishes its step and saves. Before and after it, the signal only
    sets the clock anew.

    Args:
        seconds: From now; None for never.
    """

    def __init__(self, seconds: float | None) -> None:
        self._timer: threading.Timer | None = None
        self._old: Any = None
        self._seconds = seconds

    def __enter__(self) -> "Slice":
        if self._seconds is not None:
            self._old = signal.signal(signal.SIGTERM, lambda number, frame: self._after(AGAIN))
            self._after(self._seconds)
        return self

    def __exit__(self, *error: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            signal.signal(signal.SIGTERM, self._old)

    def _after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()  # else the first clock rings when the slice is long over
        self._timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
        self._timer.daemon = True
        self._timer.start()


def operations(encoder: Encoder, method: str, *, symmetric: bool = False) -> float:
    """Count what the network does for one picture in a step of a method, in FLOP.

    A multiplication and an addition are two. Counted on two pictures: batch statistics need them.
    Symmetric, every view is query and key.
    """
    pictures = torch.rand(2, 3, SIZE, SIZE)
    encoder = encoder.cpu().train()
    with FlopCounterMode(display=False) as both:
        encoder(pictures).sum().backward()
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        encoder(pictures)
    passes = PASSES[method]
    whole = passes.trained * both.get_total_flops() + passes.forward * forward.get_total_flops()
    return (2 if symmetric else 1) * whole / len(pictures)


def peak() -> float | None:
    """Tell the device's peak in TFLOP/s, if it is known."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return next((value for part, value in PEAKS.items() if part in name), None)


def accuracy_of_neighbours(encoder: Encoder, bank: Pictures, test: Pictures, device: str) -> float:
    """Answer the test pictures by their neighbours among the bank's: -> accuracy in [0, 1]."""

    def known(pictures: Pictures) -> Labelled:
        rows = torch.arange(len(pictures))
        parts = list(encoded(encoder, pictures.images, rows, size=SIZE, device=device))
        x = torch.nn.functional.normalize(torch.cat(parts), dim=1)
        return Labelled(x.to(device), cast(torch.Tensor, pictures.labels).to(device))

    kept, asked = known(bank), known(test)
    k = min(NEIGHBOURS, len(bank))
    found = vote(kept, asked.x, classes=len(bank.classes), k=k, temperature=TEMPERATURE)
    return float((found == asked.y).float().mean())


def encoder_of(recipe: dict[str, Any]) -> str:
    """Give the name by which a kept network was asked for."""
    name: str = recipe["name"]
    return {own: short for short, own in encoders.OWN.items()}.get(name, name)


def epochs_of(plan: dict[str, Any]) -> int:
    """Give the epochs that a kept training was planned for."""
    return plan["steps"] // (plan["samples"] // plan["batch"])


def others_than_asked(asked: argparse.Namespace, plan: dict[str, Any]) -> list[str]:
    """List in which words a kept run is another than the one that is asked for."""
    pairs = {
        "encoder": (asked.encoder, encoder_of(plan["encoder"])),
        "epochs": (asked.epochs, epochs_of(plan)),
        "batch": (min(asked.batch, plan["samples"]), plan["batch"]),
        "limit": (asked.limit, plan["limit"]),
        "seed": (asked.seed, plan["seed"]),
    }
    return [f"--{k} {mine} but it has {kept}" for k, (mine, kept) in pairs.items() if mine != kept]


def trained(asked: argparse.Namespace, where: Path) -> Run:
    """Train, or go on with the same."""
    if (where / SETTINGS).exists():
        others = others_than_asked(asked, Run(where).settings["plan"])
        if others:
            raise SystemExit(
                f"{where} holds another run: asked were {', '.join(others)}; ask for what it has, "
                "or give another --out"
            )
        return selfsight.pretrain(resume=str(where))
    return selfsight.pretrain(
        asked.data,
        asked.method,
        encoder=asked.encoder,
        size=SIZE,
        batch=asked.batch,
        epochs=asked.epochs,
        limit=asked.limit,
        seed=asked.seed,
        set=tuple(asked.set or ()),
        out=str(where),
        **({} if asked.rate is None else {"rate": asked.rate}),
    )


def measured(asked: argparse.Namespace, run: Run) -> dict[str, Any]:
    """Say what a finished run took and learned."""
    plan, pretext = run.settings["plan"], cast(dict[str, Any], run.result("pretrain"))
    device = resolve_device("auto")
    encoder = of_pictures(run.encoder())
    parts = open_data(asked.data)
    bank = read(parts.train, side=SIZE, limit=plan["limit"])
    if parts.test is None:
        raise SystemExit(f"{asked.data} has no test part; give the folder that holds both")
    test = read(parts.test, side=SIZE)
    accuracy = accuracy_of_neighbours(encoder, bank, test, device)
    chosen = plan["task_settings"][asked.method]
    symmetric = bool(chosen.get("symmetric"))
    each = operations(encoder, asked.method, symmetric=symmetric)
    seconds, samples = pretext["seconds"], pretext["samples"]
    rate = each * samples / seconds / 1e12
    most = peak()
    return {
        "benchmark": "cifar10",
        "method": asked.method,
        "encoder": encoder_of(plan["encoder"]),
        "epochs": epochs_of(plan),
        "limit": plan["limit"],
        "batch": plan["batch"],
        "precision": plan["precision"],
        "compiled": plan["compiled"],
        "rate": plan["rate"],
        "settings": chosen,
        "symmetric": symmetric,
        "knn": round(accuracy, 4),
        "neighbours": NEIGHBOURS,
        "seconds": seconds,
        "seconds_an_epoch": round(seconds * plan["samples"] / samples, 2),
        "waiting": pretext["waiting"],
        "pictures_per_s": round(samples / seconds, 1),
        "pflop": round(each * samples / 1e15, 3),
        "tflop_per_s": round(rate, 3),
        "share_of_peak": None if most is None else round(rate / most, 3),
        "verdict": pretext["verdict"],
        "machine": machine.described(device),
    }


def by_lightly(asked: argparse.Namespace) -> dict[str, Any]:
    """Train by lightly as documented for some epochs: -> seconds of each."""
    import lightly_recipes as lightly

    device = resolve_device("auto")
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
    pictures = read(open_data(asked.data).train, side=SIZE, limit=asked.limit)
    encoder = encoders.build(asked.encoder, size=SIZE)
    symmetric = asked.method == "moco-v2" and not asked.one_way
    model = lightly.made(asked.method, encoder.model, encoder.dim, symmetric=symmetric)
    learner = lightly.Learner(model, batch=asked.batch, device=device)
    workers = min(WORKERS, machine.processors())
    loader = lightly.loader_of(pictures.tensor, batch=asked.batch, workers=workers)
    seconds: list[float] = []
    for epoch in range(asked.peer):
        begun = time.perf_counter()
        for (first, second), _, _ in loader:
            learner.step((first.to(device), second.to(device)), done=epoch / asked.peer)
        learner.wait()
        seconds.append(round(time.perf_counter() - begun, 2))
        print(f"lightly, epoch {epoch + 1}: {seconds[-1]} s", flush=True)
    return {
        "benchmark": "cifar10",
        "peer": "lightly",
        "method": asked.method,
        "symmetric": symmetric,
        "encoder": asked.encoder,
        "batch": asked.batch,
        "workers": workers,
        "seconds": seconds,
        "seconds_an_epoch": min(seconds),  # the first also warms up
        "machine": machine.described(device),
    }


def beside(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Say how our epoch stands beside lightly's, and where they are not the same work."""
    for key in ("encoder", "batch"):
        if ours[key] != theirs[key]:
            return f"no ratio: {key} is {ours[key]} of ours and {theirs[key]} of lightly"
    mine, other = ours["seconds_an_epoch"], theirs["seconds_an_epoch"]
    told = (
        f"{ours['method']}: {other / mine:.1f} x lightly (wanted 15), {mine} and {other} s an epoch"
    )
    if ours["symmetric"] == theirs["symmetric"]:
        return told
    return f"{told}; lightly's step has twice the passes, for it is symmetric and ours is not"


def kept(record: dict[str, Any], place: Path) -> None:
    """Write a record down and print it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record))


def main() -> None:
    """Train, ask, and say what it took; or only the peer."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", help="CIFAR-10: a folder with a training and a test part")
    parser.add_argument("--method", choices=METHODS, default="simclr")
    parser.add_argument("--out", type=Path, default=Path("runs/cifar10"))
    parser.add_argument("--encoder", default="resnet18_small")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--limit", type=int, help="pictures to learn from, and to search among")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, help="peak learning rate; by default the plan's")
    parser.add_argument("--set", action="append", help="a setting of the task: TASK.SETTING=VALUE")
    parser.add_argument("--minutes-a-slice", type=float)
    parser.add_argument("--peer", type=int, metavar="EPOCHS", help="train by lightly instead")
    parser.add_argument("--one-way", action="store_true", help="the peer's MoCo not symmetric")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # lightly's remarks on its own future
    own, peer = (asked.out / f"{name}{asked.method}.json" for name in ("", "lightly-"))
    if asked.peer is not None:
        kept(by_lightly(asked), peer)
    else:
        seconds = None if asked.minutes_a_slice is None else 60 * asked.minutes_a_slice
        try:
            with Slice(seconds):
                run = trained(asked, asked.out / asked.method)
        except Stopped as stopped:
            print(f"{stopped}\nor by the same command as before", file=sys.stderr)
            raise SystemExit(GOES_ON) from stopped
        kept(measured(asked, run), own)
    if own.exists() and peer.exists():
        ours, theirs = (json.loads(place.read_text()) for place in (own, peer))
        print(beside(ours, theirs))


if __name__ == "__main__":
    main()
