"""Weights: the encoder a run begins with: fresh, timm's, or another run's.

Everything random about them comes from the seed, so the network before its training can be built
again: that is the untrained network every probe compares with.
"""

import dataclasses
from typing import Any

import torch

from selfsight import encoders
from selfsight.data.batches import some_rows
from selfsight.data.pictures import Pictures
from selfsight.distributed.batch_statistics import with_joint_statistics
from selfsight.encoders import Encoder, Recipe
from selfsight.encoders.bounds import TooLarge, no_larger_than
from selfsight.encoders.feed import AS_IT_IS
from selfsight.errors import SelfsightError, UsageError
from selfsight.settings import Pretrain
from selfsight.system.escaping import shell_quoted
from selfsight.system.paths import TIMM
from selfsight.tasks.base import Task
from selfsight.tasks.cards import MIX, check_settings
from selfsight.tasks.mix import Together
from selfsight.tasks.table import make_task
from selfsight.training import checkpoint, plan
from selfsight.training.plan import Plan
from selfsight.training.run import SETTINGS, Run, load

LOOKED_AT = 1000  # pictures, for their mean and deviation


def initial_encoder(settings: Pretrain, size: int, pictures: Pictures, device: str) -> Encoder:
    """Build the encoder that was asked for, with weights that do not matter yet.

    What the usual mean and deviation do not suit is standardised by its own.
    """
    channels = pictures.images.shape[1]
    own: dict[str, Any] = {}
    if pictures.bits > 8 or channels not in (1, 3):
        rows = some_rows(len(pictures), LOOKED_AT)
        own["mean"], own["deviation"] = pictures.statistics(rows)
    with torch.random.fork_rng():
        if settings.start is None:
            name = plan.encoder_name(settings.encoder, size, device)
            return encoders.build(name, size=size, channels=channels, **own)
        if settings.start.startswith(TIMM):
            name = settings.start.removeprefix(TIMM)
            return encoders.build(name, size=size, channels=channels, pretrained=True, **own)
        encoder = load(settings.start)
    asked = settings.encoder
    if asked is not None and encoders.OWN.get(asked, asked) != encoder.recipe.name:
        raise UsageError(
            f"--from {settings.start} brings encoder {encoder.recipe.name!r}; leave --encoder out"
        )
    if encoder.recipe.arguments.get("img_size") not in (None, size):
        raise UsageError(
            f"--from {settings.start} takes pictures of {encoder.recipe.size} px only; give "
            f"--size {encoder.recipe.size}"
        )
    return encoders.adapted(encoder, channels)


def side_that_fits(settings: Pretrain, side: int, device: str) -> int:
    """Choose the side nearest to the data's that the encoder takes."""
    start = settings.start
    if start is None:
        return encoders.fitting_size(plan.encoder_name(settings.encoder, side, device), side)
    if start.startswith(TIMM):
        return encoders.fitting_size(start.removeprefix(TIMM), side)
    recipe = load(start).recipe
    return recipe.arguments.get("img_size") or encoders.fitting_size(recipe.name, side)


def told_of_channels(start: str | None, channels: int) -> tuple[str, ...]:
    """Say that weights of a network for other channels are carried over."""
    if start is None:
        return ()
    if start.startswith(TIMM):
        before = encoders.usual_channels(start.removeprefix(TIMM))
    else:
        before = load(start).recipe.channels
    if before == channels:
        return ()
    plural = "s" if channels > 1 else ""
    return (f"first convolution adapted from {before} to {channels} channel{plural}",)


def built(of: Plan, state: dict[str, Any] | None = None) -> tuple[Task, Recipe]:
    """Build encoder and task with the seed's weights, or those of the run's start.

    Args:
        of: How.
        state: The checkpoint that they are to take, which bounds how large they may be.

    Raises:
        UsageError: If a task or encoder cannot be built so.
        SelfsightError: If they would be far larger than the checkpoint, or the start is not there.
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


def _built(of: Plan) -> tuple[Task, Recipe]:
    for name in of.tasks if of.mix is None else (*of.tasks, MIX):
        check_settings(name, of.task_settings.get(name))
    with torch.random.fork_rng():
        torch.manual_seed(of.seed)
        recipe = dataclasses.replace(Recipe.from_json(of.encoder), feed=AS_IT_IS)
        pretrained = (of.start or "").startswith(TIMM)
        encoder = encoders.from_recipe(recipe, pretrained=pretrained)
        if of.start_found and not pretrained:
            begun = encoders.adapted(load(of.start_found), recipe.channels)
            encoder.load_state_dict(begun.state_dict())
        try:
            tasks = {
                name: make_task(name, encoder, size=of.size, **of.task_settings[name])
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
    """Build a run's tasks, encoder and heads, as its last checkpoint has them: by name.

    Raises:
        SelfsightError: If the run has no checkpoint, or it is damaged.
    """
    state = run.load_checkpoint()
    if state is None:
        raise SelfsightError(
            f"{run.path} holds no checkpoint, so its task's head is not there; go on with "
            f"selfsight pretrain --resume {shell_quoted(run.path)}"
        )
    of = Plan.of(run)
    task, _ = built(dataclasses.replace(of, start=None), state)
    checkpoint.take_up(task, state, run.path / checkpoint.LAST)
    task.to(device).eval()
    return task.tasks_by_name(of.task)
