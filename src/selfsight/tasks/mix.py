"""Together: several pretext tasks that share one encoder, each with a head of its own.

Either they take turns, a step each, or the losses of all of them on the same pictures are summed.
After Doersch, Zisserman, "Multi-task Self-Supervised Visual Learning", ICCV 2017,
https://arxiv.org/abs/1708.07860. Its sections 3 and 4 name what tasks can quarrel about: one is fed
lightness and another colours (`harmonised` feeds all of them what each of them may see), and batch
statistics of one suit the other badly (`statistics`). The optimiser's moments are of each head's
own, since a head that has no turn has no gradient.
"""

import math
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from selfsight.data.pictures.batch import Images, LabelledImages
from selfsight.encoders import BaseEncoder, Encoder
from selfsight.tasks.base import Epoch, Score, Task

Mix = Literal["alternate", "sum"]


class Together(Task):
    """Tasks that share one encoder.

    Args:
        tasks: By name, in order; their encoders share one network.
        mix: "alternate": one task a step, in turns. "sum": every task in every step.
        weights: A whole number for each task, as "2,1", at least 1: turns a cycle, or factors of
            the losses, over their mean. None is 1 for each.
        harmonised: Whether all are fed what the shyest of them is: lightness if one is,
            standardised pictures if one is.
        statistics: "shared", or "separate" for batch statistics of each task's own; None is
            separate where the tasks are fed in different ways: statistics of both then fit neither.
    """

    def __init__(
        self,
        tasks: dict[str, Task],
        *,
        mix: Mix = "alternate",
        weights: str | None = None,
        harmonised: bool = False,
        statistics: Literal["shared", "separate"] | None = None,
    ) -> None:
        nn.Module.__init__(self)  # the encoders are the tasks' own
        self.tasks = nn.ModuleDict(tasks)
        self.mix: Mix = mix
        self.weights = _weights(weights, list(tasks))
        self.turns = turns(list(self.weights.values()))
        if harmonised:
            self._harmonise()
        feeds = {task.encoder.recipe.feed for task in self._each()}
        self.statistics = statistics or ("separate" if len(feeds) > 1 else "shared")
        if self.statistics == "separate":
            for task in self._each()[1:]:
                task.encoder = task.encoder.apart()
        self.turn = 0

    def _harmonise(self) -> None:
        feeds = [task.encoder.recipe.feed for task in self._each()]
        joint = feeds[0]
        for feed in feeds[1:]:
            joint |= feed
        for part in self.tasks.modules():  # a momentum encoder is one, too
            if isinstance(getattr(part, "encoder", None), Encoder):
                part.encoder = cast(Encoder, part.encoder).fed(joint)

    def tasks_by_name(self, name: str = "") -> dict[str, Task]:
        """Give the tasks that share the encoder by their own names."""
        return cast(dict[str, Task], dict(self.tasks.items()))

    def _each(self) -> list[Task]:
        """List the tasks that share the encoder."""
        return list(self.tasks_by_name().values())

    def decided(self) -> dict[str, Any]:
        """Give how statistics are shared, which follows from what the tasks are fed."""
        return {"statistics": self.statistics}

    @property
    def takes_turns(self) -> bool:
        """Whether some heads rest in a step."""
        return self.mix == "alternate"

    @property
    def shares(self) -> dict[int, float]:
        """Give for each kind of step the first of its kind, and its share of the steps."""
        if not self.takes_turns:
            return {0: 1.0}
        return {
            self.turns.index(turn): self.turns.count(turn) / len(self.turns)
            for turn in range(len(self.tasks))
        }

    @property
    def encoder(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride] -- of its tasks
        """The first task's encoder."""
        return next(iter(self.encoders().values()))

    def encoders(self) -> dict[str, BaseEncoder]:
        """Give every task's encoder: one network, fed and normalised as the task has it.

        Those that a task has besides, as one that follows slowly, are named TASK-NAME.
        """
        found: dict[str, BaseEncoder] = {}
        for name, task in self.tasks_by_name().items():
            found[name] = task.encoder
            others = {k: e for k, e in task.encoders().items() if e is not found[name]}
            found |= {f"{name}-{which}": encoder for which, encoder in others.items()}
        return found

    @property
    def blind(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride] -- of its tasks
        """Say what guessing without looking costs a step, on the average."""
        costs = {name: task.blind for name, task in self.tasks_by_name().items()}
        if any(cost is None for cost in costs.values()):
            return None
        total = sum(self.weights[name] * cast(float, cost) for name, cost in costs.items())
        weight = sum(self.weights.values())
        return total / weight if self.takes_turns else total * len(costs) / weight

    def look_at(self, batch: Images | LabelledImages) -> None:
        """Let every task look at some pictures of the data."""
        for task in self._each():
            task.look_at(batch)

    @property
    def looks(self) -> bool:
        """Whether one of the tasks looks at some pictures."""
        return any(task.looks for task in self._each())

    def before_epoch(self, epoch: Epoch) -> list[nn.Parameter]:
        """Let every task look at all pictures: -> parameters that begin anew."""
        return [p for task in self._each() for p in task.before_epoch(epoch)]

    @property
    def epochs_between(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] -- of its tasks
        """Tell every how many epochs the first of them looks at all pictures again."""
        return min((t.epochs_between for t in self._each() if t.epochs_between), default=0)

    def before_step(self, step: int, steps: int) -> None:
        """Say whose turn it is."""
        self.turn = self.turns[step % len(self.turns)]
        for task in self._each():
            task.before_step(step, steps)

    def after_step(self, step: int, steps: int) -> dict[str, Tensor]:
        """Let the tasks that were scored follow the step: -> their metrics by task."""
        tasks = self.tasks_by_name()
        return {
            f"{name}.{key}": value
            for name in self._scored()
            for key, value in tasks[name].after_step(step, steps).items()
        }

    def rows(self, samples: int) -> Tensor | None:
        """Ask for the only pictures that are learned from: the fewest that a task wants."""
        wanted = [task.rows(samples) for task in self._each()]
        return min((rows for rows in wanted if rows is not None), key=len, default=None)

    def notes(self) -> tuple[str, ...]:
        """Say what the user should know of the tasks, and of which of them."""
        tasks = self.tasks_by_name()
        return tuple(f"{name}: {note}" for name, task in tasks.items() for note in task.notes())

    def _scored(self) -> list[str]:
        """Name the tasks that this step scores."""
        names = list(self.tasks)
        return [names[self.turn]] if self.takes_turns else names

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Gather the parameters that a task wants trained in another way."""
        return [group for task in self._each() for group in task.parameter_groups()]

    def forward(self, batch: Images | LabelledImages) -> Score:
        """Score the task whose turn it is, or all of them: metrics are prefixed by the name."""
        chosen, tasks = self._scored(), self.tasks_by_name()
        scores = {name: tasks[name](batch) for name in chosen}
        metrics: dict[str, Tensor] = {}
        for name, score in scores.items():
            metrics[f"{name}.loss"] = score.loss.detach()
            metrics |= {f"{name}.{key}": value for key, value in score.metrics.items()}
        if self.takes_turns:
            return Score(scores[chosen[0]].loss, metrics)
        losses = [self.weights[name] * score.loss for name, score in scores.items()]
        mean_weight = sum(self.weights.values()) / len(losses)
        return Score(torch.stack(losses).sum() / mean_weight, metrics)


def turns(weights: list[int]) -> tuple[int, ...]:
    """Lay out whose turn each step of a cycle is, everyone's turns spread evenly.

    At each step those who have waited longest for their share come first: the task whose turns lag
    most behind its weight.

    >>> turns([1, 1]), turns([2, 1]), turns([3, 1])
    ((0, 1), (0, 1, 0), (0, 0, 1, 0))
    """
    common = math.gcd(*weights)
    weights = [weight // common for weight in weights]
    taken, cycle = [0] * len(weights), []
    total = sum(weights)
    for step in range(1, total + 1):
        lag = [weight * step / total - had for weight, had in zip(weights, taken, strict=True)]
        turn = lag.index(max(lag))
        taken[turn] += 1
        cycle.append(turn)
    return tuple(cycle)


def _weights(text: str | None, names: list[str]) -> dict[str, int]:
    """Read "2,1" as weights of the tasks.

    Raises:
        ValueError: If there is not a whole number from 1 on for each.
    """
    if text is None:
        return dict.fromkeys(names, 1)
    words = text.split(",")
    if len(words) != len(names) or not all(w.strip().isdigit() and int(w) > 0 for w in words):
        raise ValueError(
            f"mix.weights must hold a whole number from 1 on for each of the {len(names)} tasks, "
            f"as {','.join('1' * len(names))!r}, got {text!r}"
        )
    return {name: int(word) for name, word in zip(names, words, strict=True)}
