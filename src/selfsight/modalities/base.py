"""What a modality is: all that the rest of the house asks of pictures, or words, or what comes.

The loop, the plan, resuming, progress, seeds, processes, verdicts and records name no modality.
They ask the one of the run's task, which `table` finds by the task's row:

    open, cut                       what DATA may be, and how it is listed: a `Source`
    planned, read, completed        what is planned for it, and how it is read: `Samples`
    batch, task_arguments           how a task gets it: batches, and arguments of its constructor
    encoder, take_over_weights      the network a run begins with
    seen, judged_inputs, alike      what a frozen network takes of it, for probes and verdicts
    probes, references              what a frozen network can be asked, and what is probed beside it
    data_line, task_note            its lines of the plan
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

import torch
from torch import Tensor

from selfsight.data.batches import Batch, some_rows
from selfsight.data.samples import Samples, Storage
from selfsight.data.source import Parts, Source
from selfsight.encoders import BaseEncoder
from selfsight.errors import UsageError
from selfsight.settings import Pretrain
from selfsight.system.validation import check, check_within
from selfsight.tasks.base import Needs


@dataclass(frozen=True)
class SamplePlan:
    """A modality's own part of a run's plan; settings.json holds its fields among the others.

    A class of it is a frozen dataclass of plain values.

    Attributes:
        RANGES: What its numbers may be, both ends included, by the field's name.
    """

    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {}

    def to_json(self) -> dict[str, Any]:
        """Give it as plain values."""
        return asdict(self)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Name its fields."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read back what `to_json` gave.

        Raises:
            ValueError: With the first value that no such plan has.
        """
        check(values, cls)
        plan = cls(**values)
        for name, (least, most) in cls.RANGES.items():
            check_within(name, getattr(plan, name), least, most)
        return plan


LINEAR, NEAREST = "linear", "knn"
OF_LAYERS = (LINEAR, NEAREST)  # they read class labels off every layer

P = TypeVar("P", bound=SamplePlan)
S = TypeVar("S", bound=Source)
D = TypeVar("D", bound=Samples)
E = TypeVar("E", bound=BaseEncoder)


class Planned(NamedTuple, Generic[P]):
    """What follows from looking at data before it is read.

    Attributes:
        sample: The modality's part of the plan, as far as it is known.
        notes: What the user should know, a sentence each without a full stop.
        known: What was learned of the data on the way, for `read`.
    """

    sample: P
    notes: tuple[str, ...] = ()
    known: Any = None


class Reading(NamedTuple):
    """How samples are to be read.

    Attributes:
        listed_in: Where the user finds all that was skipped.
        limit: How many at most; None for all.
        storage: Where to keep them; None for the first place they fit.
        steady: Whether they must be told from each other now, and not while they are used.
        processes: How many of this machine's processes keep the same samples in memory.
    """

    listed_in: str
    limit: int | None = None
    storage: Storage | None = None
    steady: bool = False
    processes: int = 1


class Usual(NamedTuple):
    """What is usual for a modality where a training is not asked for something else.

    Attributes:
        optimizers: Those it can be trained by; the first is taken, or by rule if there are several.
        rate: Peak learning rate; None by the rule of the optimiser and the batch.
        decay: Weight decay; None by the rule.
        warm_up: Share of the steps over which the rate rises.
        batch: Samples a step; None by the device.
        epochs: Length in times through the data; None for the device's usual length.
        precisions: Those it can be trained in.
    """

    optimizers: tuple[str, ...] = ("sgd", "adamw")
    rate: float | None = None
    decay: float | None = None
    warm_up: float = 0.05
    batch: int | None = None
    epochs: int | None = None
    precisions: tuple[str, ...] = ("f32", "bf16")


class NextStep(NamedTuple):
    """What to do next with a run.

    Attributes:
        words: Why, and what.
        verb: The verb that does it, asked of the run.
        flags: Its flags.
    """

    words: str
    verb: str
    flags: tuple[str, ...] = ()


class AskedBy(Protocol):
    """Names the task that asks most of the data, by the name of a field of `Needs`."""

    def __call__(self, need: str) -> str:
        """Name it."""
        ...


class Modality(ABC, Generic[S, D, P, E]):
    """What is learned from: the samples of a kind, from files to what a network takes.

    Attributes:
        name: As the table has it.
        unit: What its samples are called, in the plural.
        sample: The class of its part of the plan.
        batch: The batch of plain samples, without labels.
        usual: What is usual for it.
        probes: What can be asked of a frozen encoder, by name, the usual first.
        references: What is probed beside it: "module:function" each.
        remedy: What to do where an encoder cannot take what a task shows it, as a sentence ends.
        unanswered: What a verdict without labels leaves open, and what would answer it; None where
            labels would.
        next_step: What to do after a training without labels; None to look at neighbours.
        more: What else can be done where there are too few samples, as a sentence ends.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    sample: ClassVar[type[SamplePlan]]
    batch: ClassVar[type[Batch]]
    usual: ClassVar[Usual] = Usual()
    probes: ClassVar[tuple[str, ...]] = OF_LAYERS
    references: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str] = "give another --encoder"
    more: ClassVar[str] = ""
    unanswered: ClassVar[str | None] = None
    next_step: ClassVar[NextStep | None] = None

    @abstractmethod
    def open(self, data: str) -> Parts[S]:
        """List the samples of what the user named.

        Raises:
            SelfsightError: If it is not there, or is none of the forms that this modality reads.
        """

    def open_called(self, name: str) -> Parts[S]:
        """List the samples of data known by a name, whatever lies in the folder we are in."""
        return self.open(name)

    def cut(self, source: S, by: Any) -> S:
        """Give the samples as a task learns from them, as tiles of pictures are.

        Args:
            source: As listed.
            by: The settings of `pretrain`, or the modality's part of a plan.
        """
        return source

    @abstractmethod
    def planned(
        self,
        source: S,
        settings: Pretrain,
        needs: Needs,
        asked_by: AskedBy,
        start: BaseEncoder | None,
        device: str,
    ) -> Planned[P]:
        """Look at the data and plan what is of this modality.

        Args:
            source: What is learned from.
            settings: What was asked.
            needs: Of all tasks.
            asked_by: Names the task that asks most, for messages.
            start: The encoder of the run that weights are taken from, if there is one.
            device: "cpu" or "cuda".

        Raises:
            UsageError: If what was asked cannot be.
        """

    @abstractmethod
    def read(self, source: S, sample: P, how: Reading, known: Any = None) -> D:
        """Read samples, and say how it goes.

        Args:
            source: What is learned from.
            sample: As planned.
            how: Where they are kept, and more.
            known: What `planned` gave; None in a run that is gone on with.

        Raises:
            SelfsightError: If they do not fit into memory, or too many cannot be read.
        """

    def read_frozen(self, source: S, sample: P, encoder: E, listed_in: str) -> D:
        """Read samples as a frozen encoder is asked about them, to be gone through several times.

        Args:
            source: The samples.
            sample: The plan of the run that the encoder is of.
            encoder: The encoder.
            listed_in: Where the user finds all that was skipped.
        """
        return self.read(source, sample, Reading(listed_in, steady=True))

    def read_more(self, source: S, sample: P, listed_in: str) -> D:
        """Read further samples as a run read its own, to be gone through several times."""
        return self.read(source, sample, Reading(listed_in, steady=True))

    def check_probe(self, probe: str) -> None:
        """Refuse a probe that this modality has not.

        Raises:
            UsageError: With those that it has.
        """
        if probe not in self.probes:
            raise UsageError(
                f"--probe {probe} is not asked of {self.name}; they have {', '.join(self.probes)}"
            )

    def completed(self, sample: P, samples: D) -> P:
        """Complete this modality's part of the plan by what was read."""
        return sample

    def facts(self, sample: P) -> dict[str, Any]:
        """Give what `Facts` holds of this modality."""
        return {"channels": 0, "side": 0}

    def task_arguments(self, sample: P) -> dict[str, Any]:
        """Give what the constructor of every task of this modality takes besides its settings."""
        return {}

    @abstractmethod
    def encoder(
        self,
        settings: Pretrain,
        sample: P,
        samples: D,
        start: BaseEncoder | None,
        device: str,
        *,
        of_task: tuple[str, dict[str, Any]] | None = None,
    ) -> tuple[E, tuple[str, ...]]:
        """Build the encoder that was asked for, with weights that do not matter yet: -> it, notes.

        Args:
            settings: What was asked.
            sample: This modality's part of the plan.
            samples: What was read.
            start: The encoder of the run that weights are taken from, if there is one.
            device: "cpu" or "cuda".
            of_task: Name and arguments of the encoder that a task brings, if it brings one.

        Raises:
            UsageError: If it cannot be built.
        """

    @abstractmethod
    def take_over_weights(self, start: BaseEncoder, encoder: E) -> None:
        """Take over the weights of another run's encoder.

        Raises:
            UsageError: If they cannot be carried over.
        """

    def introduce(self, encoder: BaseEncoder, samples: D) -> None:
        """Tell a new encoder what it must know of the samples, as words need to be known."""

    def notes(self, samples: D) -> tuple[str, ...]:
        """Say what a user should know of how samples were read, before a training."""
        return ()

    def advice_on_waiting(self, samples: D, share: float) -> str | None:
        """Say what held a training up, and what to change, if it waited for data.

        Args:
            samples: What it learned from.
            share: Of its time spent waiting for them, in [0, 1].
        """
        return None

    @abstractmethod
    def seen(self, samples: D, rows: Tensor, sample: P, device: torch.device | str) -> Tensor:
        """Give what an encoder takes of samples in evaluation: rows (B,) int64 -> (B, ...)."""

    def judged_inputs(self, samples: D, encoder: E, sample: P, most: int) -> Tensor:
        """Give what a verdict without labels looks at: -> (at most `most`, ...), see `seen`."""
        return self.seen(samples, some_rows(len(samples), most), sample, "cpu")

    def alike(self, samples: D, inputs: Tensor) -> str | None:
        """Say that samples are all alike, from some of them; None where they are not."""
        return None

    @abstractmethod
    def data_line(self, sample: P, *, samples: int, storage: Storage) -> str:
        """Say for the plan what is learned from, and where it is kept."""

    def task_note(self, sample: P) -> str:
        """Say for the plan how a task sees a sample, as " on 64 px"; "" where that says nothing."""
        return ""
