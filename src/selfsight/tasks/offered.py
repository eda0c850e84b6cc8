"""Offered: what a task may do besides hide, predict and score, asked of any task.

    look_at(batch)             sees some pictures of the data once, before the first step
    before_epoch(epoch)        sees the features of all of them; -> parameters that begin anew
    epochs_between             every how many epochs it looks, as an attribute; 0: once
    before_step(step, steps)   is told how far the training is
    after_step(step, steps)    follows the step that was taken; -> metrics of some steps
    rows(samples)              -> (K,) int64, the only pictures it learns from
    notes()                    -> sentences for the plan

All that a step changes besides the weights is changed in `after_step`, so that scoring a batch
twice gives the same score.
"""

from typing import Any, cast

from torch import Tensor, nn

from selfsight.data.pictures.batch import Images, LabelledImages
from selfsight.tasks.base import Epoch


def look_at(task: nn.Module, batch: Images | LabelledImages) -> None:
    """Let a task look at some pictures of the data, if it wants to."""
    if hasattr(task, "look_at"):
        cast(Any, task).look_at(batch)


def before_epoch(task: nn.Module, epoch: Epoch) -> list[nn.Parameter]:
    """Let a task look at all pictures: -> parameters whose optimiser state is of no more use."""
    return cast(Any, task).before_epoch(epoch) if hasattr(task, "before_epoch") else []


def epochs_between(task: nn.Module) -> int:
    """Tell every how many epochs a task looks at all pictures; 0 is before the first alone."""
    return cast(int, getattr(task, "epochs_between", 1))


def before_step(task: nn.Module, step: int, steps: int) -> None:
    """Tell a task how far the training is, if it wants to know."""
    if hasattr(task, "before_step"):
        cast(Any, task).before_step(step, steps)


def after_step(task: nn.Module, step: int, steps: int) -> dict[str, Tensor]:
    """Let a task follow the step that was taken: -> metrics, scalars, none in many steps."""
    return cast(Any, task).after_step(step, steps) if hasattr(task, "after_step") else {}


def rows(task: nn.Module, samples: int) -> Tensor | None:
    """Ask which pictures a task learns from: -> (K,) int64, or None for all."""
    return cast(Any, task).rows(samples) if hasattr(task, "rows") else None


def notes(task: nn.Module) -> tuple[str, ...]:
    """Ask what the user should know of a task before it starts."""
    return cast(Any, task).notes() if hasattr(task, "notes") else ()
