"""Settings: one frozen dataclass for each verb, with the flags of the command line and of Python.

Values are checked here, before anything heavy is loaded. None means that a value is derived; the
plan prints it.
"""

import math
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from selfsight.errors import UsageError, unknown_name
from selfsight.probes.table import PROBES
from selfsight.tasks.table import row_of

DEVICES = ("auto", "cpu", "cuda")
TRACKERS = ("tensorboard", "wandb", "mlflow")
LEAST_GROWTH = 1.001  # factor from one probe to the next: with less, probes are of every row
MOST_THREADS = 1024  # of a process: with far more the system gives none, and torch falls over
LOOKS = ("filters", "pretext")

Number = Annotated[int | None, arg(metavar="N")]
Real = Annotated[float | None, arg(metavar="X")]
Name = Annotated[str | None, arg(metavar="NAME")]
Place = Annotated[str | None, arg(metavar="PATH")]


@dataclass(frozen=True)
class PictureFlags:
    """Flags of `pretrain` that concern pictures."""

    size: Number = None
    """Side of the pictures the encoder sees, in pixels. Default: from the data, 32 to 96."""
    tile: Number = None
    """Cut every picture into tiles of this side, in pixels, and learn from these."""


# The flags of each modality, by its name.
FLAGS: dict[str, type] = {"pictures": PictureFlags}


@dataclass(frozen=True)
class GeneralFlags:
    """Flags of `pretrain` for any modality."""

    data: Annotated[Positional[str | None], arg(metavar="[DATA]")] = None
    """Pictures: a folder, a file or list of them, or a name; `selfsight datasets` lists all."""
    task: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")] = ()
    """The pretext task; `selfsight tasks` lists them. Several share the encoder."""
    mix: Literal["alternate", "sum"] | None = None
    """How several tasks share the steps: in turns, or their losses summed. Default: in turns."""
    out: Place = None
    """Where the run goes. Default: runs/TASK-DATA, numbered if taken."""
    encoder: Name = None
    """Any timm model, or small. Default: small for small pictures, else resnet18."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="TASK.SETTING=VALUE")] = ()
    """A setting of a task, or of the mix; `selfsight tasks NAME` lists them."""
    start: Annotated[str | None, arg(name="from", metavar="RUN|timm:NAME")] = None
    """Begin with these weights instead of random ones."""
    minutes: Real = None
    """Length as training time. Default without any length: 10 minutes, on a GPU 100 epochs."""
    epochs: Number = None
    """Length as times through the data."""
    samples: Number = None
    """Length as pictures drawn."""
    limit: Number = None
    """Use only this many pictures, chosen at random, the same every time."""
    storage: Literal["auto", "memory", "map", "stream"] = "auto"
    """Where to keep decoded pictures: memory, a file on disk, nowhere. auto: where they fit."""
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
    """Greatest Euclidean norm of the gradient. Default: none for sgd, 1 for adamw."""
    save_every: Annotated[float, arg(metavar="SECONDS")] = 60.0
    """Seconds between two checkpoints; one is written at the end in any case."""
    precision: Literal["auto", "f32", "bf16"] = "auto"
    """auto: bf16 where the device multiplies it in hardware. Weights are f32 in any case."""
    threads: Number = None
    """Processor threads of each process. Default: one for each core it may use."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""
    devices: Annotated[int, arg(metavar="N")] = 1
    """Processors' or GPUs' processes on each node; they share every batch."""
    nodes: Annotated[int, arg(metavar="N")] = 1
    """Machines, under torchrun or SLURM; they share a file system."""
    strategy: Annotated[str, arg(metavar="NAME")] = "ddp"
    """How several processes share the work: each has all weights, gradients are averaged."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the encoder; auto: in long trainings on a GPU."""
    probe_every: Annotated[float | None, arg(metavar="FACTOR")] = None
    """Probe the first task's encoder at growing steps, the first and the last; needs labels."""
    track: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")] = ()
    """Also write metrics to tensorboard, wandb or mlflow; may be given several times."""
    resume: Annotated[str | None, arg(metavar="RUN")] = None
    """Continue an interrupted run exactly; needs nothing else."""
    place: Annotated[str | None, arg(name="data", metavar="PLACE")] = None
    """With --resume: where the run's data lies now, if it was moved."""
    json: bool = False
    """Print the record alone on standard output."""


@dataclass(frozen=True)
class Pretrain(PictureFlags, GeneralFlags):
    """Learn from pictures without their labels; the result is a run."""

    def __post_init__(self) -> None:
        for name in self.task:
            row_of(name)
        for name in ("epochs", "samples", "limit", "batch", "threads", "devices", "nodes"):
            _at_least(name, getattr(self, name), 1)
        if self.threads is not None and self.threads > MOST_THREADS:
            raise UsageError(f"--threads must be at most {MOST_THREADS}, got {self.threads}")
        _at_least("size", self.size, 8)
        _at_least("tile", self.tile, 8)
        _at_least("probe-every", self.probe_every, LEAST_GROWTH)
        _is_strategy(self.strategy)
        for name in self.track:
            if name not in TRACKERS:
                raise unknown_name("tracker", name, TRACKERS)
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
        goes_with = ("resume", "place", "json")
        given = [
            "DATA" if field.name == "data" else f"--{field.name.replace('_', '-')}"
            for field in fields(self)
            if field.name not in goes_with and getattr(self, field.name) != field.default
        ]
        if given:
            raise UsageError(
                f"--resume takes all its settings from the run; leave {', '.join(given)} out, "
                "or start a new run from its weights with --from"
            )

    def _check_what_is_new(self) -> None:
        if self.place is not None:
            raise UsageError(
                f"--data {self.place} goes with --resume: it says where the run's data lies now; "
                f"for a new run give it as DATA: pretrain {self.place}"
            )
        if self.data is None:
            raise UsageError(
                "pretrain needs DATA: a folder, a file or a name; see `selfsight datasets`"
            )
        if not self.task:
            raise UsageError("pretrain needs a --task; `selfsight tasks` lists them")
        twice = [name for name in self.task if self.task.count(name) > 1]
        if twice:
            raise UsageError(f"--task {twice[0]} was given more than once; once is enough")
        if self.mix is not None and len(self.task) == 1:
            raise UsageError(f"--mix is for several tasks, got --task {self.task[0]} alone")
        self._check_flags_of_others()

    def _check_flags_of_others(self) -> None:
        """Refuse flags of modalities that the tasks do not learn from."""
        own = {row_of(name).modality for name in self.task}
        for modality, flags in FLAGS.items():
            if modality in own:
                continue
            for field in fields(flags):
                if getattr(self, field.name) != field.default:
                    raise UsageError(
                        f"--{field.name.replace('_', '-')} is of {modality}, and "
                        f"{self.task[0]} learns from {' and '.join(sorted(own))}; leave it out"
                    )


@dataclass(frozen=True)
class Probe:
    """Measure what every layer of an encoder knows, beside an untrained one and other baselines."""

    run: Annotated[Positional[str], arg(metavar="RUN|timm:NAME")]
    """What to probe."""
    data: Annotated[Positional[str | None], arg(metavar="[DATA]")] = None
    """Labelled pictures. Default: what the run was trained on."""
    probe: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")] = ()
    """linear or knn, or both. Default: linear."""
    test: Place = None
    """Pictures to test on. Default: DATA's test part, else all in folds, or of many a fifth."""
    labels: int = 10_000
    """Number of labels to learn from; all if there are fewer."""
    seed: int = 0
    """Seed of the draws of labels."""
    quick: bool = False
    """One draw and one untrained network instead of several: shows only large gains."""
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
class Neighbours:
    """Draw which pictures are similar to a network, and measure what that depends on."""

    run: Annotated[Positional[str], arg(metavar="RUN|timm:NAME")]
    """The network whose neighbours are drawn."""
    data: Annotated[Positional[str | None], arg(metavar="[DATA]")] = None
    """Pictures to search among. Default: what the run was trained on."""
    query: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="FILE")] = ()
    """A picture to search for; may be given several times. Default: chosen from DATA."""
    patches: bool = False
    """Search among patches cut from the pictures instead of whole ones."""
    patch_size: Number = None
    """Side of a patch, in pixels. Default: what the run was shown, or half a smaller picture."""
    against: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="RUN|timm:NAME")] = ()
    """A further network beside the untrained one and the pixels; may be given several times."""
    count: int = 5
    """Neighbours drawn for each query."""
    queries: int = 8
    """Queries drawn."""
    layer: Name = None
    """A layer, averaged over its map. Default: the network's own pooled features."""
    limit: Number = None
    """Search among only this many pictures, chosen at random, the same every time."""
    seed: int = 0
    """Seed of the choice of queries and patches."""
    out: Place = None
    """The sheet, a .png, and beside it the record. Default: in RUN; for timm:NAME ./results."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    json: bool = False
    """Print the record alone on standard output."""

    def __post_init__(self) -> None:
        for name in ("count", "queries", "limit"):
            _at_least(name, getattr(self, name), 1)
        _at_least("patch-size", self.patch_size, 8)
        _is_seed(self.seed)
        if self.patch_size is not None and not self.patches:
            raise UsageError("--patch-size is of patches; ask for these with --patches")
        if self.out is not None:
            _ends_with("out", self.out, (".png",))


@dataclass(frozen=True)
class Look:
    """Draw what a run sees: its first filters, or how it solves its pretext task."""

    run: Annotated[Positional[str], arg(metavar="RUN|timm:NAME")]
    """The network; timm:NAME only for filters."""
    data: Annotated[Positional[str | None], arg(metavar="[DATA]")] = None
    """Pictures to test it on, from their test part if there is one. Default: the run's."""
    at: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")] = ()
    """filters or pretext, or both. Default: pretext."""
    count: int = 8
    """Pictures drawn on a sheet."""
    seed: int = 0
    """Seed of the choice of pictures and of what is hidden in them."""
    out: Place = None
    """Folder for the sheets. Default: RUN/pictures; for timm:NAME ./results."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    json: bool = False
    """Print the record alone on standard output."""

    def __post_init__(self) -> None:
        for name in self.at:
            if name not in LOOKS:
                raise unknown_name("look", name, LOOKS)
        _at_least("count", self.count, 1)
        _is_seed(self.seed)


@dataclass(frozen=True)
class Apply:
    """Colour photographs, or fill holes in them, by what a run has learned."""

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run of colorization, colorization-vae or inpainting."""
    files: Annotated[Positional[tuple[str, ...]], arg(metavar="FILE")] = ()
    """Photographs: files, folders, or any other form of DATA."""
    out: Place = None
    """Folder for the results: a .png of each picture's own size, and a sheet beside it."""
    task: Name = None
    """Which of the run's tasks, if several can be applied."""
    mask: Annotated[str | None, arg(metavar="FILE")] = None
    """inpainting: a picture as large as the photograph, white where the hole is."""
    box: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="LEFT,TOP,WIDTH,HEIGHT")] = ()
    """inpainting: a hole, in pixels of the photograph; may be given several times."""
    ways: Number = None
    """colorization-vae: how many colourings of each. Default: 4."""
    temperature: Real = None
    """colorization: from 0 (the likeliest colours) to 1 (their mean). Default: the run's."""
    seed: int = 0
    """colorization-vae: seed of the colourings."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    json: bool = False
    """Print the record alone on standard output."""

    def __post_init__(self) -> None:
        if not self.files:
            raise UsageError("apply needs FILE: a photograph, or several, or a folder of them")
        if self.out is None:
            raise UsageError("apply needs --out DIR: the folder for the results")
        if self.task is not None:
            row_of(self.task)
        for box in self.box:
            _is_box(box)
        if self.mask is not None and self.box:
            raise UsageError("the hole is given by --mask or by --box, not by both")
        _at_least("ways", self.ways, 1)
        if self.temperature is not None and not 0 <= self.temperature <= 1:
            raise UsageError(f"--temperature must be from 0 to 1, got {self.temperature}")
        _is_seed(self.seed)


@dataclass(frozen=True)
class Embed:
    """Write the features of every picture to a file, with their names, classes and parts."""

    run: Annotated[Positional[str], arg(metavar="RUN|timm:NAME")]
    """The network."""
    data: Annotated[Positional[str | None], arg(metavar="[DATA]")] = None
    """The pictures. Default: what the run was trained on."""
    out: Place = None
    """The file, .parquet or .npz; an existing one is replaced."""
    layer: Name = None
    """A layer, averaged over its map. Default: the network's own pooled features."""
    size: Number = None
    """Side of the pictures. Default: the run's; for timm:NAME its own."""
    limit: Number = None
    """Only this many pictures of each part, chosen at random, the same every time."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    json: bool = False
    """Print the record alone on standard output."""

    def __post_init__(self) -> None:
        _at_least("size", self.size, 8)
        _at_least("limit", self.limit, 1)
        if self.out is None:
            raise UsageError("embed needs --out FILE: a .parquet or an .npz file")
        _ends_with("out", self.out, (".parquet", ".npz"))


@dataclass(frozen=True)
class Demo:
    """The whole job on photographs that come with the packages, in four minutes."""

    out: str = "./selfsight-demo"
    """Where the demo's run goes; an unfinished one is continued, a finished one replaced."""
    json: bool = False
    """Print the record alone on standard output."""


@dataclass(frozen=True)
class Tasks:
    """List the pretext tasks: what is hidden, predicted and scored."""

    name: Annotated[Positional[str | None], arg(metavar="[NAME]")] = None
    """One task, with its settings and their meaning; mix for those of several tasks together."""
    json: bool = False
    """Print the table alone on standard output."""

    def __post_init__(self) -> None:
        if self.name not in (None, "mix"):
            row_of(self.name)


@dataclass(frozen=True)
class Datasets:
    """List what DATA may be: forms of files, and names."""

    json: bool = False
    """Print the table alone on standard output."""


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
    if value == math.inf:
        raise UsageError(f"--{name} must be finite, got {value}")


def _ends_with(name: str, value: str, suffixes: tuple[str, ...]) -> None:
    if not value.endswith(suffixes):
        raise UsageError(f"--{name} must end with {' or '.join(suffixes)}, got {value}")


def _is_strategy(name: str) -> None:
    if name != "ddp":
        raise UsageError(
            f"--strategy must be ddp, got {name}: with strategies that split the weights among "
            "processes, such as fsdp and deepspeed, a run could not be resumed exactly"
        )


def _is_box(text: str) -> None:
    """Refuse what is not four whole numbers with a positive area."""
    words = text.split(",")
    if len(words) != 4 or not all(word.strip().isdecimal() for word in words):
        raise UsageError(
            f"--box takes LEFT,TOP,WIDTH,HEIGHT in whole pixels, as 120,40,64,64, got {text}"
        )
    if min(int(word) for word in words[2:]) < 1:
        raise UsageError(f"--box must be at least 1 pixel wide and high, got {text}")


def _is_seed(value: int) -> None:
    if not 0 <= value < 2**63:
        raise UsageError(f"--seed must be at least 0 and below 2^63, got {value}")


def _above_zero(name: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise UsageError(f"--{name} must be above 0 and finite, got {value}")
