"""Every method so far, in the same short time on the same pictures: one command makes the table.

Each method of `selfsight.tasks.TASKS` learns for --minutes with the command's own defaults, or, if
it is fitted, for as long as that takes. Then every layer is asked by the linear probe and by k-NN,
beside the same network untrained, the pixels, the patch dictionary and rotation. `supervised`
learns from all labels: it is there to compare with, no competitor. `lightly-simclr` is SimCLR as
lightly documents it, with its own loader, for the same time on the same encoder, asked by the same
probes (lightly_recipes.py says whence it comes).

Runs are kept under --out, one record each under --records, with the table; what is done is not done
again and what was interrupted goes on, so the table can be made in slices.

Run: python benchmarks/methods.py DATA [--minutes M] [--only NAME ...] [--out DIR] [--records DIR]
"""

import argparse
import json
import warnings
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, cast

import torch

import selfsight
from selfsight import encoders
from selfsight.data.pictures import open_data, read
from selfsight.distributed.engine import resolve_device
from selfsight.modalities.pictures import PicturePlan
from selfsight.tasks.table import TASKS
from selfsight.training.plan import Plan
from selfsight.training.run import SETTINGS, Run

SEEDS = {"simclr": 3, "moco-v2": 3, "deepcluster": 3}  # of the others one
PEER = "lightly-simclr"
SIZE, WORKERS = 32, 2
RECORDS = Path(__file__).parents[1] / "docs" / "results" / "methods"
TABLE = "README.md"
OF_PRETEXT = ("steps", "samples", "seconds", "loss", "blind", "accuracy", "verdict")
OF_PROBE = (
    "labels",
    "test",
    "draws",
    "chance",
    "best_layer",
    "trained",
    "low",
    "high",
    "untrained",
    "gain",
    "gain_low",
    "gain_high",
    "pixels",
    "patch_dictionary",
    "layers",
    "verdict",
    "reasons",
    "seconds",
    "machine",
)
ASKED: dict[str, Any] = {"limit": None, "labels": 10_000, "quick": True}  # of older records
OF_PLAN = ("batch", "optimizer", "rate", "decay", "precision", "threads", "task_settings")

Record = dict[str, Any]


class Trial(NamedTuple):
    """A training to do and to ask.

    Attributes:
        method: A task, or `PEER`.
        minutes: It may take.
        seed: Of everything random.
    """

    method: str
    minutes: float
    seed: int

    @property
    def name(self) -> str:
        """Name of its directory and its record."""
        return f"{self.method}-{self.minutes:g}min-{self.seed}"


def trials(minutes: float, only: list[str] | None) -> list[Trial]:
    """List what the table is made of."""
    methods = [name for name in (*TASKS, PEER) if only is None or name in only]
    return [Trial(m, minutes, seed) for m in methods for seed in range(SEEDS.get(m, 1))]


def learned(trial: Trial, data: str, where: Path, limit: int | None) -> Record:
    """Train by selfsight, or go on: -> what is kept of the training."""
    if (where / SETTINGS).exists():
        run = selfsight.pretrain(resume=str(where))
    else:
        options: Record = {"seed": trial.seed, "limit": limit, "out": str(where)}
        if TASKS[trial.method].way == "trained":
            options["minutes"] = trial.minutes
        run = selfsight.pretrain(data, trial.method, **options)
    pretext = cast(Record, run.result("pretrain"))
    plan = run.settings["plan"]
    return {key: pretext[key] for key in OF_PRETEXT} | {"plan": {key: plan[key] for key in OF_PLAN}}


def learned_by_lightly(trial: Trial, data: str, where: Path, limit: int | None) -> Record:
    """Train by lightly, and keep the encoder as a run does: -> what is kept of the training."""
    import lightly_recipes as lightly

    pictures = read(open_data(data).train, side=SIZE, limit=limit)
    device = resolve_device("auto")
    batch = min(lightly.BATCH, len(pictures))
    with torch.random.fork_rng():
        torch.manual_seed(trial.seed)
        encoder = encoders.build(
            encoders.DEFAULT, size=SIZE, mean=lightly.MEAN, deviation=lightly.DEVIATION
        )
        model = lightly.made("simclr", encoder.model, encoder.dim)
        learner = lightly.Learner(model, batch=batch, device=device)
        loader = lightly.loader_of(pictures.tensor, batch=batch, workers=WORKERS)
        took = lightly.trained_for(learner, loader, trial.minutes)
    plan = Plan(
        data=data,
        limit=limit,
        fingerprint=pictures.fingerprint,
        samples=len(pictures),
        classes=(),
        sample=PicturePlan(encoder.recipe.channels, SIZE, SIZE),
        tasks=("simclr",),
        task_settings={"simclr": {}},
        mix=None,
        encoder=encoder.recipe.to_json(),
        start=None,
        batch=batch,
        steps=took.steps,
        seed=trial.seed,
        optimizer="sgd",
        rate=learner.rate,
        decay=learner.optimizer.defaults["weight_decay"],
        schedule="cosine",
        warmup=0,
        clip=None,
        device=device,
        precision="f32",
        memory_format="contiguous",
        threads=torch.get_num_threads(),
        seconds_a_step=took.seconds / took.steps,
        save_every=0.0,
        notes=("trained by lightly, and only kept in selfsight's form",),
    )
    run = Run(where)
    where.mkdir(parents=True, exist_ok=True)
    encoders.save(encoder, where)
    run.write_settings({"plan": plan.to_json()})
    kept = dict.fromkeys(OF_PRETEXT) | {
        "steps": took.steps,
        "samples": took.steps * batch,
        "seconds": round(took.seconds, 1),
    }
    return kept | {"plan": {key: plan.to_json()[key] for key in OF_PLAN}}


def same(place: Path, kept: Record, wanted: Record, *, option: str) -> None:
    """Refuse what was kept of another measurement than the one that is asked for."""
    others = [
        f"--{key} {wanted[key]} but it has {value}"
        for key, value in kept.items()
        if key in wanted and wanted[key] != value
    ]
    if others:
        raise SystemExit(
            f"{place} is of another measurement: asked were {', '.join(others)}; ask for the same, "
            f"or give another {option}"
        )


def done(trial: Trial, asked: argparse.Namespace) -> Record:
    """Train and ask, unless both are done: -> the record."""
    place = asked.records / f"{trial.name}.json"
    wanted = {key: getattr(asked, key) for key in ASKED}
    if place.exists():
        record = json.loads(place.read_text())
        same(place, record.get("asked", ASKED), wanted, option="--records")
        return record
    learn = learned_by_lightly if trial.method == PEER else learned
    where, kept = asked.out / trial.name, asked.out / f"{trial.name}.json"
    if (where / SETTINGS).exists():
        limit = Run(where).settings["plan"]["limit"]
        same(where, {"limit": limit}, wanted, option="--out")
    if kept.exists():  # trained, but not asked yet
        pretext = json.loads(kept.read_text())
    else:
        pretext = learn(trial, asked.data, where, asked.limit)
        kept.write_text(json.dumps(pretext))
    probes = cast(
        list[Record],
        selfsight.probe(
            where, asked.data, probe=("linear", "knn"), labels=asked.labels, quick=asked.quick
        ),
    )
    record = {
        "method": trial.method,
        "seed": trial.seed,
        "minutes": trial.minutes,
        "asked": wanted,
        "pretext": pretext,
        **{p["probe"]: {key: p[key] for key in OF_PROBE if key in p} for p in probes},
    }
    place.write_text(json.dumps(record, indent=1) + "\n")
    return record


def percent(values: list[float], *, sign: str = "") -> str:
    """Write a mean and, of several, the least and the greatest, in %."""
    middle = f"{100 * fmean(values):{sign}.1f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({100 * min(values):{sign}.1f} to {100 * max(values):{sign}.1f})"


def row(name: str, records: list[Record], rotation: float | None) -> str:
    """Write a method's row: means over its seeds."""
    linear, knn = ([r[probe] for r in records] for probe in ("linear", "knn"))
    low, high = min(r["gain_low"] for r in linear), max(r["gain_high"] for r in linear)
    trained = [r["trained"] for r in linear]

    def over(others: list[float | None]) -> str:
        if None in others:
            return ""
        pairs = zip(trained, cast(list[float], others), strict=True)
        return f"{100 * fmean(a - b for a, b in pairs):+.1f}"

    cells = [
        name,
        str(len(records)),
        ", ".join(sorted({str(r["pretext"]["plan"]["threads"]) for r in records})),
        f"{fmean(r['pretext']['samples'] or 0 for r in records):,.0f}",
        percent([r["untrained"] for r in linear]),
        percent(trained),
        ", ".join(sorted({r["best_layer"] for r in linear})),
        f"{percent([r['gain'] for r in linear], sign='+')}, {100 * low:+.1f} to {100 * high:+.1f}",
        over([r["pixels"] for r in linear]),
        over([r.get("patch_dictionary") for r in linear]),
        over([rotation] * len(linear)),
        percent([r["untrained"] for r in knn]),
        percent([r["trained"] for r in knn]),
        ", ".join(sorted({r["verdict"] for r in linear})),
    ]
    return f"| {' | '.join(cells)} |"


def by_layer(name: str, records: list[Record]) -> str:
    """Write a method's row of layers: untrained to trained, by linear probe and by k-NN."""

    def told(probe: str) -> str:
        layers = records[0][probe]["layers"]
        pairs = {
            layer: [fmean(r[probe]["layers"][layer][k] for r in records) for k in ("untrained",
                    "trained")]
            for layer in layers
        }  # fmt: skip
        return "; ".join(f"{k} {100 * a:.1f} to {100 * b:.1f}" for k, (a, b) in pairs.items())

    return f"| {name} | {told('linear')} | {told('knn')} |"


def tables(records: list[Record]) -> str:
    """Write both tables in Markdown, one pair a length of training."""
    by_minutes: dict[float, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        by_minutes[record["minutes"]][record["method"]].append(record)
    lines: list[str] = []
    for minutes, methods in sorted(by_minutes.items()):
        ordered = [name for name in (*TASKS, PEER) if name in methods]
        first = methods[ordered[0]][0]["linear"]
        own = methods.get("rotation")
        rotation = None if own is None else fmean(r["linear"]["trained"] for r in own)
        machine = first["machine"]
        beside = {"pixels": first["pixels"], "the patch dictionary": first.get("patch_dictionary")}
        told = [f"{k} {100 * v:.1f}" for k, v in {**beside, "rotation": rotation}.items() if v]
        lines += [
            f"## {minutes:g} minutes",
            f"{machine['processor']}, {machine['cores']} cores"
            f"{', ' + machine['gpu'] if 'gpu' in machine else ''}; accuracies in %, "
            f"{first['labels']:,} labels, {first['test']:,} test pictures, "
            f"draws of labels: {first['draws']}. Linear probe beside: {', '.join(told)}.",
            "",
            "| method | seeds | threads | pictures seen | untrained | trained | best layer | "
            "gain, 95 % | over pixels | over patch dictionary | over rotation | "
            "k-NN untrained | k-NN trained | verdict |",
            "|---" * 14 + "|",
            *(row(name, methods[name], rotation) for name in ordered),
            "",
            "| method | linear probe by layer, untrained to trained | k-NN by layer |",
            "|---|---|---|",
            *(by_layer(name, methods[name]) for name in ordered),
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    """Do what is not done yet, and write the table of all that is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", help="CIFAR-10: a folder with a training and a test part")
    parser.add_argument("--minutes", type=float, default=2.0, help="of training, each")
    parser.add_argument("--only", action="append", choices=[*TASKS, PEER], help="a method")
    parser.add_argument("--out", type=Path, default=Path("runs/methods"), help="for the runs")
    parser.add_argument("--records", type=Path, default=RECORDS, help="for records and table")
    parser.add_argument("--limit", type=int, help="learn from so many pictures")
    parser.add_argument("--labels", type=int, default=10_000, help="of a probe")
    parser.add_argument("--quick", action="store_true", help="quick probes")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # lightly's remarks on its own future
    for folder in (asked.out, asked.records):
        folder.mkdir(parents=True, exist_ok=True)
    for trial in trials(asked.minutes, asked.only):
        record = done(trial, asked)
        linear = record["linear"]
        print(f"{trial.name}: {linear['untrained']:.3f} to {linear['trained']:.3f}", flush=True)
    kept = sorted(asked.records.glob("*.json"))
    table = tables([json.loads(place.read_text()) for place in kept])
    head = "# Methods in the same time\nMade by `python benchmarks/methods.py`.\n\n"
    (asked.records / TABLE).write_text(head + table)
    print(table)


if __name__ == "__main__":
    main()
