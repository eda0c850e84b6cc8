"""Pretext: what a task asks of pictures, what the network answers and what is true, on one sheet.

*Frozen* is the network with its task's head. *Measured* are the task's own loss and metrics, beside
a blind guess, on pictures that were held out where there are such.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from selfsight.batch import Needs
from selfsight.errors import SelfsightError
from selfsight.looks import colourings, fillings, guesses, places, puzzles, turns, ways
from selfsight.looks.held_out import HeldOut
from selfsight.looks.sheet import Sheet, draw_sheet
from selfsight.progress import Bar
from selfsight.score import Score

BATCH = 64  # pictures at a time

Figures = dict[str, float]


class Look(NamedTuple):
    """How one task is looked at.

    Attributes:
        drawn: Lays out a few pictures: task, batch and names of classes -> sheet.
        said: Puts figures into words: task, figures and on which pictures they were measured.
        metrics: Measures a batch in other ways than training does, for tasks whose own metrics
            are of some of its pictures only.
    """

    drawn: Callable[[Any, Any, tuple[str, ...]], Sheet]
    said: Callable[[Any, Figures, str], str]
    metrics: Callable[[Any, Any], Figures] | None = None


LOOKS: dict[str, Look] = {
    "relative-position": Look(places.drawn, places.said),
    "jigsaw": Look(puzzles.drawn, puzzles.said),
    "colorization": Look(colourings.drawn, colourings.said, colourings.metrics),
    "colorization-vae": Look(ways.drawn, ways.said, ways.metrics),
    "inpainting": Look(fillings.drawn, fillings.said),
    "rotation": Look(turns.drawn, turns.said),
    "supervised": Look(guesses.drawn, guesses.said),
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
    figures = measured(name, task, held, seed=seed, device=device)
    needs = cast(Needs, task.needs)
    first = held.batch(0, count, needs=needs, seed=seed, device=device)
    words = LOOKS[name].said(task, figures, held.among)
    draw_sheet(LOOKS[name].drawn(task, first, classes), path, caption=words)
    return {"sheet": str(path), "pictures": len(held.pictures), **figures, "words": words}


def measured(name: str, task: nn.Module, held: HeldOut, *, seed: int, device: str) -> Figures:
    """Average a task's loss and metrics over pictures: -> these, and what a blind guess gets."""
    needs = cast(Needs, task.needs)
    total: Figures = {}
    count = len(held.pictures)
    with Bar(name, count) as bar:
        for first in range(0, count, BATCH):
            batch = held.batch(first, first + BATCH, needs=needs, seed=seed, device=device)
            score = cast(Score, task(batch))
            own = LOOKS[name].metrics
            metrics = own(task, batch) if own else score.metrics
            for key, value in {"loss": score.loss, **metrics}.items():
                total[key] = total.get(key, 0.0) + float(value) * len(batch.images) / count
            bar(min(first + BATCH, count))
    guess: dict[str, float | None] = {k: getattr(task, k, None) for k in ("blind", "chance")}
    return {key: round(value, 4) for key, value in total.items()} | {
        key: round(float(value), 4) for key, value in guess.items() if value is not None
    }
