"""Pretext: what a task asks of pictures, what the network answers and what is true, on one sheet.

*Frozen* is the network with its task's head. *Measured* are the task's own loss and metrics, beside
a blind guess, on pictures that were held out where there are such.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from selfsight.errors import SelfsightError
from selfsight.looks.held_out import HeldOut
from selfsight.looks.sheet import Sheet, draw_sheet
from selfsight.looks.sheets import (
    colorization,
    colorization_vae,
    contrast,
    deepcluster,
    inpainting,
    jigsaw,
    patch_dictionary,
    relative_position,
    rotation,
    supervised,
)
from selfsight.system.progress import Bar
from selfsight.tasks.base import Needs, Score

BATCH = 64  # pictures at a time

Figures = dict[str, float]


class Look(NamedTuple):
    """How a task is looked at that answers picture by picture.

    Attributes:
        drawn: Lays out a few pictures: task, batch and names of classes -> sheet.
        said: Puts figures into words: task, figures and on which pictures they were measured.
        metrics: Measures a batch in other ways than training does, for tasks whose own metrics
            are of some of its pictures only.
    """

    drawn: Callable[[Any, Any, tuple[str, ...]], Sheet]
    said: Callable[[Any, Figures, str], str]
    metrics: Callable[[Any, Any], Figures] | None = None


class LookAtAll(NamedTuple):
    """How a task is looked at whose answers are among many pictures, and which measures by itself.

    Attributes:
        asked: Asks it about all pictures: task, these, and by name `count`, `seed` and `device` as
            in `look_at_task` -> sheet and figures.
        said: Puts figures into words, as for a `Look`.
    """

    asked: Callable[..., tuple[Sheet, Figures]]
    said: Callable[[Any, Figures, str], str]


LOOKS: dict[str, Look | LookAtAll] = {
    "relative-position": Look(relative_position.drawn, relative_position.said),
    "jigsaw": Look(jigsaw.drawn, jigsaw.said),
    "colorization": Look(colorization.drawn, colorization.said, colorization.metrics),
    "colorization-vae": Look(
        colorization_vae.drawn, colorization_vae.said, colorization_vae.metrics
    ),
    "inpainting": Look(inpainting.drawn, inpainting.said),
    "rotation": Look(rotation.drawn, rotation.said),
    "simclr": LookAtAll(contrast.asked, contrast.said),
    "moco": LookAtAll(contrast.asked, contrast.said),
    "moco-v2": LookAtAll(contrast.asked, contrast.said),
    "exemplar": LookAtAll(contrast.asked, contrast.said),
    "instance-discrimination": LookAtAll(contrast.asked, contrast.said),
    "pirl": LookAtAll(contrast.asked, contrast.said),
    "deepcluster": LookAtAll(deepcluster.asked, deepcluster.said),
    "patch-dictionary": LookAtAll(patch_dictionary.asked, patch_dictionary.said),
    "supervised": Look(supervised.drawn, supervised.said),
}


@torch.inference_mode()
def look_at_task(
    name: str,
    task: nn.Module,
    held: HeldOut,
    path: Path,
    *,
    count: int,
    classes: tuple[str, ...],
    seed: int,
    device: str,
) -> dict[str, Any]:
    """Measure a task on held-out pictures and draw the first of them.

    Args:
        name: The task's name.
        task: The task with its encoder and head, in evaluation mode on `device`.
        held: The pictures.
        path: Where the sheet goes.
        count: Pictures on the sheet.
        classes: Names of the classes, for a task that learns from them.
        seed: Of the questions: which crops, turns, holes.
        device: Where to compute.

    Returns:
        The task's record: figures, and the same in words.

    Raises:
        SelfsightError: If the task has no sheet.
    """
    if name not in LOOKS:
        raise SelfsightError(
            f"{name} has no sheet to be drawn; those that have: {', '.join(LOOKS)}"
        )
    look = LOOKS[name]
    if isinstance(look, LookAtAll):
        sheet, figures = look.asked(task, held, count=count, seed=seed, device=device)
        figures = {key: round(value, 4) for key, value in figures.items()}
    else:
        figures = measured(name, task, held, look.metrics, seed=seed, device=device)
        needs = cast(Needs, task.needs)
        first = held.batch(0, count, needs=needs, seed=seed, device=device)
        sheet = look.drawn(task, first, classes)
    words = look.said(task, figures, held.among)
    draw_sheet(sheet, path, caption=words)
    return {"sheet": str(path), "pictures": len(held.pictures), **figures, "words": words}


def measured(
    name: str,
    task: nn.Module,
    held: HeldOut,
    metrics: Callable[[Any, Any], Figures] | None = None,
    *,
    seed: int,
    device: str,
) -> Figures:
    """Average a task's loss and metrics over pictures: -> these, and what a blind guess gets.

    Args:
        name: The task's name.
        task: The task.
        held: The pictures.
        metrics: Measured instead of the task's own.
        seed: Of the questions.
        device: Where to compute.
    """
    needs = cast(Needs, task.needs)
    total: Figures = {}
    count = len(held.pictures)
    with Bar(name, count) as bar:
        for first in range(0, count, BATCH):
            batch = held.batch(first, first + BATCH, needs=needs, seed=seed, device=device)
            score = cast(Score, task(batch))
            figures = metrics(task, batch) if metrics else score.metrics
            for key, value in {"loss": score.loss, **figures}.items():
                total[key] = total.get(key, 0.0) + float(value) * len(batch.images) / count
            bar(min(first + BATCH, count))
    guess: dict[str, float | None] = {k: getattr(task, k, None) for k in ("blind", "chance")}
    return {key: round(value, 4) for key, value in total.items()} | {
        key: round(float(value), 4) for key, value in guess.items() if value is not None
    }
