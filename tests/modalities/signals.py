"""Signals: a third modality, as small as one can be: lines of numbers that one learns to read.

It shows what a modality must say, and that nothing else in the house needs to know of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.data.samples import Samples, Storage
from selfsight.data.source import Parts, Source
from selfsight.draws import Draws
from selfsight.encoders.base import KIND, BaseEncoder, BaseRecipe
from selfsight.modalities.base import Modality, Planned, Reading, SamplePlan
from selfsight.tasks.base import Needs, Score, Task


class Signals(Source):
    """The rows of an .npz file with `signals` (N, L) and perhaps `labels` (N,)."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as file:
            self.rows = torch.from_numpy(file["signals"])
            self.labels = torch.from_numpy(file["labels"]) if "labels" in file else None
        self.name, self.classes = str(path), () if self.labels is None else ("low", "high")

    def __len__(self) -> int:
        return len(self.rows)

    def title(self, i: int) -> str:
        return f"row {i}"

    def content(self, i: int) -> bytes:
        return self.rows[i].numpy().tobytes()

    def stamp(self) -> Iterator[str]:
        yield str(float(self.rows.sum()))


class ReadSignals(Samples):
    """Signals in memory."""

    skipped, notes, storage, origins = (), (), "memory", None

    def __init__(self, source: Any) -> None:
        base, index = getattr(source, "base", source), getattr(source, "index", slice(None))
        self.rows, self.labels = base.rows[index], source.labels
        self.name, self.classes = source.name, source.classes
        self.fingerprint = f"{float(self.rows.double().sum()):.17g}"

    def __len__(self) -> int:
        return len(self.rows)

    def seen(self, rows: Tensor, device: torch.device | str = "cpu") -> Tensor:
        return self.rows[rows][:, None].to(device)  # (B, 1, L)


class SignalBatch(NamedTuple):
    """Signals (B, L)."""

    signals: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    draws: Draws

    @classmethod
    def from_rows(
        cls, samples: Any, rows: Tensor, *, seed: int, epoch: int, device: Any = "cpu"
    ) -> "SignalBatch":
        return cls(samples.rows[rows].to(device), rows, Draws(seed, epoch, rows))


@dataclass(frozen=True)
class SignalPlan(SamplePlan):
    """How long a signal is."""

    RANGES: ClassVar = {"length": (2, 1000)}

    length: int


@dataclass(frozen=True)
class LineRecipe(BaseRecipe["LineEncoder"]):
    """How to build a `LineEncoder` again."""

    kind: ClassVar[str] = "signals"

    name: str
    width: int

    def to_json(self) -> dict[str, Any]:
        return {KIND: self.kind, "name": self.name, "width": self.width}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "LineRecipe":
        return cls(values["name"], values["width"])

    def built(
        self, *, like: "LineEncoder | None" = None, pretrained: bool = False
    ) -> "LineEncoder":
        return LineEncoder(self)


class LineEncoder(BaseEncoder):
    """A convolution along the line."""

    layer_names = ("line",)

    def __init__(self, recipe: LineRecipe) -> None:
        super().__init__()
        self.recipe, self.dim = recipe, recipe.width
        self.line = nn.Conv1d(1, recipe.width, 9, stride=2)

    def layers(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"line": F.relu(self.line(inputs))[:, :, None]}  # (B, C, 1, w)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)["line"].mean(dim=(2, 3))


class OfSignals(Modality[Signals, ReadSignals, SignalPlan, LineEncoder]):
    """Lines of numbers."""

    name = unit = "signals"
    sample, batch = SignalPlan, SignalBatch

    def open(self, data: str) -> Parts[Signals]:
        return Parts(Signals(Path(data)), None)

    def planned(self, source: Any, *_: Any) -> Planned[SignalPlan]:
        return Planned(SignalPlan(getattr(source, "base", source).rows.shape[1]))

    def read(
        self, source: Signals, sample: SignalPlan, how: Reading, known: Any = None
    ) -> ReadSignals:
        return ReadSignals(source)

    def encoder(self, *_: Any, **__: Any) -> tuple[LineEncoder, tuple[str, ...]]:
        return LineRecipe("line", 16).built(), ()

    def take_over_weights(self, start: BaseEncoder, encoder: LineEncoder) -> None:
        encoder.load_state_dict(start.state_dict())

    def seen(self, samples: ReadSignals, rows: Tensor, sample: SignalPlan, device: Any) -> Tensor:
        return samples.seen(rows, device)

    def data_line(self, sample: SignalPlan, *, samples: int, storage: Storage) -> str:
        return f"{samples:,} signals of {sample.length} numbers"


class Direction(Task):
    """Which of the signals runs backwards?"""

    needs = Needs(batch=SignalBatch)
    blind, chance = float(np.log(2)), 0.5

    def __init__(self, encoder: nn.Module, dim: int, *, gain: float = 1.0) -> None:
        super().__init__(encoder)
        self.head, self.gain = nn.Linear(dim, 2), gain

    def hide(self, batch: SignalBatch) -> tuple[Tensor, Tensor]:
        turned = batch.draws.uniform("turned", 1)[:, 0] < 0.5
        signals = torch.where(turned[:, None], batch.signals.flip(1), batch.signals)
        return signals[:, None], turned.long()

    def forward(self, batch: SignalBatch) -> Score:
        signals, answers = self.hide(batch)
        logits = self.gain * self.head(self.encoder(signals))
        accuracy = (logits.argmax(dim=1) == answers).float().mean()
        return Score(F.cross_entropy(logits, answers), {"accuracy": accuracy})
