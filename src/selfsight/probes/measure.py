"""Measure: fits probes on a network's features, and has them predict the classes of test pictures.

The network goes once over the training pictures that any draw of labels uses, and each batch feeds
the probes of all draws and layers; then it goes once over the test pictures, and all probes predict
their classes. `record.py` computes everything else from these predictions.

If there are few labelled pictures and no test part, pictures are tested in folds: each is predicted
by probes that were fitted, and whose strength and layer were chosen, on the other folds alone. The
network then goes once over the pictures, and the pooled features of all layers are kept in memory:
a layer of 10,000 pictures takes 80 MB.

Legend: R draws, L layers, N training pictures, T test pictures, F features, K classes.
"""

import math
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from selfsight.data.samples import Samples
from selfsight.draws import Draws
from selfsight.errors import SelfsightError, UsageError
from selfsight.probes.classifier import Classifier
from selfsight.probes.features import MOST, LayeredNetwork, pooled, stream_maps
from selfsight.probes.knn import NearestNeighbours
from selfsight.probes.linear import LinearProbe
from selfsight.probes.sampling import choose_labelled
from selfsight.probes.verdict import Shape
from selfsight.system import atomic

Kind = Literal["linear", "knn"]
Progress = Callable[[int, int], None]  # pictures seen, pictures to see

DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error)
MOST_BYTES = 1 << 30  # of answers, unpacked
SHAPED = 2048  # test pictures whose final features tell of collapse


@dataclass(frozen=True)
class Answers:
    """The predictions of all probes of one network.

    Attributes:
        layers: Names of the L layers, input to output.
        predictions: (R, L, T) int64, class numbers.
        validation: (R, L) float64, accuracy on the rows held out.
        shape: The distribution of the pooled final features.
        labels: Labelled pictures of a draw.
        seconds: Time taken.
        chosen: (T,) int64, index of the layer that answers for each picture; None if it is `best`
            for all. In folds, each fold chooses by its own training pictures.
    """

    layers: tuple[str, ...]
    predictions: Tensor
    validation: Tensor
    shape: Shape
    labels: int
    seconds: float
    chosen: Tensor | None = None

    @property
    def best(self) -> int:
        """Index of the layer with the best mean validation, the first of equal ones."""
        return int(self.validation.mean(dim=0).argmax())

    @property
    def own(self) -> Tensor:
        """The answers (R, T) of the network's own best layer."""
        if self.chosen is None:
            return self.predictions[:, self.best]
        places = self.chosen.expand(len(self.predictions), 1, -1)
        return self.predictions.gather(1, places)[:, 0]

    def save(self, path: Path | str, *, another: str = atomic.ANOTHER) -> None:
        """Write to a .npz file, whole or not at all.

        Raises:
            SelfsightError: If it cannot be written; `another` is what to do then, see `atomic`.
        """
        with atomic.written(Path(path), another=another) as file:
            np.savez_compressed(
                file,
                layers=np.array(self.layers),
                predictions=self.predictions.numpy().astype(np.int32),
                validation=self.validation.numpy(),
                chosen=np.array([]) if self.chosen is None else self.chosen.numpy(),
                numbers=np.array([self.shape.spread, self.shape.rank, self.labels, self.seconds]),
            )

    @classmethod
    def load(cls, path: Path | str) -> "Answers":
        """Read what `save` wrote; nothing in the file is executed.

        Raises:
            SelfsightError: If the file is not there, is not such a file, or says what no probe
                answers.
        """
        try:
            if not Path(path).is_file():
                raise ValueError("it is no file")
            with Path(path).open("rb") as stored:
                with zipfile.ZipFile(stored) as parts:
                    if sum(part.file_size for part in parts.infolist()) > MOST_BYTES:
                        raise ValueError("it unpacks to more than any answers")
                    if wrong := parts.testzip():
                        raise ValueError(f"the checksum of {wrong} is wrong")
                stored.seek(0)
                with np.load(stored, allow_pickle=False) as file:
                    spread, rank, labels, seconds = (float(number) for number in file["numbers"])
                    answers = cls(
                        tuple(str(name) for name in file["layers"]),
                        torch.from_numpy(file["predictions"].astype(np.int64)),
                        torch.from_numpy(file["validation"].astype(np.float64)),
                        Shape(spread, rank),
                        int(labels),
                        seconds,
                        torch.from_numpy(file["chosen"]) if file["chosen"].size else None,
                    )
            answers._check()
            return answers
        except (
            OSError,
            ValueError,
            TypeError,
            KeyError,
            IndexError,
            EOFError,
            OverflowError,
            MemoryError,
            NotImplementedError,
            RuntimeError,
            *DAMAGED_ZIP,
        ) as error:
            raise SelfsightError(
                f"saved answers must be a .npz file of selfsight, got {path} ({error}); "
                "delete it, and they are computed anew"
            ) from error

    def fit(self, test: Samples) -> bool:
        """Check whether these can be predictions for pictures, by their number and classes."""
        tested, most = self.predictions.shape[2], int(self.predictions.max())
        return tested <= len(test) and most < len(test.classes)

    def _check(self) -> None:
        """Refuse values that no probe predicts.

        Raises:
            ValueError: With the first fault.
        """
        draws, layers, tested = self.predictions.shape
        if len(set(self.layers)) != layers or self.validation.shape != (draws, layers):
            raise ValueError("its numbers of draws and layers differ from part to part")
        if not min(draws, layers, tested, self.labels, 1 + int(self.predictions.min())) > 0:
            raise ValueError("it answers nothing")
        numbers = (self.shape.spread, self.shape.rank, self.seconds)
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise ValueError(f"its numbers are {numbers}")
        if not bool(((self.validation >= 0) & (self.validation <= 1)).all()):
            raise ValueError("an accuracy is outside [0, 1]")
        chosen = self.chosen
        if chosen is not None and (
            chosen.shape != (tested,)
            or chosen.dtype != torch.int64
            or not bool(((chosen >= 0) & (chosen < layers)).all())
        ):
            raise ValueError("it chose layers that are not there")


@dataclass(frozen=True)
class _Plan:
    """Which training pictures feed which draw, the same for every network.

    Attributes:
        rows: (U,) int64, the union of all draws' pictures, in increasing order.
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
        """Pool a layer for the probe: to one cell for k-NN, to a grid for the linear probe."""
        return pooled(layer, 1 if self.kind == "knn" else MOST)

    def probe(self, features: int, classes: int) -> Classifier:
        if self.kind == "knn":
            return NearestNeighbours(classes)
        return LinearProbe(features, classes)


def _labels_of(part: Samples, role: str) -> Tensor:
    if part.labels is None or len(part.labels) == 0:
        raise UsageError(f"{role} pictures must have labels to be probed, got none; label fifty")
    return part.labels


def _fit(
    network: LayeredNetwork,
    train: Samples,
    plan: _Plan,
    stage: _Stage,
    step: Callable[[int], None],
) -> dict[str, list[Classifier]]:
    """Feed every draw's probe of every layer from one pass, then solve: -> R probes a layer."""
    labels = _labels_of(train, "training")
    probes: dict[str, list[Classifier]] = {}
    maps = stream_maps(
        network,
        train,
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
            x = stage.features(layer)
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
    network: LayeredNetwork,
    test: Samples,
    probes: Mapping[str, list[Classifier]],
    stage: _Stage,
    step: Callable[[int], None],
) -> tuple[Tensor, Tensor]:
    """Let every probe predict, in one pass: -> predictions (R, L, T), all final features (T, D)."""
    predictions: list[Tensor] = []
    final = _Final(len(_labels_of(test, "test")))
    maps = stream_maps(
        network,
        test,
        torch.arange(final.pictures),
        batch=stage.batch,
        device=stage.device,
        precision=stage.precision,
    )
    for layers in maps:
        answers = [
            torch.stack([probe.predict(x) for probe in probes[name]])  # (R, b)
            for name, x in ((name, stage.features(layer)) for name, layer in layers.items())
        ]
        predictions.append(torch.stack(answers, dim=1).cpu())  # (R, L, b)
        step(final.add(layers))
    return torch.cat(predictions, dim=2), final.features()


class _Final:
    """Collects the pooled final features of at most `SHAPED` pictures."""

    def __init__(self, pictures: int) -> None:
        self.pictures = pictures
        self._wanted = torch.zeros(pictures, dtype=torch.bool)
        self._wanted[Draws(0, 0, torch.arange(pictures)).order("shape")[:SHAPED]] = True
        self._seen = 0
        self._kept: list[Tensor] = []

    def add(self, layers: Mapping[str, Tensor]) -> int:
        """Take what is wanted of a batch's layers: -> pictures of the batch."""
        last = list(layers.values())[-1]
        here = self._wanted[self._seen : self._seen + len(last)]
        self._kept.append(pooled(last, 1).cpu()[here])
        self._seen += len(last)
        return len(last)

    def features(self) -> Tensor:
        """Give what was taken, (at most `SHAPED`, D)."""
        return torch.cat(self._kept)


@dataclass(frozen=True)
class _Folds:
    """How pictures are tested in folds.

    Attributes:
        folds: (N,) int64, each picture's fold, -1 for one that is only fitted on.
        labels: (N,) int64 class numbers.
        count: Labels a draw gets, at most.
        draws: How often labels are drawn; 1 where every fold gets all there are.
        seed: Of the draws.
    """

    folds: Tensor
    labels: Tensor
    count: int
    draws: int
    seed: int

    @classmethod
    def of(cls, folds: Tensor, labels: Tensor, count: int, draws: int, seed: int) -> "_Folds":
        most = max(int((folds != fold).sum()) for fold in range(int(folds.max()) + 1))
        return cls(folds, labels, count, 1 if count >= most else draws, seed)

    def fitted_on(self, fold: int, draw: int) -> tuple[Tensor, Tensor]:
        """Choose the pictures to fit on for a fold: -> rows (n,), and which are held out (n,)."""
        others = (self.folds != fold).nonzero()[:, 0]
        rows, held_out = choose_labelled(self.labels[others], self.count, seed=self.seed, draw=draw)
        return others[rows], held_out


def _in_folds(
    network: LayeredNetwork,
    pictures: Samples,
    plan: _Folds,
    stage: _Stage,
    step: Callable[[int], None],
) -> tuple[tuple[str, ...], Tensor, Tensor, int, Tensor]:
    """Compute all features in one pass, then fit and predict fold by fold.

    Returns:
        Names of the layers, predictions (R, L, T) of the pictures that have a fold, validation
        (V, R, L) of V folds, labels that a draw had at least, all final features.
    """
    features: dict[str, list[Tensor]] = {}
    final = _Final(len(plan.folds))
    maps = stream_maps(
        network,
        pictures,
        torch.arange(len(plan.folds)),
        batch=stage.batch,
        device=stage.device,
        precision=stage.precision,
    )
    for layers in maps:
        for name, layer in layers.items():
            features.setdefault(name, []).append(stage.features(layer).cpu())
        step(final.add(layers))
    names = tuple(features)
    folds = int(plan.folds.max()) + 1
    predictions = torch.zeros(plan.draws, len(names), len(plan.folds), dtype=torch.int64)
    validation = torch.zeros(folds, plan.draws, len(names), dtype=torch.float64)
    chosen = {
        (fold, draw): plan.fitted_on(fold, draw)
        for fold in range(folds)
        for draw in range(plan.draws)
    }
    for place, name in enumerate(names):
        x = torch.cat(features.pop(name)).to(stage.device)
        y = plan.labels.to(stage.device)
        for (fold, draw), (rows, held_out) in chosen.items():
            probe = stage.probe(x.shape[1], len(pictures.classes))
            probe.add(x[rows], y[rows], held_out.to(stage.device))
            probe.solve()
            tested = plan.folds == fold
            predictions[draw, place, tested] = probe.predict(x[tested.to(stage.device)]).cpu()
            validation[fold, draw, place] = probe.validation
    least = min(len(rows) for rows, _ in chosen.values())
    return names, predictions[:, :, plan.folds >= 0], validation, least, final.features()


def measure(
    network: LayeredNetwork,
    train: Samples,
    test: Samples,
    *,
    probe: Kind = "linear",
    labels: int = 10_000,
    draws: int = 3,
    seed: int = 0,
    batch: int = 512,
    device: torch.device | str = "cpu",
    precision: str = "32",
    progress: Progress | None = None,
    folds: Tensor | None = None,
) -> Answers:
    """Probe every layer of one network with labelled pictures.

    Args:
        network: An encoder, or `Pixels`.
        train: Labelled pictures to fit on.
        test: Labelled pictures to answer for; nothing is chosen by them.
        probe: "linear" or "knn".
        labels: Labelled pictures a draw gets, at least one a class, by the classes' shares. If
            there are no more than that, all are used and there is one draw.
        draws: How often to draw, at least 1.
        seed: The run's seed.
        batch: Pictures at a time.
        device: Where the network and the probes run.
        precision: "32", or "bf16" for the network under autocast; probes stay in float32.
        progress: Told pictures seen and pictures to see, after every batch.
        folds: (N,) of `train`, as `folds_of` deals them: every picture that has one is answered by
            what was fitted on the others, and `test` is the same pictures. None with a test part.

    Raises:
        UsageError: If labels are missing, too few, or the two parts have different classes.
        SelfsightError: If the network's features are not finite.
    """
    if draws < 1:
        raise UsageError(f"draws must be at least 1, got {draws}")
    if train.classes != test.classes:
        raise UsageError(
            f"training and test pictures must have the same classes, got {list(train.classes)} "
            f"and {list(test.classes)}"
        )
    start = time.monotonic()
    stage = _Stage(probe, batch, torch.device(device), precision)
    known = _labels_of(train, "training")
    done = 0

    def step(pictures: int) -> None:
        nonlocal done
        done += pictures
        if progress is not None:
            progress(done, total)

    if folds is not None:
        total = len(train)
        dealt = _Folds.of(folds, known, labels, draws, seed)
        names, answers, each, had, final = _in_folds(network, train, dealt, stage, step)
        best = each.mean(dim=1).argmax(dim=1)  # (V,)
        chosen = best[folds[folds >= 0]]
        shape, seconds = Shape.of(final), time.monotonic() - start
        return Answers(names, answers, each.mean(dim=0), shape, had, seconds, chosen)
    plan = _Plan.of(known, labels, draws, seed)
    total = len(plan.rows) + len(_labels_of(test, "test"))
    probes = _fit(network, train, plan, stage, step)
    predictions, final = _answer(network, test, probes, stage, step)
    by_layer = [[probe.validation for probe in of_layer] for of_layer in probes.values()]
    validation = torch.tensor(by_layer, dtype=torch.float64).T  # (R, L)
    seconds = time.monotonic() - start
    return Answers(tuple(probes), predictions, validation, Shape.of(final), plan.labels, seconds)
