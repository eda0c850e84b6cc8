"""Base: what a task asks of the data, what it may look at, and what it hands to the loop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn


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
        wanted_batch: Pictures a step that it wants where none were asked for, if more than usual.
    """

    batch: type
    labels: bool = False
    least_side: int = 8
    wanted_side: int | None = None
    wanted_batch: int | None = None


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


@dataclass(frozen=True)
class Facts:
    """What a task may derive its settings from.

    Attributes:
        samples: How many samples there are.
        classes: How many classes, 0 when unlabelled.
        channels: Channels of the pictures.
        side: Side of the crops, in pixels.
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
