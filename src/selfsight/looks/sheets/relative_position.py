"""Places: the sheet of relative position: patches at the places that the network predicts."""

import torch
from torch import Tensor

from selfsight.data.pictures.batch import Images
from selfsight.looks.mosaic import mosaic
from selfsight.looks.sheet import Cell, Sheet, answered, percent
from selfsight.looks.task_sheet import PicturewiseSheet
from selfsight.tasks.relative_position import GRID, PATCHES, SIDES, RelativePosition

MIDDLE = PATCHES // 2


def lay_out(task: RelativePosition, batch: Images, _: tuple[str, ...]) -> Sheet:
    """Lay out B middle patches with their eight neighbours at the predicted and the true places."""
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
        f"neighbours; a blind guess gets {percent(figures['chance'])}. Each neighbour is drawn "
        "at its predicted place; where several have the same place the surest one is drawn, and "
        "places that no patch has are chequered."
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
