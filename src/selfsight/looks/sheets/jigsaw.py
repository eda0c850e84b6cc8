"""Puzzles: the sheet of jigsaw: shuffled tiles, and the order that the network predicts."""

from torch import Tensor

from selfsight.data.pictures.batch import Images
from selfsight.looks.mosaic import mosaic
from selfsight.looks.sheet import Cell, Sheet, answered, percent
from selfsight.looks.task_sheet import PicturewiseSheet
from selfsight.tasks.jigsaw import Jigsaw


def lay_out(task: Jigsaw, batch: Images, _: tuple[str, ...]) -> Sheet:
    """Lay out B puzzles: shuffled, in the predicted order, and in the true one."""
    tiles, numbers = task.hide(batch)
    chances = task.predict(tiles).float().softmax(dim=1)  # (B, P)
    pieces = tiles.unflatten(0, (-1, task.tiles))  # (B, N, C, t, t)
    guesses = chances.argmax(dim=1)
    samples = [
        _sample(task, pieces[row], int(guesses[row]), int(numbers[row]), float(chances[row].max()))
        for row in range(len(pieces))
    ]
    title = f"Jigsaw: how were the {task.tiles} tiles shuffled?"
    return Sheet(title, ("question", "answer", "truth"), samples)


def in_words(task: Jigsaw, figures: dict[str, float], among: str) -> str:
    """Say what was measured."""
    return (
        f"On {among}, {percent(figures['accuracy'])} of the puzzles of {task.grid} x {task.grid} "
        f"tiles are solved; a blind guess among {len(task.permutations):,} permutations solves "
        f"{percent(figures['chance'])}."
    )


def _sample(
    task: Jigsaw, pieces: Tensor, guess: int, number: int, sure: float
) -> tuple[Cell, Cell, Cell]:
    """Draw one puzzle of pieces (N, C, t, t)."""
    order, truth = (task.permutations[one].argsort() for one in (guess, number))
    right = guess == number
    in_place = int((order == truth).sum())
    words = f"solved, {percent(sure)}" if right else f"{in_place} of {len(pieces)} in place"
    return (
        Cell(mosaic(pieces, task.grid)),
        Cell(mosaic(pieces[order], task.grid), answered(words, right=right), right),
        Cell(mosaic(pieces[truth], task.grid)),
    )


SHEET = PicturewiseSheet(lay_out, in_words)
