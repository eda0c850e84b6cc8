"""Base: the contract of a task: what it asks of the data, all that it may do, and what it gives.

A task is written in three words: `hide` makes from a batch what is shown and what is withheld,
`predict` guesses the one from the other, `score` compares; `forward` puts them together. Beyond
that a task does what it wants of `Task`, where every method has an answer that suits most.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from torch import Tensor, nn

from selfsight.encoders import BaseEncoder


class Score(NamedTuple):
    """A scalar loss to minimise, and named scalar metrics for the report."""

    loss: Tensor
    metrics: dict[str, Tensor]


@dataclass(frozen=True)
class Needs:
    """What a task asks of the data.

    Attributes:
        batch: The kind of batch its `forward` takes.
        labels: Whether every sample must have a class.
        least_side: Least side of a crop, in pixels, on which the task makes sense.
        wanted_side: Side up to which larger pictures are of use to it even on a processor, in
            pixels, where that is more than usual.
        wanted_batch: Samples a step that it wants where none were asked for, if more than usual.
        least_scale: Least share of a picture's area that a crop keeps, in (0, 1]: the smaller it
            is, the larger pictures are kept, so that crops are not magnified.
        samples: Most samples that it learns from, None for all.
    """

    batch: "type[Any]"
    labels: bool = False
    least_side: int = 8
    wanted_side: int | None = None
    wanted_batch: int | None = None
    least_scale: float = 1.0
    samples: int | None = None


@dataclass(frozen=True)
class Facts:
    """What a task may derive its settings from.

    Attributes:
        samples: How many samples there are.
        classes: How many classes, 0 when unlabelled.
        channels: Channels of the pictures; 0 of samples that are none.
        side: Side of the crops, in pixels; 0 alike.
        batch: Samples a step, over all processes.
        steps: Steps of the whole run, None when not yet known.
        chosen: Settings of the task that were asked for.
        shares: Share of the samples that each class has, in [0, 1]; () when unlabelled.
    """

    samples: int
    classes: int
    channels: int
    side: int
    batch: int
    steps: int | None = None
    chosen: Mapping[str, Any] = field(default_factory=dict[str, Any])
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class Epoch:
    """What a task may look at before an epoch begins.

    Attributes:
        number: Of the epoch, from 0.
        seed: The run's.
        features_of: Encodes every picture as a probe sees it, in evaluation mode and without
            gradients: a network that takes (B, C, S, S) in [0, 1] -> its features (N, D) float32 on
            the network's device, in the order of the pictures' index; the same in every process.
    """

    number: int
    seed: int
    features_of: Callable[[nn.Module], Tensor]


class Task(nn.Module, ABC):
    """A pretext task around an encoder.

    Its constructor is its configuration: `encoder, dim, *`, then a keyword for each setting, with a
    default; what comes from the data has the default None and is filled by `derive`.

    Scoring a batch changes nothing but batch statistics, so that scoring it twice gives the same
    score: all that a step changes besides the weights is changed in `after_step`.

    Args:
        encoder: What is trained. The pictures' is an `Encoder`, fed as the task wants; any network
            of its kind does where nothing is saved.

    Attributes:
        needs: What it asks of the data, with any settings.
        joint_statistics: Whether several processes may normalise by all of their samples.
        encoder: What is trained, and saved for others to use.
        blind: What the best guess without looking costs, None where that has no meaning.
        chance: How often that guess is right, in (0, 1], None where that has no meaning.
        epochs_between: Every how many epochs `before_epoch` does something; 0: before the first
            alone, or never.
        turns: Which kind of step each step of a cycle is, where there are several kinds.
        rounds: Rounds of which `fit` tells its progress, where the task is fitted.
    """

    needs: ClassVar[Needs]
    joint_statistics: ClassVar[bool] = True
    encoder: Any  # a `BaseEncoder` of what its batches hold
    blind: float | None = None
    chance: float | None = None
    epochs_between: int = 0
    turns: tuple[int, ...] = (0,)
    rounds: int = 0

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    # From settings, before there is a task.

    @classmethod
    def derive(cls, facts: Facts) -> dict[str, Any]:
        """Fill the settings that come from the data, whether they were chosen or not.

        Raises:
            UsageError: If chosen settings do not suit the data.
        """
        return {}

    @classmethod
    def needs_with(cls, settings: Mapping[str, Any]) -> Needs:
        """Tell what it asks of the data with these settings, where that depends on them."""
        return cls.needs

    @classmethod
    def encoder_of(cls, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """Name the one encoder that it can do with, and its arguments; None for any."""
        return None

    @classmethod
    def encoder_side(cls, size: int, settings: Mapping[str, Any]) -> int:
        """Tell the side of the pictures that the encoder gets where crops have the side `size`.

        It is less for a task that shows the encoder tiles of crops. Both are in pixels.
        """
        return size

    # Before the first step.

    def look_at(self, batch: Any) -> None:
        """Look at some samples of the data, without gradients."""

    @property
    def looks(self) -> bool:
        """Whether `look_at` does anything: else no samples are read for it."""
        return type(self).look_at is not Task.look_at

    def decided(self) -> dict[str, Any]:
        """Give the settings that were left to the constructor, for the plan to keep."""
        return {}

    def rows(self, samples: int) -> Tensor | None:
        """Choose the only samples that are learned from: -> (K,) int64; None for all."""
        return None

    def notes(self) -> tuple[str, ...]:
        """Say what the user should know before the training, a sentence each, for the plan."""
        return ()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Name parameters that are trained at another rate: "params", and "rate" as a factor."""
        return []

    # In a training.

    def before_epoch(self, epoch: Epoch) -> list[nn.Parameter]:
        """Look at the features of all samples: -> parameters that begin anew."""
        return []

    def before_step(self, step: int, steps: int) -> None:
        """Take note of how far the training is."""

    @abstractmethod
    def forward(self, batch: Any) -> Score:
        """Hide, predict and score."""

    def after_step(self, step: int, steps: int) -> dict[str, Tensor]:
        """Follow the step that was taken: -> metrics, scalars, none in many steps."""
        return {}

    def targets(self) -> dict[str, Tensor]:
        """Name what it compares with that follows the training, as a momentum encoder's weights.

        They get no gradient: `after_step` moves them, and nothing else.
        """
        return {}

    # In place of a training.

    def fit(
        self,
        batches: Iterable[Any],
        *,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Find the weights in closed form, where the task is fitted.

        Args:
            batches: The samples to look at, each once.
            seed: Of what is drawn.
            progress: Is told after every round how many there were, and how many there will be.
        """
        raise NotImplementedError(f"{type(self).__name__} is trained, and not fitted")

    # For those who use what was learned.

    def encoders(self) -> Mapping[str, BaseEncoder]:
        """Name the encoders that are worth saving, the one that others use by default first."""
        return {"encoder": self.encoder}

    def views(self, batch: Any) -> tuple[Tensor, Tensor] | None:
        """Make two views of every sample, (B, ...) each, where such are compared; else None."""
        return None

    def embed(self, pictures: Tensor) -> Tensor:
        """Embed where the task compares: (N, C, S, S) in [0, 1] -> (N, W)."""
        return self.encoder(pictures)

    # Of several tasks in one, see `mix.py`.

    @property
    def shares(self) -> dict[int, float]:
        """The first step of each kind, and its kind's share of all steps."""
        return {0: 1.0}

    def tasks_by_name(self, name: str) -> dict[str, "Task"]:
        """Give the tasks that share the encoder by their names, or the one by the name given."""
        return {name: self}

    @property
    def unjoined(self) -> list["Task"]:
        """The tasks in it that say no to `joint_statistics`."""
        return [task for task in self.tasks_by_name("").values() if not task.joint_statistics]

    if TYPE_CHECKING:

        def __call__(self, batch: Any) -> Score: ...
