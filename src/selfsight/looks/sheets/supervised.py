"""Guesses: the sheet of supervised training: pictures and the classes that are predicted."""

from torch import Tensor

from selfsight.data.pictures.batch import LabelledImages
from selfsight.looks.sheet import Cell, Sheet, answered, percent
from selfsight.looks.task_sheet import PicturewiseSheet
from selfsight.tasks.supervised import Supervised

SEEN = 3  # classes named under a picture
LETTERS = 20  # of a class's name


def lay_out(task: Supervised, batch: LabelledImages, classes: tuple[str, ...]) -> Sheet:
    """Lay out pictures with the three likeliest of K classes, and the true one."""
    crops, labels = task.hide(batch)
    chances = task.predict(crops).float().softmax(dim=1)  # (B, K)
    samples = [
        [_cell(crops[row], chances[row], int(labels[row]), classes)] for row in range(len(crops))
    ]
    return Sheet("Supervised: which class?", ("",), samples)


def in_words(_: Supervised, figures: dict[str, float], among: str) -> str:
    """Say what was measured."""
    return (
        f"On {among}, {percent(figures['accuracy'])} of the classes are guessed; a blind guess "
        f"gets {percent(figures['chance'])}. Percentages are how sure the network is."
    )


def _cell(picture: Tensor, chances: Tensor, label: int, classes: tuple[str, ...]) -> Cell:
    best = chances.topk(min(SEEN, len(chances)))
    guesses = [
        f"{_name(number, classes)} {percent(share)}"
        for share, number in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]
    right = int(best.indices[0]) == label
    first = answered(guesses[0], right=right)
    return Cell(picture, "\n".join([first, *guesses[1:], f"is {_name(label, classes)}"]), right)


def _name(number: int, classes: tuple[str, ...]) -> str:
    name = classes[number] if number < len(classes) else f"class {number}"
    return name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}\u2026"


SHEET = PicturewiseSheet(lay_out, in_words)
