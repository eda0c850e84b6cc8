"""Plan: all settings of a training, derived from data and machine, and printed before it starts.

Together with the data and the checkpoint, a plan suffices to resume; settings.json holds it.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, cast

import torch

from selfsight.data.samples import Storage
from selfsight.distributed.batch_statistics import own_statistics
from selfsight.distributed.engine import Precision
from selfsight.encoders import recipe_of
from selfsight.encoders.encoder import batch_norms
from selfsight.errors import UsageError, unknown_name
from selfsight.modalities.base import Modality, SamplePlan, Usual
from selfsight.modalities.table import modality_of
from selfsight.settings import LEAST_GROWTH, MOST_THREADS, TRACKERS, Pretrain
from selfsight.system import validation
from selfsight.system.machine import processors
from selfsight.system.paths import found_at
from selfsight.system.progress import duration
from selfsight.tasks.base import Task
from selfsight.tasks.cards import unusual_settings
from selfsight.tasks.mix import Mix
from selfsight.tasks.table import row_of
from selfsight.training.run import SETTINGS, Run

PROCESSOR_MINUTES = 10.0
GPU_EPOCHS = 100
CLOSED_FORM = "closed form"  # the optimiser's name of what is fitted
ROWS_LOGGED = 200
# Ranges of a plan's numbers, including both ends. Whole numbers without a natural limit have one
# far beyond any machine; a greater number means damage.
_ANY = (0, math.inf)
_RANGES: dict[str, tuple[float, float]] = {
    "limit": (1, validation.MOST), "samples": (1, validation.MOST), "batch": (1, 2**31),
    "steps": (1, 2**53), "seed": (0, validation.MOST), "rate": _ANY, "decay": _ANY, "clip": _ANY,
    "warmup": (0, validation.MOST),
    "threads": (1, MOST_THREADS), "seconds_a_step": _ANY, "save_every": _ANY,
    "devices": (1, 256), "nodes": (1, 2**16),
    "probe_every": (LEAST_GROWTH, math.inf), "learned": (1, validation.MOST),
}  # fmt: skip
_WORDS: dict[str, tuple[Any, ...]] = {
    "optimizer": ("sgd", "adamw", "adagrad", CLOSED_FORM), "schedule": ("cosine", "step"),
    "device": ("cpu", "cuda"), "memory_format": ("channels_last",),
}  # fmt: skip
TOLD_OF_MIX = {"alternate": "the tasks take turns", "sum": "the tasks' losses are summed"}


@dataclass(frozen=True)
class Plan:
    """All settings of a training.

    Attributes:
        data: The data, as the user named it.
        limit: Greatest number of samples, None for all.
        fingerprint: Hash of the samples as read.
        samples: Number of samples.
        classes: Names of their classes, if any.
        sample: The modality's part of the plan.
        tasks: The pretext tasks, which share the encoder.
        task_settings: All settings of each by its name, so that other defaults change nothing; of
            several tasks, under "mix", also those of sharing. Older runs have kept some of them.
        mix: How several tasks share the steps, None for one alone.
        encoder: The encoder's recipe.
        start: The run or network that its first weights come from, None for random ones.
        batch: Samples a step.
        steps: Optimiser steps in all.
        seed: Seed of everything random.
        optimizer: "sgd", "adamw" or "adagrad".
        rate: Peak learning rate.
        decay: Weight decay.
        schedule: "cosine" or "step".
        warmup: Steps over which the rate rises.
        clip: Greatest norm of the gradient, None for no limit.
        device: "cpu" or "cuda".
        precision: "f32" or "bf16".
        memory_format: Memory format of batches.
        threads: Processor threads of a tensor operation.
        seconds_a_step: Measured before the start if the length was a time; else None.
        save_every: Seconds between two checkpoints.
        notes: What the user should know about the choices.
        storage: Where the read samples are stored.
        devices: Processes on each node.
        nodes: Machines.
        compiled: Whether the encoder is compiled.
        probe_every: Factor by which the steps grow at which the encoder is probed; None for never.
        track: Names of the trackers that get the metrics.
        resting: Whether some parameters are unused in some or all steps.
        learned: Number of samples that are learned from, None for all.
        labels: Whether labels are used, or were used for the weights it starts from; None if
            unknown.
        data_place: Where the data lies, see `paths.place_of`; None in older runs.
        imprint: Imprint of the data, see `data.imprint`; None in older runs.
        start_place: Absolute path of the run that the first weights come from; None if there is
            none, and in older runs.
    """

    data: str
    limit: int | None
    fingerprint: str
    samples: int
    classes: tuple[str, ...]
    sample: SamplePlan
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
    storage: Storage = "memory"
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
    def modality(self) -> Modality[Any, Any, Any, Any]:
        """What its samples are."""
        return modality_of(self.tasks)

    @property
    def data_found(self) -> str:
        """Its data, as found from the current folder."""
        return found_at(self.data, self.data_place)

    @property
    def start_found(self) -> str | None:
        """Where its first weights come from, as found from the current folder."""
        return self.start_place or self.start

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the samples."""
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
        """Steps at which the encoder is probed: from 0 on at growing intervals, and the last."""
        if self.probe_every is None:
            return frozenset()
        steps, at = {0, self.steps}, float(self.log_every)
        while at < self.steps:
            steps.add(round(at / self.log_every) * self.log_every)
            at *= self.probe_every
        return frozenset(step for step in steps if step <= self.steps)

    def to_json(self) -> dict[str, Any]:
        """Give the plan as plain values, those of its samples among the others."""
        values = {**dataclasses.asdict(self), **self.sample.to_json()}
        del values["sample"]
        return values

    @classmethod
    def of(cls, run: Run) -> "Plan":
        """Read the plan of a run.

        Raises:
            SelfsightError: If the run's settings are damaged, or were not written by selfsight.
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
            ValueError: Names the first invalid value: of another kind, outside its range, an
                unknown name, or a key that this version does not know.
        """
        if "task" in values:  # of a run that was begun when a run had one task
            name, settings = values["task"], values.get("task_settings")
            values = {k: v for k, v in values.items() if k != "task"}
            values |= {"tasks": [name], "task_settings": {str(name): settings}, "mix": None}
        kind = _modality(values).sample
        own = {key: values[key] for key in kind.names() if key in values}
        general = {key: value for key, value in values.items() if key not in kind.names()}
        validation.check(general, cls, but=("sample",))
        names = ("classes", "notes", "track", "tasks")
        tuples: dict[str, Any] = {key: tuple(general[key]) for key in names if key in general}
        plan = cls(**(general | tuples), sample=kind.from_json(own))
        plan._check()
        return plan

    def _check(self) -> None:
        """Refuse invalid values.

        Raises:
            ValueError: Names the first invalid value.
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
        recipe_of(self.encoder)

    def lines(self, task: Task) -> list[str]:
        """Describe the plan, one line for each aspect."""
        weights = sum(p.numel() for p in task.encoder.parameters())
        start = f", weights from {self.start}" if self.start else ""
        told = self.modality.data_line(self.sample, samples=self.samples, storage=self.storage)
        lines = [
            f"data      {told}",
            *self._lines_of_tasks(),
            f"encoder   {self.encoder['name']}, {weights / 1e6:.2f} M weights, "
            f"{task.encoder.dim} features{start}",
            *(self._lines_of_fit() if self.optimizer == CLOSED_FORM else self._lines_of_steps()),
        ]
        lines += self._lines_of_statistics(task)
        return lines + [f"note      {note}" for note in self.notes]

    def _lines_of_fit(self) -> list[str]:
        """Describe how a task is fitted."""
        return [
            "fit       in closed form, without steps, from "
            f"{self.steps * self.batch:,} of the {self.modality.unit}, each looked at once",
            f"machine   {self.device}, {self.threads} thread{'s' if self.threads > 1 else ''}",
        ]

    def _lines_of_steps(self) -> list[str]:
        """Describe how a task is trained."""
        epochs = self.steps * self.batch / (self.learned or self.samples)
        learned = "data" if self.learned is None else f"{self.learned:,} that are learned from"
        return [
            f"steps     {self.steps:,} of {self.batch} {self.modality.unit}: {epochs:.3g} times "
            f"through the {learned}{self._told_of_time()}",
            f"training  {self.optimizer}, rate {self.rate:.3g} by {self.schedule} after "
            f"{self.warmup} steps of warm-up, decay {self.decay:g}, "
            f"{'no clipping' if self.clip is None else f'clipped at {self.clip:g}'}",
            f"machine   {self.device}, {self.precision}, {self.threads} thread"
            + ("s" if self.threads > 1 else "")
            + (f" in each of {self.processes} processes" if self.processes > 1 else "")
            + (", compiled" if self.compiled else ""),
        ]

    def _told_of_time(self) -> str:
        """Describe how long the steps take, if that was measured."""
        if self.seconds_a_step is None:
            return "; how long that takes shows from the first steps on"
        return f", about {duration(self.steps * self.seconds_a_step)}"

    def _lines_of_statistics(self, task: Task) -> list[str]:
        """Describe over which samples several processes normalise."""
        norms, own = batch_norms(task), own_statistics(task)
        if self.processes == 1 or not norms:
            return []
        unit = self.modality.unit
        share = f"of each process's own {self.batch // self.processes} {unit}"
        joint = f"of all {self.batch} {unit} of a step"
        if len(own) == len(norms):
            return [f"note      batch statistics are {share}"]
        some = f", but for {len(own)} of {len(norms)} layers, where they are {share}" if own else ""
        return [f"note      batch statistics are {joint}{some}"]

    def _lines_of_tasks(self) -> list[str]:
        """List each task with its settings, and how several tasks share the encoder."""

        def told(owner: str) -> str:
            settings = unusual_settings(owner, self.task_settings[owner])
            told = ", ".join(f"{key}={_spelt(value)}" for key, value in settings.items())
            return f" ({told})" if told else ""

        seen = self.modality.task_note(self.sample)
        lines = [f"task      {name}{seen}{told(name)}" for name in self.tasks]
        if self.mix is not None:
            lines.append(f"mix       {TOLD_OF_MIX[self.mix]}{told('mix')}")
        return lines


def _modality(values: dict[str, Any]) -> Modality[Any, Any, Any, Any]:
    """Find the modality of a plan by its tasks.

    Raises:
        ValueError: If there are none, or they are unknown.
    """
    if "tasks" not in values:
        raise ValueError("tasks is missing")
    validation.check_value(values["tasks"], tuple[str, ...], "tasks")
    if not values["tasks"]:
        raise ValueError("tasks must be one or several, each once, got ()")
    return modality_of(tuple(values["tasks"]))


def _spelt(value: Any) -> str:
    """Write a setting as text; several numbers are written as their range."""
    if isinstance(value, list | tuple):
        numbers = cast(list[float], value)
        return f"{min(numbers):.3g} to {max(numbers):.3g}"
    return str(value)


def batch_size(
    asked: int | None,
    samples: int,
    device: str,
    *,
    least: int = 0,
    usual: int | None = None,
    unit: str = "pictures",
) -> tuple[int, tuple[str, ...]]:
    """Choose the batch, at least a task's wish and at most the data's size: -> batch, notes."""
    wanted = asked or max(usual or (64 if device == "cpu" else 256), least)
    if wanted <= samples:
        return wanted, ()
    note = f"the batch of {wanted} is lowered to the {samples} {unit} there are"
    return samples, (note,) if asked else ()


def shared_batch(batch: int, processes: int) -> tuple[int, tuple[str, ...]]:
    """Lower a batch to a multiple of the processes that share it: -> batch, notes.

    Raises:
        UsageError: If there is not a sample for each process.
    """
    if batch < processes:
        raise UsageError(f"--batch must give each of {processes} processes a sample, got {batch}")
    shared = batch // processes * processes
    note = f"the batch of {batch} is lowered to {shared}, a multiple of {processes} processes"
    return shared, (note,) if shared < batch else ()


def minutes_of(settings: Pretrain, device: str, usual: Usual) -> float | None:
    """Give the length of the training in minutes, None if it is given in samples."""
    if settings.samples is not None or settings.epochs is not None:
        return None
    if settings.minutes is None and usual.epochs is not None:
        return None
    return settings.minutes or (PROCESSOR_MINUTES if device == "cpu" else None)


def step_count(settings: Pretrain, samples: int, batch: int, usual: Usual) -> int:
    """Convert a length in samples or epochs into steps, at least one."""
    if settings.samples is not None:
        return max(1, math.ceil(settings.samples / batch))
    return max(1, (settings.epochs or usual.epochs or GPU_EPOCHS) * (samples // batch))


def steps_within(minutes: float, seconds_a_step: float) -> int:
    """Give the number of steps that fit into a time, at least one."""
    return max(1, round(minutes * 60 / seconds_a_step))


def thread_count(asked: int | None, devices: int) -> int:
    """Choose the processor threads of each process: its share of the processors.

    It is fewer if OMP_NUM_THREADS or `torch.set_num_threads` allows fewer. Nothing else matters:
    another number of threads changes the order of sums, so a busy machine would get other weights
    than an idle one.
    """
    return asked or max(1, min(torch.get_num_threads(), processors() // devices))
