"""Starts: how far the accuracy of untrained networks varies with how their first weights fell.

For every data set, encoder and probe, networks of several seeds are probed untrained, by the
probe's own code, with the same draws of labels and the same test pictures. What varies between them
beyond the chance of the test pictures is the spread of starts; `probes/record.py` takes its prior
from here. A spread is also told as a share of sqrt(p (1 - p)), the deviation of one answer, since
near 100 % there is less room to vary. With --trained each network is also trained by rotation for
so many samples and probed again: does an untrained start's luck stay?

Run: python benchmarks/starts.py [NAME ...] [--seeds 8] [--encoder small] [--trained SAMPLES]
     (SELFSIGHT_DATA names the folder of data)
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

import selfsight
from selfsight.data.pictures import Pictures, open_data, read
from selfsight.data.splitting import split
from selfsight.encoders import Recipe, build
from selfsight.probes.features import LayeredNetwork
from selfsight.probes.measure import Answers, Kind, measure
from selfsight.probes.sampling import choose_labelled
from selfsight.probes.untrained import calibrating, untrained_encoder

SIZES = {"cifar10": 32, "caltech30": 96, "mnist": 32, "pneumoniamnist": 64, "wbc_seg1": 64}
LABELS, DRAWS, TESTED = 1000, 3, 4000
KINDS: tuple[Kind, ...] = ("linear", "knn")


def opened(folder: Path, name: str) -> tuple[Pictures, Pictures]:
    """Read the labelled pictures of a data set: -> training and test part."""
    parts = open_data(folder / name)
    train, test = (parts.train, parts.test) if parts.test is not None else split(parts.train)
    most = {"train": DRAWS * LABELS, "test": TESTED}
    few: list[Pictures] = []
    for source, count in ((train, most["train"]), (test, most["test"])):
        assert source.labels is not None
        rows, _ = choose_labelled(source.labels, count, seed=0, draw=0)
        channels = source.decode(0).shape[0]
        few.append(
            read(source.subset(rows.sort().values), side=SIZES[name], fit="square",
                 channels=1 if channels == 1 else 3)
        )  # fmt: skip
    return few[0], few[1]


def spread(right: Tensor) -> tuple[float, float]:
    """Tell networks' own variation from the chance of the test pictures.

    Args:
        right: (I, R, T) whether network i's answer by draw r to picture t is right, as 0 or 1.

    Returns:
        The variance of an accuracy over networks, and that of networks by draws in it (0 where
        there is one draw); either may be below 0 by chance.
    """
    networks, draws, pictures = right.shape
    by_picture = right.mean(dim=1)  # (I, T)
    accuracy = by_picture.mean(dim=1)
    odd = by_picture - accuracy[:, None] - by_picture.mean(dim=0) + accuracy.mean()
    noise = float(odd.square().sum()) / ((networks - 1) * (pictures - 1))
    between = float(accuracy.var()) - noise / pictures
    if draws == 1:
        return between, 0.0
    by_draw = right.mean(dim=2)  # (I, R)
    rest = by_draw - by_draw.mean(dim=1, keepdim=True) - by_draw.mean(dim=0) + by_draw.mean()
    of_draws = float(rest.square().sum()) / ((networks - 1) * (draws - 1))
    means = right - by_picture[:, None] - right.mean(dim=0) + right.mean(dim=(0, 1))
    means = means - means.mean(dim=2, keepdim=True)
    share = (networks - 1) * (draws - 1) * (pictures - 1)
    return between, of_draws - float(means.square().sum()) / share / pictures


def row(name: str, right: Tensor, layers: Tensor, **told: Any) -> dict[str, Any]:
    """Say how networks vary, at their own best layer and at each (I, L, R, T)."""
    between, of_draws = spread(right)
    p = float(right.mean())
    unit = (p * (1 - p)) ** 0.5
    each = [spread(layers[:, place])[0] for place in range(layers.shape[1])]
    shares = [float(layers[:, place].mean()) for place in range(layers.shape[1])]
    scaled = [v / (a * (1 - a)) for v, a in zip(each, shares, strict=True)]
    return {
        "data": name,
        **told,
        "networks": len(right),
        "test": right.shape[2],
        "accuracy": round(p, 4),
        "points": round(100 * max(between, 0.0) ** 0.5, 2),
        "share": round(max(between, 0.0) ** 0.5 / unit, 4),
        "variance_of_share": between / unit**2,
        "points_by_draw": round(100 * max(of_draws, 0.0) ** 0.5, 2),
        "variance_of_share_by_layer": scaled,
    }


def right_of(answers: Answers, test: Pictures) -> tuple[Tensor, Tensor]:
    """Score answers: -> at the best layer (R, T), and at each (L, R, T)."""
    assert test.labels is not None
    right = (answers.predictions == test.labels).double().transpose(0, 1)
    return right[answers.best], right


def trained_encoder(
    recipe: Recipe, data: str, seed: int, samples: int, size: int
) -> LayeredNetwork:
    """Train by rotation from the weights of a seed."""
    with tempfile.TemporaryDirectory() as place:
        run = selfsight.pretrain(
            data, "rotation", samples=samples, seed=seed, size=size, encoder=recipe.name,
            out=f"{place}/run",
        )  # fmt: skip
        return run.encoder()


def measured(name: str, folder: Path, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Probe networks of several seeds: -> a row a probe."""
    train, test = opened(folder, name)
    channels = train.images.shape[1]
    recipe = build(asked.encoder, size=SIZES[name], channels=channels).recipe
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for seed in range(asked.seeds):
        networks = {
            "untrained": cast(LayeredNetwork, untrained_encoder(recipe, seed, calibrating(train)))
        }
        if asked.trained:
            data, size = str(folder / name), SIZES[name]
            networks["trained"] = trained_encoder(recipe, data, seed, asked.trained, size)
        for state, network in networks.items():
            for kind in KINDS:
                answers = measure(network, train, test, probe=kind, labels=LABELS, draws=DRAWS)
                found.setdefault(f"{state} {kind}", []).append(right_of(answers, test))
    for key, answers in found.items():
        best, layers = (torch.stack(of) for of in zip(*answers, strict=True))
        state, kind = key.split()
        yield row(name, best, layers, state=state, probe=kind, encoder=asked.encoder)
    if asked.trained:
        for kind in KINDS:
            pair = [[float(best.mean()) for best, _ in found[f"{state} {kind}"]]
                    for state in ("untrained", "trained")]  # fmt: skip
            kept = float(torch.corrcoef(torch.tensor(pair))[0, 1])
            yield {"data": name, "probe": kind, "correlation": round(kept, 3), "accuracies": pair}


def main() -> None:
    """Print a line of JSON a data set and probe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SIZES))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--encoder", default="small")
    parser.add_argument("--trained", type=int, help="samples to train for by rotation")
    asked = parser.parse_args()
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SELFSIGHT_DATA", beside))
    for name in asked.names:
        for line in measured(name, folder, asked):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
