"""Pretext tasks on real data: what each teaches an encoder, and whether harder or more helps.

    gains           every task by itself: linear probe of the best layer over the untrained network
    difficulty      jigsaw with 6 to 1,000 permutations: is what is harder to solve better to learn?
    complementary   relative position and colorization alone, in turns and summed, at equal samples

A study is a list of runs; each is trained and probed with the command's own defaults and 10,000
labels. What is done is kept under --out and not done again, so a study can be run in slices.

Run: python benchmarks/pretext.py STUDY --cifar10 DATA --caltech30 DATA [--out DIR] [--only NAME]
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple, cast

import selfsight
from selfsight.training.run import Run


class Trial(NamedTuple):
    """A run to train and probe.

    Attributes:
        name: Of its directory.
        data: "cifar10" or "caltech30".
        options: Of `selfsight.pretrain`.
        encoders: Which of its encoders to probe; of several tasks each has one.
    """

    name: str
    data: str
    options: dict[str, Any]
    encoders: tuple[str, ...] = ("encoder",)


PERMUTATIONS = {2: (6, 24), 3: (6, 24, 100, 1000)}
SAMPLES = {"cifar10": 40_000, "caltech30": 12_000}  # of a run; photographs are ten times as large
PAIR_SIDE = 112  # pixels, what relative position takes by itself
PAIR = ("relative-position", "colorization")


def alone(task: str, data: str, minutes: float, *settings: str, seed: int = 0) -> Trial:
    """Describe a run of one task."""
    marked = "".join(f"-{s.rpartition('.')[2].replace('=', '')}" for s in settings)
    options = {"task": task, "minutes": minutes, "seed": seed, "set": settings}
    return Trial(f"{task}{marked}-{data}-{seed}", data, options)


def gains() -> list[Trial]:
    """List what the README's table is made of."""
    seeds = [alone("jigsaw", "cifar10", 5, "jigsaw.grid=2", seed=seed) for seed in range(3)]
    others = ("colorization", "inpainting", "colorization-vae", "relative-position", "rotation")
    return [
        *seeds,
        *(alone(task, "cifar10", 5) for task in others),
        alone("relative-position", "caltech30", 4),
        alone("jigsaw", "caltech30", 4, "jigsaw.grid=3"),
    ]


def difficulty() -> list[Trial]:
    """List jigsaw with ever more permutations, at equal samples."""
    return [
        Trial(
            f"jigsaw-{data}-grid{grid}-{count}",
            data,
            {
                "task": "jigsaw",
                "samples": SAMPLES[data],
                "set": (f"jigsaw.grid={grid}", f"jigsaw.permutations={count}"),
            },
        )
        for grid, data in ((2, "cifar10"), (3, "cifar10"), (3, "caltech30"))
        for count in PERMUTATIONS[grid]
    ]


def complementary() -> list[Trial]:
    """List two tasks alone and together, on as many pictures each."""
    both = tuple(f"encoder-{name}" if i else "encoder" for i, name in enumerate(PAIR))
    data, samples = "caltech30", SAMPLES["caltech30"]
    same = {"samples": samples, "size": PAIR_SIDE}
    runs = [Trial(f"{task}-{data}", data, {"task": task, **same}) for task in PAIR]
    for mix in ("alternate", "sum"):
        for statistics in ("shared", "separate"):
            options = {
                "task": PAIR,
                **same,
                "mix": mix,
                "set": (f"mix.statistics={statistics}",),
            }
            runs.append(Trial(f"{mix}-{statistics}-{data}", data, options, both))
    return runs


def done(trial: Trial, data: str, out: Path) -> dict[str, Any]:
    """Train and probe, unless both are done: -> what came out."""
    place = out / f"{trial.name}.json"
    if place.exists():
        return json.loads(place.read_text())
    where = out / trial.name
    options = {k: v for k, v in trial.options.items() if k != "task"}
    if not (where / "checkpoint.pt").exists():
        run = selfsight.pretrain(data, trial.options["task"], out=str(where), **options)
    else:
        run = selfsight.pretrain(resume=str(where))
    pretext = cast(dict[str, Any], run.result("pretrain"))
    probes = {name: probed(run, name, data) for name in trial.encoders}
    record = {"trial": trial.name, "pretext": pretext, "probes": probes}
    place.write_text(json.dumps(record, indent=2) + "\n")
    return record


def probed(run: Run, name: str, data: str) -> dict[str, Any]:
    """Probe one of a run's encoders."""
    network = run.path if name == "encoder" else run.path / f"{name}.safetensors"
    return cast(dict[str, Any], selfsight.probe(str(network), data))


def line(record: dict[str, Any]) -> str:
    """Write a row of Markdown for every probe of a trial."""
    pretext = record["pretext"]
    solved = "" if pretext["accuracy"] is None else f"{pretext['accuracy']:.1%}"
    return "\n".join(
        f"| {record['trial']} | {pretext['steps']:,} | {solved} | {probe['untrained']:.1%} | "
        f"{probe['trained']:.1%} | {100 * probe['gain']:+.1f} ({100 * probe['gain_low']:+.1f} to "
        f"{100 * probe['gain_high']:+.1f}) | {probe['best_layer']} | {name} |"
        for name, probe in record["probes"].items()
    )


def main() -> None:
    """Run a study and print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("study", choices=["gains", "difficulty", "complementary"])
    parser.add_argument("--cifar10", required=True)
    parser.add_argument("--caltech30", required=True)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--only", action="append", help="a trial's name, or how it begins")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    studies = {
        "gains": gains(),
        "difficulty": difficulty(),
        "complementary": complementary(),
    }
    data = {"cifar10": asked.cifar10, "caltech30": asked.caltech30}
    print("| run | steps | pretext | untrained | trained | gain (95 %) | best layer | encoder |")
    print("|---|---|---|---|---|---|---|---|")
    for trial in studies[asked.study]:
        if asked.only is None or any(trial.name.startswith(name) for name in asked.only):
            print(line(done(trial, data[trial.data], asked.out)), flush=True)


if __name__ == "__main__":
    main()
