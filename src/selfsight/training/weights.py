"""Weights: the encoder a run begins with: with random, timm's, or another run's weights.

Random weights follow from the seed, so the network before its training can be built again: it is
the untrained network that every probe compares with.
"""

import dataclasses
from typing import Any

import torch

from selfsight import encoders
from selfsight.distributed.batch_statistics import with_joint_statistics
from selfsight.encoders import BaseEncoder, BaseRecipe, recipe_of
from selfsight.encoders.bounds import TooLarge, no_larger_than
from selfsight.errors import SelfsightError, UsageError
from selfsight.settings import Pretrain
from selfsight.system.escaping import shell_quoted
from selfsight.system.paths import TIMM
from selfsight.tasks.base import Task
from selfsight.tasks.cards import MIX, check_settings
from selfsight.tasks.mix import Together
from selfsight.tasks.table import make_task
from selfsight.training import checkpoint
from selfsight.training.plan import Plan
from selfsight.training.run import SETTINGS, Run, load


def start_of(settings: Pretrain) -> BaseEncoder | None:
    """Load the encoder of the run that a training starts from; None if it starts from no run.

    Raises:
        SelfsightError: If it is missing or damaged.
    """
    if settings.start is None or settings.start.startswith(TIMM):
        return None
    return load(settings.start)


def built(of: Plan, state: dict[str, Any] | None = None) -> tuple[Task, BaseRecipe[Any]]:
    """Build encoder and task with weights from the seed or from the run's start.

    Args:
        of: The plan.
        state: The checkpoint that will be loaded into them, which limits their size.

    Raises:
        UsageError: If a task or encoder cannot be built with these settings.
        SelfsightError: If they would be far larger than the checkpoint, or the start is missing.
    """
    if state is None:
        return _built(of)
    try:
        with no_larger_than(value.shape for value in state["task"].values()):
            return _built(of)
    except (TooLarge, UsageError) as error:
        raise SelfsightError(
            f"the plan in {SETTINGS} is not that of the run's checkpoint: {error}; put back the "
            "run's own files"
        ) from error


def _built(of: Plan) -> tuple[Task, BaseRecipe[Any]]:
    for name in of.tasks if of.mix is None else (*of.tasks, MIX):
        check_settings(name, of.task_settings.get(name))
    with torch.random.fork_rng():
        torch.manual_seed(of.seed)
        pretrained = (of.start or "").startswith(TIMM)
        encoder = encoders.from_recipe(recipe_of(of.encoder).plain(), pretrained=pretrained)
        if of.start_found and not pretrained:
            of.modality.take_over_weights(load(of.start_found), encoder)
        given = of.modality.task_arguments(of.sample)
        try:
            tasks = {
                name: make_task(name, encoder, **given, **of.task_settings[name])
                for name in of.tasks
            }
            if of.mix is None:
                task = tasks[of.tasks[0]]
            else:
                task = Together(tasks, mix=of.mix, **of.task_settings[MIX])
        except ValueError as error:
            raise UsageError(str(error)) from error
    if of.processes > 1:
        with_joint_statistics(task, but=task.unjoined)
    return task, encoder.recipe


def trained_tasks(run: Run, *, device: str = "cpu") -> dict[str, Task]:
    """Load a run's tasks, encoder and heads from its last checkpoint: -> by name.

    Raises:
        SelfsightError: If the run has no checkpoint, or it is damaged.
    """
    state = run.load_checkpoint()
    if state is None:
        raise SelfsightError(
            f"{run.path} holds no checkpoint, so its task's head is missing; continue it with "
            f"selfsight pretrain --resume {shell_quoted(run.path)}"
        )
    of = Plan.of(run)
    task, _ = built(dataclasses.replace(of, start=None), state)
    checkpoint.take_up(task, state, run.path / checkpoint.LAST)
    task.to(device).eval()
    return task.tasks_by_name(of.task)
