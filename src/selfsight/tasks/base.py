"""Base: the contract of a task: what it needs of the data, what it may do, and what it returns.

A task has three steps: `hide` splits a batch into what is shown and what is withheld, `predict`
guesses the one from the other, `score` compares; `forward` joins them. Beyond that a task overrides
what it needs of `Task`, whose methods have a default that suits most tasks.
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
    """What a task needs of the data.

    Attributes:
        batch: The kind of batch its `forward` takes.
        labels: Whether every sample must have a class.
        least_side: Least side of a crop, in pixels, on which the task makes sense.
        wanted_side: Side up to which larger pictures help even on a processor, in pixels, if that
            is more than usual.
        wanted_batch: Default number of samples in a step, if more than usual.
        least_scale: Least share of a picture's area that a crop keeps, in (0, 1]. The smaller it
            is, the larger pictures are stored, so that crops are not magnified.
        samples: Greatest number of samples that it learns from, None for all.
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
        samples: Number of samples.
        classes: Number of classes, 0 when unlabelled.
        channels: Channels of the pictures; 0 for other modalities.
        side: Side of the crops, in pixels; 0 for other modalities.
        batch: Samples in a step, over all processes.
        steps: Steps of the whole run, None if not known yet.
        chosen: Settings of the task that were given.
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
    """What a task may use before an epoch begins.

    Attributes:
        number: Number of the epoch, from 0.
        seed: The run's seed.
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

    Scoring a batch changes only batch statistics, so that scoring it twice gives the same score:
    all that a step changes besides the weights is changed in `after_step`.

    Args:
        encoder: The network to train. For pictures it is an `Encoder` with the task's feed; any
            network of its kind will do if nothing is saved.

    Attributes:
        needs: What it needs of the data, with any settings.
        joint_statistics: Whether several processes may normalise over all of their samples.
        encoder: The trained network, which is saved for use elsewhere.
        blind: Loss of the best guess that looks at nothing, None if that has no meaning; the
            training shows it beside its own loss.
        chance: Share of right answers of that guess, in (0, 1], None if that has no meaning.
        epochs_between: Number of epochs after which `before_epoch` does something again; 0 for
            only before the first epoch, or never.
        turns: For every step of a cycle the number of the task whose turn it is, where several
            tasks share the encoder in turns; (0,) for one task.
        rounds: Number of rounds that `fit` reports as progress, for a fitted task.
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
        """Give the settings that come from the data, whether they were given or not.

        Raises:
            UsageError: If given settings do not suit the data.
        """
        return {}

    @classmethod
    def needs_with(cls, settings: Mapping[str, Any]) -> Needs:
        """Give what it needs of the data with these settings."""
        return cls.needs

    @classmethod
    def encoder_of(cls, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """Give the name and arguments of the only encoder it works with; None for any."""
        return None

    @classmethod
    def encoder_side(cls, size: int, settings: Mapping[str, Any]) -> int:
        """Give the side of the encoder's pictures for crops with the side `size`, in pixels.

        It is smaller for a task that shows the encoder tiles of crops.
        """
        return size

    # Before the first step.

    def look_at(self, batch: Any) -> None:
        """Learn facts from some samples of the data before training, without gradients."""

    @property
    def looks(self) -> bool:
        """Whether `look_at` does anything; if not, no samples are read for it."""
        return type(self).look_at is not Task.look_at

    def decided(self) -> dict[str, Any]:
        """Give the settings that the constructor chose, for the plan to record."""
        return {}

    def rows(self, samples: int) -> Tensor | None:
        """Choose the samples to learn from: -> (K,) int64; None for all."""
        return None

    def notes(self) -> tuple[str, ...]:
        """Sentences for the plan that the user should know before the training."""
        return ()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Name parameters that are trained at another rate: "params", and "rate" as a factor."""
        return []

    # During training.

    def before_epoch(self, epoch: Epoch) -> list[nn.Parameter]:
        """Use the features of all samples: -> parameters that were reset."""
        return []

    def before_step(self, step: int, steps: int) -> None:
        """Prepare for a step, given how far the training is."""

    @abstractmethod
    def forward(self, batch: Any) -> Score:
        """Hide, predict and score."""

    def after_step(self, step: int, steps: int) -> dict[str, Tensor]:
        """Update what follows the weights after a step: -> scalar metrics, often none."""
        return {}

    def targets(self) -> dict[str, Tensor]:
        """Name what it compares with that follows the training, as a momentum encoder's weights.

        They get no gradient: `after_step` moves them, and nothing else.
        """
        return {}

    # Instead of training.

    def fit(
        self,
        batches: Iterable[Any],
        *,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Compute the weights in closed form, for a fitted task.

        Args:
            batches: The samples, each once.
            seed: Seed of random choices.
            progress: Called after every round with the number done and the number in all.
        """
        raise NotImplementedError(f"{type(self).__name__} is trained, and not fitted")

    # After training.

    def encoders(self) -> Mapping[str, BaseEncoder]:
        """Give the encoders to save by name, the default one first."""
        return {"encoder": self.encoder}

    def views(self, batch: Any) -> tuple[Tensor, Tensor] | None:
        """Make two views of every sample, (B, ...) each, where such are compared; else None."""
        return None

    def embed(self, pictures: Tensor) -> Tensor:
        """Embed samples where the task compares: (N, C, S, S) in [0, 1] -> (N, W)."""
        return self.encoder(pictures)

    # Of several tasks in one, see `mix.py`.

    @property
    def shares(self) -> dict[int, float]:
        """For each task that takes turns its first step, and its share of all steps."""
        return {0: 1.0}

    def tasks_by_name(self, name: str) -> dict[str, "Task"]:
        """Give the tasks that share the encoder by name; a single task under the given name."""
        return {name: self}

    @property
    def unjoined(self) -> list["Task"]:
        """The tasks within it whose `joint_statistics` is False."""
        return [task for task in self.tasks_by_name("").values() if not task.joint_statistics]

    if TYPE_CHECKING:

        def __call__(self, batch: Any) -> Score: ...
