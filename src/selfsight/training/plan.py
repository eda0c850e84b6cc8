"""Plan: what will be done, derived from the data and the machine, and printed before it is done.

A plan is all that a resume needs besides the data and the checkpoint; it stands in settings.json.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from selfsight.data.pictures.canvases import Form, Storage
from selfsight.distributed.batch_statistics import own_statistics
from selfsight.distributed.engine import Precision
from selfsight.encoders import DEFAULT, Encoder, Recipe
from selfsight.encoders.encoder import MOST_CHANNELS, MOST_SIDE, batch_norms
from selfsight.errors import UsageError, unknown_name
from selfsight.settings import LEAST_GROWTH, MOST_THREADS, TRACKERS, Pretrain
from selfsight.system import validation
from selfsight.system.machine import cache_folder, processors, size_in_words
from selfsight.system.paths import found_at
from selfsight.system.progress import duration
from selfsight.tasks.base import Task
from selfsight.tasks.cards import unusual_settings
from selfsight.tasks.mix import Mix
from selfsight.tasks.table import row_of
from selfsight.training.run import SETTINGS, Run

PROCESSOR_MINUTES = 10.0
GPU_EPOCHS = 100
PROCESSOR_SIDES, GPU_SIDES = (32, 96), (32, 224)
SMALL_UP_TO = 128  # the small encoder's largest pictures, in pixels
CLOSED_FORM = "closed form"  # the optimiser's name of what is fitted
WARM_UP_SHARE = 0.05  # of the steps
ROWS_LOGGED = 200
# What a plan's numbers may be, both ends included. Whole numbers without an end of their own have
# one far beyond any machine: a greater one is damage.
_ANY = (0, math.inf)
_RANGES: dict[str, tuple[float, float]] = {
    "limit": (1, validation.MOST), "samples": (1, validation.MOST), "channels": (1, MOST_CHANNELS),
    "canvas": (1, MOST_SIDE), "size": (1, MOST_SIDE), "batch": (1, 2**31), "steps": (1, 2**53),
    "seed": (0, validation.MOST), "rate": _ANY, "decay": _ANY, "clip": _ANY,
    "warmup": (0, validation.MOST),
    "threads": (1, MOST_THREADS), "seconds_a_step": _ANY, "save_every": _ANY,
    "tile": (1, MOST_SIDE), "devices": (1, 256), "nodes": (1, 2**16),
    "probe_every": (LEAST_GROWTH, math.inf), "learned": (1, validation.MOST),
}  # fmt: skip
_WORDS: dict[str, tuple[Any, ...]] = {
    "optimizer": ("sgd", "adamw", CLOSED_FORM), "schedule": ("cosine", "step"),
    "device": ("cpu", "cuda"), "memory_format": ("channels_last",), "bits": (8, 16),
}  # fmt: skip
TOLD_OF_MIX = {"alternate": "the tasks take turns", "sum": "the tasks' losses are summed"}


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Attributes:
        data: What the pictures were asked as.
        limit: How many of them at most, None for all.
        fingerprint: Of the pictures as read.
        samples: How many there are.
        classes: Names of their classes, if any.
        channels: Channels of each.
        canvas: Side of the square they are kept on, in pixels.
        size: Side of what the encoder sees, in pixels.
        tasks: The pretext tasks, which share the encoder.
        task_settings: All settings of each by its name, so that other defaults change nothing; of
            several tasks, under "mix", also those of sharing. Older runs have kept some of them.
        mix: How several tasks share the steps, None for one alone.
        encoder: The encoder's recipe.
        start: Where its first weights come from, None for random ones.
        batch: Pictures a step.
        steps: Optimiser steps in all.
        seed: Of everything random.
        optimizer: "sgd" or "adamw".
        rate: Peak learning rate.
        decay: Weight decay.
        schedule: "cosine" or "step".
        warmup: Steps over which the rate rises.
        clip: Longest gradient, None for any.
        device: "cpu" or "cuda".
        precision: "f32" or "bf16".
        memory_format: How pictures lie in memory.
        threads: Processor threads a tensor operation uses.
        seconds_a_step: As measured before the start, where the length was a time; else None.
        save_every: Seconds between two checkpoints.
        notes: What the user should know of the choices.
        tile: Side of the tiles that pictures are cut into, in pixels; None for whole ones.
        storage: Where decoded pictures are kept.
        bits: Depth of a sample, 8 or 16.
        devices: Processes on each node.
        nodes: Machines.
        compiled: Whether the encoder is compiled.
        probe_every: Factor by which the steps grow at which the encoder is probed; None for never.
        track: Names of what else is told the metrics.
        resting: Whether some parameters have no part in some steps, or in none.
        learned: How many of the pictures are learned from, None for all.
        labels: Whether labels teach it, or have taught what it starts from; None if not known.
        data_place: Where the data lies, as `paths.place_of` tells it; None of older runs.
        imprint: Of the data, as `data.imprint` takes it; None of older runs.
        start_place: The absolute path of the run that the first weights come from, if they do;
            None also of older runs.
    """

    data: str
    limit: int | None
    fingerprint: str
    samples: int
    classes: tuple[str, ...]
    channels: int
    canvas: int
    size: int
    tasks: tuple[str, ...]
    task_settings: dict[str, dict[str, Any]]
    mix: Mix | None
    encoder: dict[str, Any]
    start: str | None
    batch: int
    steps: int
    seed: int
    optimizer: str
    rate: float
    decay: float
    schedule: str
    warmup: int
    clip: float | None
    device: str
    precision: Precision
    memory_format: str
    threads: int
    seconds_a_step: float | None
    save_every: float = 60.0
    notes: tuple[str, ...] = ()
    tile: int | None = None
    storage: Storage = "memory"
    bits: int = 8
    devices: int = 1
    nodes: int = 1
    compiled: bool = False
    probe_every: float | None = None
    track: tuple[str, ...] = ()
    resting: bool = False
    learned: int | None = None
    labels: bool | None = None
    data_place: str | None = None
    imprint: str | None = None
    start_place: str | None = None

    @property
    def data_found(self) -> str:
        """Its data as it is found from the folder we are in."""
        return found_at(self.data, self.data_place)

    @property
    def start_found(self) -> str | None:
        """Where its first weights come from, as that is found from the folder we are in."""
        return self.start_place or self.start

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which the pictures are gone through once."""
        return (self.learned or self.samples) // self.batch

    @property
    def task(self) -> str:
        """The tasks' names as one."""
        return "+".join(self.tasks)

    @property
    def log_every(self) -> int:
        """Steps between two rows of metrics.csv."""
        return max(1, self.steps // ROWS_LOGGED)

    @property
    def processes(self) -> int:
        """How many processes train together."""
        return self.devices * self.nodes

    @property
    def probe_steps(self) -> frozenset[int]:
        """Steps at which the encoder is probed: none, the first row's, ever rarer, the last."""
        if self.probe_every is None:
            return frozenset()
        steps, at = {0, self.steps}, float(self.log_every)
        while at < self.steps:
            steps.add(round(at / self.log_every) * self.log_every)
            at *= self.probe_every
        return frozenset(step for step in steps if step <= self.steps)

    def to_json(self) -> dict[str, Any]:
        """Give the plan as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, run: Run) -> "Plan":
        """Read the plan of a run.

        Raises:
            SelfsightError: If the run's settings are damaged, or of another program.
        """
        try:
            return cls.from_json(run.settings["plan"])
        except ValueError as error:
            raise validation.Damaged(
                run.path / SETTINGS, f"in its plan, {error}", run.without_settings
            ) from None

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Plan":
        """Read back what `to_json` gave, of this version or an earlier one.

        Raises:
            ValueError: With the first value that no plan has: of another kind, outside its range,
                a name that is unknown, or a key that this version does not know.
        """
        if "task" in values:  # of a run that was begun when a run had one task
            name, settings = values["task"], values.get("task_settings")
            values = {k: v for k, v in values.items() if k != "task"}
            values |= {"tasks": [name], "task_settings": {str(name): settings}, "mix": None}
        validation.check(values, cls)
        names = ("classes", "notes", "track", "tasks")
        tuples: dict[str, Any] = {key: tuple(values[key]) for key in names if key in values}
        plan = cls(**(values | tuples))
        plan._check()
        return plan

    def _check(self) -> None:
        """Refuse values that no plan has.

        Raises:
            ValueError: With the first of them.
        """
        for name, (least, most) in _RANGES.items():
            validation.check_within(name, getattr(self, name), least, most)
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                found = validation.shortened(getattr(self, name))
                raise ValueError(f"{name} must be {' or '.join(map(str, words))}, got {found}")
        for name in self.tasks:
            row_of(name)
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks must be one or several, each once, got {self.tasks}")
        if (self.mix is None) != (len(self.tasks) == 1):
            raise ValueError(f"mix must be given for several tasks and for no other, {self.mix=}")
        for name in self.track:
            if name not in TRACKERS:
                raise unknown_name("tracker", name, TRACKERS)
        places = (self.data, self.start, self.data_place, self.start_place)
        if any("\0" in place for place in places if place is not None):
            raise ValueError("the places of data and start must hold no null character")
        limits = (("batch", self.learned or self.samples), ("warmup", self.steps))
        for name, most in (*limits, ("learned", self.samples)):
            validation.check_within(name, getattr(self, name), 0, most)
        if self.batch % self.processes:
            raise ValueError(
                f"batch must be a multiple of the {self.processes} processes, got {self.batch}"
            )
        Recipe.from_json(self.encoder)

    def lines(self, task: Task) -> list[str]:
        """Say the plan, a line an aspect."""
        encoder = task.encoder
        weights = sum(p.numel() for p in encoder.parameters())
        epochs = self.steps * self.batch / (self.learned or self.samples)
        store = self.samples * Form(self.channels, self.bits).bytes_each(self.canvas)
        kept = {
            "memory": f"{size_in_words(store)} in memory",
            "map": f"{size_in_words(store)} on a memory map in {cache_folder()}",
            "stream": "decoded anew for every step",
        }
        pictures = "pictures" if self.tile is None else f"tiles of {self.tile} px"
        depth = "" if self.bits == 8 else f" of {self.bits} bits"
        start = f", weights from {self.start}" if self.start else ""
        learned = "data" if self.learned is None else f"{self.learned:,} that are learned from"
        lines = [
            f"data      {self.samples:,} {pictures}, {self.channels} channel"
            f"{'s' if self.channels > 1 else ''}{depth}, on canvases of {self.canvas} px "
            f"({kept[self.storage]})",
            *self._lines_of_tasks(),
            f"encoder   {self.encoder['name']}, {weights / 1e6:.2f} M weights, "
            f"{encoder.dim} features{start}",
            f"steps     {self.steps:,} of {self.batch} pictures: {epochs:.3g} times through the "
            f"{learned}{self._told_of_time()}",
            f"training  {self.optimizer}, rate {self.rate:.3g} by {self.schedule} after "
            f"{self.warmup} steps of warm-up, decay {self.decay:g}, "
            f"{'no clipping' if self.clip is None else f'clipped at {self.clip:g}'}",
            f"machine   {self.device}, {self.precision}, {self.threads} thread"
            + ("s" if self.threads > 1 else "")
            + (f" in each of {self.processes} processes" if self.processes > 1 else "")
            + (", compiled" if self.compiled else ""),
        ]
        lines += self._lines_of_statistics(task)
        return lines + [f"note      {note}" for note in self.notes]

    def _told_of_time(self) -> str:
        """Say how long the steps take, if that was measured."""
        if self.seconds_a_step is None:
            return "; how long that takes shows from the first steps on"
        return f", about {duration(self.steps * self.seconds_a_step)}"

    def _lines_of_statistics(self, task: nn.Module) -> list[str]:
        """Say over which pictures several processes normalise."""
        norms, own = batch_norms(task), own_statistics(task)
        if self.processes == 1 or not norms:
            return []
        share = f"of each process's own {self.batch // self.processes} pictures"
        joint = f"of all {self.batch} pictures of a step"
        if len(own) == len(norms):
            return [f"note      batch statistics are {share}"]
        some = f", but for {len(own)} of {len(norms)} layers, where they are {share}" if own else ""
        return [f"note      batch statistics are {joint}{some}"]

    def _lines_of_tasks(self) -> list[str]:
        """Say each task and its settings, and how several share the encoder."""

        def told(owner: str) -> str:
            settings = unusual_settings(owner, self.task_settings[owner])
            told = ", ".join(f"{key}={_spelt(value)}" for key, value in settings.items())
            return f" ({told})" if told else ""

        lines = [f"task      {name} on {self.size} px{told(name)}" for name in self.tasks]
        if self.mix is not None:
            lines.append(f"mix       {TOLD_OF_MIX[self.mix]}{told('mix')}")
        return lines


def _spelt(value: Any) -> str:
    """Write a setting; of several numbers their range."""
    if isinstance(value, list | tuple):
        numbers = cast(list[float], value)
        return f"{min(numbers):.3g} to {max(numbers):.3g}"
    return str(value)


def most_side(device: str) -> int:
    """Tell the greatest side that is chosen without being asked for, in pixels."""
    return PROCESSOR_SIDES[1] if device == "cpu" else GPU_SIDES[1]


def side_of_pictures(
    asked: int | None, longer_side: int, device: str, *, most: int | None = None
) -> int:
    """Choose the side the encoder sees: the median longer side, rounded to 16, within limits."""
    if asked is not None:
        return asked
    least, usual = PROCESSOR_SIDES if device == "cpu" else GPU_SIDES
    most = most or usual
    return min(max(round(longer_side / 16) * 16, least), most)


def side_of_canvas(size: int, longest: int, least_scale: float) -> int:
    """Choose the side pictures are kept at, so that crops are rarely magnified over twofold.

    The smallest crop of a picture that fills its canvas has the side sqrt(least_scale) of it.

    Raises:
        UsageError: If least_scale is outside its range.
    """
    if not 0 < least_scale <= 1:
        raise UsageError(f"least_scale must be above 0 and at most 1, got {least_scale}")
    wanted = math.ceil(size / (2 * math.sqrt(least_scale)))
    return min(max(wanted, size), max(longest, 1))


def encoder_name(asked: str | None, size: int, device: str) -> str:
    """Choose the encoder: the small one for small pictures on a processor."""
    if asked is not None:
        return asked
    return DEFAULT if device == "cpu" and size <= SMALL_UP_TO else "resnet18"


def batch_size(
    asked: int | None, samples: int, device: str, *, least: int = 0
) -> tuple[int, tuple[str, ...]]:
    """Choose the batch, at least what a task wants and never over the data's size: -> it, notes."""
    wanted = asked or max(64 if device == "cpu" else 256, least)
    if wanted <= samples:
        return wanted, ()
    note = f"the batch of {wanted} is lowered to the {samples} pictures there are"
    return samples, (note,) if asked else ()


def shared_batch(batch: int, processes: int) -> tuple[int, tuple[str, ...]]:
    """Lower a batch to a multiple of the processes that share it: -> batch, notes.

    Raises:
        UsageError: If there is not a picture for each.
    """
    if batch < processes:
        raise UsageError(f"--batch must give each of {processes} processes a picture, got {batch}")
    shared = batch // processes * processes
    note = f"the batch of {batch} is lowered to {shared}, a multiple of {processes} processes"
    return shared, (note,) if shared < batch else ()


def optimization(settings: Pretrain, encoder: Encoder, batch: int) -> dict[str, Any]:
    """Choose optimiser, rate, decay and clipping, where they were not asked for.

    SGD bears the scale-free gradients that batch normalisation gives; networks without it need
    AdamW. Rates grow linearly with the batch up to a ceiling (Goyal et al., "Accurate, Large
    Minibatch SGD", 2017, https://arxiv.org/abs/1706.02677, section 2.1).
    """
    optimizer = settings.optimizer or ("sgd" if batch_norms(encoder) else "adamw")
    sgd = optimizer == "sgd"
    rate = min(0.1, 0.1 * batch / 64) if sgd else min(2e-3, 1e-3 * batch / 64)
    return {
        "optimizer": optimizer,
        "rate": settings.rate or rate,
        "decay": (5e-4 if sgd else 0.05) if settings.decay is None else settings.decay,
        "clip": settings.clip or (None if sgd else 1.0),
    }


def minutes_of(settings: Pretrain, device: str) -> float | None:
    """Give the length of the training if it is a time, in minutes; None if it is pictures."""
    if settings.samples is not None or settings.epochs is not None:
        return None
    return settings.minutes or (PROCESSOR_MINUTES if device == "cpu" else None)


def step_count(settings: Pretrain, samples: int, batch: int) -> int:
    """Turn a length in pictures, or in times through the data, into steps, at least one."""
    if settings.samples is not None:
        return max(1, math.ceil(settings.samples / batch))
    return max(1, (settings.epochs or GPU_EPOCHS) * (samples // batch))


def steps_within(minutes: float, seconds_a_step: float) -> int:
    """Count the steps that a time has room for, at least one."""
    return max(1, round(minutes * 60 / seconds_a_step))


def thread_count(asked: int | None, devices: int) -> int:
    """Choose the processor threads of each process: the processors there are for it.

    Fewer, if the caller allowed fewer by OMP_NUM_THREADS or `torch.set_num_threads`. Nothing else
    decides: with another number of threads sums are added up in another order, so that the weights
    of a busy machine would be others than those of an idle one.
    """
    return asked or max(1, min(torch.get_num_threads(), processors() // devices))


def rate_factor(step: int, steps: int, warmup: int, schedule: str) -> float:
    """Give the share of the peak rate at a step, in (0, 1].

    Linear warm-up, then a half cosine (Loshchilov, Hutter, "SGDR", ICLR 2017,
    https://arxiv.org/abs/1608.03983, with one cycle) or tenths at 60 and 80 % of the steps.

    >>> [round(rate_factor(s, 100, 5, "cosine"), 3) for s in (0, 4, 5, 52, 99)]
    [0.2, 1.0, 1.0, 0.508, 0.0]
    """
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    if schedule == "step":
        return 1.0 if done < 0.6 else 0.1 if done < 0.8 else 0.01
    return 0.5 * (1 + math.cos(math.pi * done))


def parameter_groups(task: Task, decay: float) -> list[dict[str, Any]]:
    """Part the parameters: weights with decay; biases and normalisation without.

    Those that the task itself names get the factor of the rate that it wants for them.
    """
    own = task.parameter_groups()
    factors = {id(p): float(group["rate"]) for group in own for p in group["params"]}
    groups: list[dict[str, Any]] = []
    parameters = [p for p in task.parameters() if p.requires_grad]
    for factor in sorted({1.0, *factors.values()}):
        mine = [p for p in parameters if factors.get(id(p), 1.0) == factor]
        groups += [
            {"params": [p for p in mine if p.ndim > 1], "weight_decay": decay, "factor": factor},
            {"params": [p for p in mine if p.ndim <= 1], "weight_decay": 0.0, "factor": factor},
        ]
    return groups


def make_optimizer(task: Task, plan: Plan) -> torch.optim.Optimizer:
    """Make the optimiser, its steps fused into one pass over the weights.

    torch's fused SGD takes momentum of all weights of a group, or of none; where some rest, those
    that have not moved yet have none.
    """
    groups = parameter_groups(task, plan.decay)
    if plan.optimizer == "sgd":
        way = {"foreach": True} if plan.resting else {"fused": True}
        return torch.optim.SGD(groups, lr=plan.rate, momentum=0.9, nesterov=True, **way)
    return torch.optim.AdamW(groups, lr=plan.rate, fused=True)
