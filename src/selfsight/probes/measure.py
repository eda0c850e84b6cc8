"""Measure: networks and labelled pictures -> answers, in one pass over each part.

For every network: the union of the pictures that any draw wants is seen once, and each batch feeds
the probes of all draws and layers; then the test pictures are seen once, and all probes answer.
Choosing a layer, and all arithmetic on the answers, is left to `record.py`.

Legend: R draws, L layers, N training pictures, T test pictures, F features, K classes.
"""

import os
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from selfsight.draws import Draws
from selfsight.errors import SelfsightError, UsageError
from selfsight.probes.features import MOST, Network, pooled, stream_maps
from selfsight.probes.knn import NearestNeighbours
from selfsight.probes.linear import LinearProbe
from selfsight.probes.probe import Probe
from selfsight.probes.sampling import choose_labelled
from selfsight.verdict import Shape

if TYPE_CHECKING:
    from selfsight.data import Pictures

Kind = Literal["linear", "knn"]
Progress = Callable[[str, int, int], None]  # network's name, pictures seen, pictures to see

DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error)
SHAPED = 2048  # test pictures whose final features tell of collapse


@dataclass(frozen=True)
class Answers:
    """What the probes of one network answered.

    Attributes:
        layers: Names of the L layers, input to output.
        predictions: (R, L, T) int64, class numbers.
        validation: (R, L) float64, accuracy on the rows held out.
        shape: How the pooled final features lie.
        labels: Labelled pictures a draw had.
        seconds: Time taken.
    """

    layers: tuple[str, ...]
    predictions: Tensor
    validation: Tensor
    shape: Shape
    labels: int
    seconds: float

    @property
    def best(self) -> int:
        """Place of the layer with the best mean validation; of equals the one nearest the input."""
        return int(self.validation.mean(dim=0).argmax())

    def save(self, path: Path | str) -> None:
        """Write to a .npz file, beside it first and then renamed, so never half of it."""
        path = Path(path)
        beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        with beside.open("wb") as file:
            np.savez_compressed(
                file,
                layers=np.array(self.layers),
                predictions=self.predictions.numpy().astype(np.int32),
                validation=self.validation.numpy(),
                numbers=np.array([self.shape.spread, self.shape.rank, self.labels, self.seconds]),
            )
        beside.replace(path)

    @classmethod
    def load(cls, path: Path | str) -> "Answers":
        """Read what `save` wrote; nothing in the file is executed.

        Raises:
            SelfsightError: If the file is not there, or is not such a file.
        """
        try:
            with Path(path).open("rb") as stored, np.load(stored, allow_pickle=False) as file:
                spread, rank, labels, seconds = (float(number) for number in file["numbers"])
                return cls(
                    tuple(str(name) for name in file["layers"]),
                    torch.from_numpy(file["predictions"].astype(np.int64)),
                    torch.from_numpy(file["validation"]),
                    Shape(spread, rank),
                    int(labels),
                    seconds,
                )
        except (OSError, ValueError, TypeError, KeyError, EOFError, *DAMAGED_ZIP) as error:
            raise SelfsightError(
                f"saved answers must be a .npz file of selfsight, got {path} ({error}); "
                "delete it, and they are computed anew"
            ) from error


@dataclass(frozen=True)
class _Plan:
    """Which training pictures feed which draw, the same for every network.

    Attributes:
        rows: (U,) int64, the union of all draws' pictures, rising.
        wanted: (R, U) bool, whether a draw uses the picture.
        held_out: (R, U) bool, whether it holds it out.
        labels: Labelled pictures a draw has.
    """

    rows: Tensor
    wanted: Tensor
    held_out: Tensor
    labels: int

    @classmethod
    def of(cls, labels: Tensor, count: int, draws: int, seed: int) -> "_Plan":
        if count >= len(labels):
            count, draws = len(labels), 1
        wanted = torch.zeros(draws, len(labels), dtype=torch.bool)
        held_out = torch.zeros(draws, len(labels), dtype=torch.bool)
        for draw in range(draws):
            rows, held = choose_labelled(labels, count, seed=seed, draw=draw)
            wanted[draw, rows] = True
            held_out[draw, rows[held]] = True
        union = wanted.any(dim=0).nonzero()[:, 0]
        return cls(union, wanted[:, union], held_out[:, union], count)


@dataclass(frozen=True)
class _Stage:
    """How networks are run: the same settings for every pass."""

    kind: Kind
    batch: int
    device: torch.device
    precision: str

    def features(self, layer: Tensor) -> Tensor:
        """Pool a layer as the probe wants it: k-NN one cell, the linear probe a grid."""
        return pooled(layer, 1 if self.kind == "knn" else MOST)

    def probe(self, features: int, classes: int) -> Probe:
        if self.kind == "knn":
            return NearestNeighbours(classes)
        return LinearProbe(features, classes)


def _labels_of(part: "Pictures", role: str) -> Tensor:
    if part.labels is None or len(part.labels) == 0:
        raise UsageError(f"{role} pictures must have labels to be probed, got none; label fifty")
    return part.labels


def _finite(x: Tensor, layer: str) -> Tensor:
    if not bool(torch.isfinite(x).all()):
        raise SelfsightError(
            f"features must be finite, got infinity or NaN in layer {layer}; the network has "
            "diverged, so train again at a lower rate or in float32"
        )
    return x


def _fit(
    network: Network, train: "Pictures", plan: _Plan, stage: _Stage, step: Callable[[int], None]
) -> dict[str, list[Probe]]:
    """Feed every draw's probe of every layer from one pass, then solve: -> R probes a layer."""
    labels = _labels_of(train, "training")
    probes: dict[str, list[Probe]] = {}
    maps = stream_maps(
        network,
        train.images,
        plan.rows,
        batch=stage.batch,
        device=stage.device,
        precision=stage.precision,
    )
    for number, layers in enumerate(maps):
        here = slice(number * stage.batch, (number + 1) * stage.batch)
        y = labels[plan.rows[here]].to(stage.device)
        wanted, held_out = (part[:, here].to(stage.device) for part in (plan.wanted, plan.held_out))
        for name, layer in layers.items():
            x = _finite(stage.features(layer), name)
            if name not in probes:
                probes[name] = [stage.probe(x.shape[1], len(train.classes)) for _ in wanted]
            for probe, use, held in zip(probes[name], wanted, held_out, strict=True):
                probe.add(x[use], y[use], held[use])
        step(len(y))
    for of_layer in probes.values():
        for probe in of_layer:
            probe.solve()
    return probes


def _answer(
    network: Network,
    test: "Pictures",
    probes: Mapping[str, list[Probe]],
    stage: _Stage,
    step: Callable[[int], None],
) -> tuple[Tensor, Tensor]:
    """Let every probe answer from one pass: -> predictions (R, L, T), all final features (T, D)."""
    predictions: list[Tensor] = []
    final: list[Tensor] = []
    count = len(_labels_of(test, "test"))
    shaped = torch.zeros(count, dtype=torch.bool)
    shaped[Draws(0, 0, torch.arange(count)).order("shape")[:SHAPED]] = True
    maps = stream_maps(
        network,
        test.images,
        torch.arange(count),
        batch=stage.batch,
        device=stage.device,
        precision=stage.precision,
    )
    for number, layers in enumerate(maps):
        answers = [
            torch.stack([probe.predict(x) for probe in probes[name]])  # (R, b)
            for name, x in ((name, stage.features(layer)) for name, layer in layers.items())
        ]
        predictions.append(torch.stack(answers, dim=1).cpu())  # (R, L, b)
        last_name, last = list(layers.items())[-1]
        here = shaped[number * stage.batch : (number + 1) * stage.batch]
        final.append(_finite(pooled(last, 1), last_name).cpu()[here])
        step(len(here))
    return torch.cat(predictions, dim=2), torch.cat(final)


def measure_one(
    network: Network,
    train: "Pictures",
    test: "Pictures",
    *,
    probe: Kind = "linear",
    labels: int = 10_000,
    draws: int = 3,
    seed: int = 0,
    batch: int = 512,
    device: torch.device | str = "cpu",
    precision: str = "32",
    name: str = "network",
    progress: Progress | None = None,
) -> Answers:
    """Probe every layer of one network; see `measure` for the arguments."""
    if draws < 1:
        raise UsageError(f"draws must be at least 1, got {draws}")
    if train.classes != test.classes:
        raise UsageError(
            f"training and test pictures must have the same classes, got {list(train.classes)} "
            f"and {list(test.classes)}"
        )
    start = time.monotonic()
    plan = _Plan.of(_labels_of(train, "training"), labels, draws, seed)
    stage = _Stage(probe, batch, torch.device(device), precision)
    total, done = len(plan.rows) + len(_labels_of(test, "test")), 0

    def step(pictures: int) -> None:
        nonlocal done
        done += pictures
        if progress is not None:
            progress(name, done, total)

    probes = _fit(network, train, plan, stage, step)
    predictions, final = _answer(network, test, probes, stage, step)
    by_layer = [[probe.validation for probe in of_layer] for of_layer in probes.values()]
    validation = torch.tensor(by_layer, dtype=torch.float64).T  # (R, L)
    seconds = time.monotonic() - start
    return Answers(tuple(probes), predictions, validation, Shape.of(final), plan.labels, seconds)


def measure(
    networks: Mapping[str, Network],
    train: "Pictures",
    test: "Pictures",
    *,
    probe: Kind = "linear",
    labels: int = 10_000,
    draws: int = 3,
    seed: int = 0,
    batch: int = 512,
    device: torch.device | str = "cpu",
    precision: str = "32",
    progress: Progress | None = None,
) -> dict[str, Answers]:
    """Probe every layer of every network, all with the same labelled pictures.

    Args:
        networks: By name: encoders, or `Pixels`.
        train: Labelled pictures to fit on.
        test: Labelled pictures to answer for; nothing is chosen by them.
        probe: "linear" or "knn".
        labels: Labelled pictures a draw gets, at least one a class, by the classes' shares. If
            there are no more than that, all are used and there is one draw.
        draws: How often to draw, at least 1.
        seed: The run's seed.
        batch: Pictures at a time.
        device: Where networks and probes run.
        precision: "32", or "bf16" for the networks under autocast; probes stay in float32.
        progress: Told the network's name, pictures seen and pictures to see, after every batch.

    Returns:
        Each network's answers, by its name.

    Raises:
        UsageError: If labels are missing, too few, or the two parts have different classes.
        SelfsightError: If a network's features are not finite.
    """
    return {
        name: measure_one(
            network,
            train,
            test,
            probe=probe,
            labels=labels,
            draws=draws,
            seed=seed,
            batch=batch,
            device=device,
            precision=precision,
            name=name,
            progress=progress,
        )
        for name, network in networks.items()
    }
