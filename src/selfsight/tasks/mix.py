"""Mix: several pretext tasks that share one encoder, each with its own head.

Either they take turns, one step each, or the losses of all of them on the same pictures are summed.
After Doersch, Zisserman, "Multi-task Self-Supervised Visual Learning", ICCV 2017,
https://arxiv.org/abs/1708.07860. Its sections 3 and 4 name two conflicts between tasks: one may be
fed lightness and another colours (`harmonised` feeds all only what each may see), and the batch
statistics of one may not suit another (`statistics`). The optimiser's moments are separate for each
head, since a head without a turn has no gradient.
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
        weights: A whole number for each task, as "2,1", at least 1: its turns in a cycle, or the
            factor of its loss, divided by their mean. None is 1 for each.
        harmonised: Whether every task gets the input that hides whatever any task hides: lightness
            if one takes lightness, standardised pictures if one takes these.
        statistics: "shared", or "separate" for separate batch statistics of each task; None is
            separate if the tasks have different inputs, whose joint statistics would fit neither.
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
        """Give the tasks that share the encoder by name."""
        return cast(dict[str, Task], dict(self.tasks.items()))

    def _each(self) -> list[Task]:
        """List the tasks that share the encoder."""
        return list(self.tasks_by_name().values())

    def decided(self) -> dict[str, Any]:
        """Give how statistics are shared, which depends on the tasks' inputs."""
        return {"statistics": self.statistics}

    @property
    def takes_turns(self) -> bool:
        """Whether some heads are unused in a step."""
        return self.mix == "alternate"

    @property
    def shares(self) -> dict[int, float]:
        """Give for each kind of step the first one of its kind, and its share of all steps."""
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
        """Give every task's encoder: one network with the task's feed and statistics.

        Further encoders of a task, such as a momentum encoder, are named TASK-NAME.
        """
        found: dict[str, BaseEncoder] = {}
        for name, task in self.tasks_by_name().items():
            found[name] = task.encoder
            others = {k: e for k, e in task.encoders().items() if e is not found[name]}
            found |= {f"{name}-{which}": encoder for which, encoder in others.items()}
        return found

    @property
    def blind(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride] -- of its tasks
        """Average cost of a blind guess in a step."""
        costs = {name: task.blind for name, task in self.tasks_by_name().items()}
        if any(cost is None for cost in costs.values()):
            return None
        total = sum(self.weights[name] * cast(float, cost) for name, cost in costs.items())
        weight = sum(self.weights.values())
        return total / weight if self.takes_turns else total * len(costs) / weight

    def look_at(self, batch: Images | LabelledImages) -> None:
        """Call `look_at` of every task."""
        for task in self._each():
            task.look_at(batch)

    @property
    def looks(self) -> bool:
        """Whether `look_at` of any task does something."""
        return any(task.looks for task in self._each())

    def before_epoch(self, epoch: Epoch) -> list[nn.Parameter]:
        """Call `before_epoch` of every task: -> parameters that were reset."""
        return [p for task in self._each() for p in task.before_epoch(epoch)]

    @property
    def epochs_between(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] -- of its tasks
        """The least number of epochs after which a task's `before_epoch` does something again."""
        return min((t.epochs_between for t in self._each() if t.epochs_between), default=0)

    def before_step(self, step: int, steps: int) -> None:
        """Choose the task of this step."""
        self.turn = self.turns[step % len(self.turns)]
        for task in self._each():
            task.before_step(step, steps)

    def after_step(self, step: int, steps: int) -> dict[str, Tensor]:
        """Call `after_step` of the tasks in this step: -> their metrics by task."""
        tasks = self.tasks_by_name()
        return {
            f"{name}.{key}": value
            for name in self._scored()
            for key, value in tasks[name].after_step(step, steps).items()
        }

    def rows(self, samples: int) -> Tensor | None:
        """Choose the samples to learn from: the smallest set that a task chooses."""
        wanted = [task.rows(samples) for task in self._each()]
        return min((rows for rows in wanted if rows is not None), key=len, default=None)

    def notes(self) -> tuple[str, ...]:
        """The notes of all tasks, each with the task's name."""
        tasks = self.tasks_by_name()
        return tuple(f"{name}: {note}" for name, task in tasks.items() for note in task.notes())

    def _scored(self) -> list[str]:
        """Name the tasks of this step."""
        names = list(self.tasks)
        return [names[self.turn]] if self.takes_turns else names

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Collect the parameter groups of all tasks."""
        return [group for task in self._each() for group in task.parameter_groups()]

    def forward(self, batch: Images | LabelledImages) -> Score:
        """Score the task whose turn it is, or all; metrics are prefixed with the task's name."""
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
    """Assign the steps of a cycle to tasks, with each task's turns spread evenly.

    Each step goes to the task whose turns lag most behind its weight.

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
