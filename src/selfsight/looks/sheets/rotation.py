"""Turns: the sheet of rotation: every picture in all four rotations, and the predicted ones."""

from typing import cast

from torch import Tensor

from selfsight.data.pictures.batch import Images
from selfsight.looks.sheet import Cell, Sheet, answered, percent
from selfsight.looks.task_sheet import PicturewiseSheet
from selfsight.tasks.rotation import TURNS, Rotation

WAYS = ("upright", "a quarter left", "upside down", "a quarter right")


def lay_out(task: Rotation, batch: Images, _: tuple[str, ...]) -> Sheet:
    """Lay out pictures (B, C, S, S) turned all four ways, with the guesses."""
    turned, turns = task.hide(batch)
    chances = task.predict(turned).float().softmax(dim=1)  # (4B, 4)
    count = len(turned) // TURNS
    rows = range(count)
    samples = [
        [
            _cell(turned[k * count + row], chances[k * count + row], int(turns[k * count + row]))
            for k in range(TURNS)
        ]
        for row in rows
    ]
    return Sheet("Rotation: by how much was each picture turned?", WAYS, samples)


def in_words(_: Rotation, figures: dict[str, float], among: str) -> str:
    """Say what was measured."""
    return (
        f"On {among}, each turned all four ways, {percent(figures['accuracy'])} of the turns are "
        f"guessed; a blind guess gets {percent(figures['chance'])}."
    )


def _cell(picture: Tensor, chances: Tensor, turn: int) -> Cell:
    guess = cast(int, chances.argmax().item())
    right = guess == turn
    share = percent(float(chances[guess]))
    return Cell(picture, answered(f"{WAYS[guess]}, {share}", right=right), right)


SHEET = PicturewiseSheet(lay_out, in_words)
