"""Places: the sheet of relative position: patches laid where the network thinks they belong."""

import torch
from torch import Tensor

from selfsight.data.pictures.batch import Images
from selfsight.looks.mosaic import mosaic
from selfsight.looks.sheet import Cell, Sheet, answered, percent
from selfsight.looks.task_sheet import PicturewiseSheet
from selfsight.tasks.relative_position import GRID, PATCHES, SIDES, RelativePosition

MIDDLE = PATCHES // 2


def lay_out(task: RelativePosition, batch: Images, _: tuple[str, ...]) -> Sheet:
    """Lay the eight neighbours of B middle patches around them, by the guesses and in truth."""
    patches, sides = task.hide(batch)
    chances = task.predict(patches).float().softmax(dim=2)  # (B, Q, 8)
    patches = patches.unflatten(0, (-1, PATCHES))  # (B, 9, C, p, p)
    asked = (task.pairs[:, 0] == MIDDLE).nonzero()[:, 0]
    neighbours = task.pairs[asked, 1]
    samples = [
        _sample(patches[row], neighbours, chances[row, asked], sides[row, asked])
        for row in range(len(patches))
    ]
    title = "Relative position: on which side of the middle patch does each neighbour lie?"
    return Sheet(title, ("answer", "truth"), samples)


def in_words(_: RelativePosition, figures: dict[str, float], among: str) -> str:
    """Say what was measured."""
    return (
        f"On {among}, {percent(figures['accuracy'])} of the sides are guessed, over all pairs of "
        f"neighbours; a blind guess gets {percent(figures['chance'])}. Each neighbour lies where "
        "it is thought to be; of several in one place the surest is seen, and chequered places are "
        "none's."
    )


def _sample(
    patches: Tensor, neighbours: Tensor, chances: Tensor, sides: Tensor
) -> tuple[Cell, Cell]:
    """Draw one picture: patches (9, C, p, p), its 8 neighbours, their chances (8, 8) and sides."""
    shares, guesses = chances.max(dim=1)
    answer, blank = torch.ones_like(patches), torch.ones(PATCHES, dtype=torch.bool)
    answer[MIDDLE], blank[MIDDLE] = patches[MIDDLE], False
    for one in shares.argsort().tolist():  # the surest last, over the others
        down, across = SIDES[int(guesses[one])]
        place = MIDDLE + GRID * down + across
        answer[place], blank[place] = patches[neighbours[one]], False
    count = int((guesses == sides).sum())
    right = count == len(sides)
    note = answered(f"{count} of {len(sides)} right", right=right)
    return Cell(mosaic(answer, GRID, blank=blank), note, right), Cell(mosaic(patches, GRID))


SHEET = PicturewiseSheet(lay_out, in_words)
