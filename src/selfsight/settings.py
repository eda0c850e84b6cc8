"""Settings: one frozen dataclass a verb; the command line's flags and Python's keywords.

Values are checked here, before anything heavy is loaded. None means: derived, and printed in the
plan.
"""

import math
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from selfsight.errors import UsageError, unknown_name
from selfsight.tasks import row_of

PROBES = ("linear", "knn")
DEVICES = ("auto", "cpu", "cuda")

Number = Annotated[int | None, arg(metavar="N")]
Real = Annotated[float | None, arg(metavar="X")]
Name = Annotated[str | None, arg(metavar="NAME")]
Place = Annotated[str | None, arg(metavar="PATH")]


@dataclass(frozen=True)
class Pretrain:
    """Learn from pictures without their labels; a run comes out."""

    data: Annotated[Positional[str | None], arg(metavar="[DATA]")] = None
    """A folder of pictures, a .parquet or .npz file, or: photos, digits, crops."""
    task: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")] = ()
    """The pretext task; `selfsight tasks` lists them."""
    out: Place = None
    """Where the run goes. Default: runs/TASK-DATA, numbered if taken."""
    encoder: Name = None
    """Any timm model, or small. Default: small for small pictures, else resnet18."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="TASK.SETTING=VALUE")] = ()
    """A setting of the task; `selfsight tasks NAME` lists them."""
    start: Annotated[str | None, arg(name="from", metavar="RUN|timm:NAME")] = None
    """Begin with these weights instead of random ones."""
    minutes: Real = None
    """Length as training time. Default without any length: 10 minutes, on a GPU 100 epochs."""
    epochs: Number = None
    """Length as times through the data."""
    samples: Number = None
    """Length as pictures drawn."""
    limit: Number = None
    """Use only so many pictures, chosen at random and the same every time."""
    size: Number = None
    """Side of the pictures the encoder sees, in pixels. Default: from the data, 32 to 96."""
    batch: Number = None
    """Pictures a step. Default: 64, on a GPU 256."""
    seed: int = 0
    """Seed of everything random."""
    optimizer: Literal["sgd", "adamw"] | None = None
    """Default: sgd for networks with batch normalisation, else adamw."""
    rate: Real = None
    """Peak learning rate. Default: from the optimizer and the batch."""
    decay: Real = None
    """Weight decay, never of biases and normalisation. Default: 5e-4 for sgd, 0.05 for adamw."""
    schedule: Literal["cosine", "step"] = "cosine"
    """How the rate falls: along a cosine, or to a tenth at 60 and 80 %."""
    clip: Real = None
    """Longest gradient, as a Euclidean norm. Default: none for sgd, 1 for adamw."""
    save_every: Annotated[float, arg(metavar="SECONDS")] = 60.0
    """Seconds between two checkpoints; one is written at the end in any case."""
    precision: Literal["auto", "f32", "bf16"] = "auto"
    """auto measures whether bf16 is faster here. Weights are f32 in any case."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""
    resume: Annotated[str | None, arg(metavar="RUN")] = None
    """Go on with an interrupted run, exactly; needs nothing else."""
    json: bool = False
    """Print the record alone on standard output."""

    def __post_init__(self) -> None:
        for name in self.task:
            row_of(name)
        for name in ("epochs", "samples", "limit", "batch"):
            _at_least(name, getattr(self, name), 1)
        _at_least("size", self.size, 8)
        for name in ("minutes", "rate", "clip"):
            _above_zero(name, getattr(self, name))
        _at_least("decay", self.decay, 0)
        _at_least("save-every", self.save_every, 0)
        _is_seed(self.seed)
        lengths = [n for n in ("minutes", "epochs", "samples") if getattr(self, n) is not None]
        if len(lengths) > 1:
            raise UsageError(f"one length is enough, got {' and '.join(lengths)}")
        if self.resume is None:
            self._check_what_is_new()
        else:
            self._check_nothing_else()

    def _check_nothing_else(self) -> None:
        given = [
            "DATA" if field.name == "data" else f"--{field.name.replace('_', '-')}"
            for field in fields(self)
            if field.name not in ("resume", "json") and getattr(self, field.name) != field.default
        ]
        if given:
            raise UsageError(
                f"--resume takes all its settings from the run; leave {', '.join(given)} out, "
                "or start a new run from its weights with --from"
            )

    def _check_what_is_new(self) -> None:
        if self.data is None:
            raise UsageError("pretrain needs DATA: a folder, a file, or photos, digits, crops")
        if len(self.task) != 1:
            raise UsageError(
                f"pretrain needs one --task, got {len(self.task)}; `selfsight tasks` lists them"
            )


@dataclass(frozen=True)
class Probe:
    """Ask every layer of an encoder what it knows, beside an untrained one and the pixels."""

    run: Annotated[Positional[str], arg(metavar="RUN|timm:NAME")]
    """What to probe."""
    data: Annotated[Positional[str | None], arg(metavar="[DATA]")] = None
    """Labelled pictures. Default: what the run was trained on."""
    probe: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")] = ()
    """linear or knn, or both. Default: linear."""
    test: Place = None
    """Pictures to test on. Default: DATA's own test part, else a fixed fifth of it."""
    labels: int = 10_000
    """How many labels to learn from; all, if there are fewer."""
    seed: int = 0
    """Seed of the draws of labels."""
    quick: bool = False
    """One draw and one untrained network instead of three."""
    size: Number = None
    """Side of the pictures. Default: the run's; for timm:NAME its own."""
    out: Place = None
    """Where results go. Default: RUN/results; for timm:NAME ./results."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    json: bool = False
    """Print the record alone on standard output; a list where several were asked."""

    def __post_init__(self) -> None:
        for name in self.probe:
            if name not in PROBES:
                raise unknown_name("probe", name, PROBES)
        _at_least("labels", self.labels, 2)
        _is_seed(self.seed)
        _at_least("size", self.size, 8)


@dataclass(frozen=True)
class Demo:
    """The whole job on photographs that come with the packages, in four minutes."""

    out: str = "./selfsight-demo"
    """Where the demo's run goes; an unfinished one goes on, a finished one is made again."""
    json: bool = False
    """Print the record alone on standard output."""


@dataclass(frozen=True)
class Tasks:
    """List the pretext tasks: what is hidden, predicted and scored."""

    name: Annotated[Positional[str | None], arg(metavar="[NAME]")] = None
    """One task, with its settings."""
    json: bool = False
    """Print the table alone on standard output."""

    def __post_init__(self) -> None:
        if self.name is not None:
            row_of(self.name)


@dataclass(frozen=True)
class Encoders:
    """List encoders with their layers, channels and strides."""

    name: Annotated[Positional[str | None], arg(metavar="[NAME]")] = None
    """One encoder: small, or any timm model."""
    json: bool = False
    """Print the table alone on standard output."""


def _at_least(name: str, value: float | None, least: float) -> None:
    if value is not None and not value >= least:
        raise UsageError(f"--{name} must be at least {least}, got {value}")


def _is_seed(value: int) -> None:
    if not 0 <= value < 2**63:
        raise UsageError(f"--seed must be at least 0 and below 2^63, got {value}")


def _above_zero(name: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise UsageError(f"--{name} must be above 0 and finite, got {value}")
