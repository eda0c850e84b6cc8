"""Side by side: a photograph before and after a run was applied to it."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.augment.colorless import without_colour
from selfsight.data.pictures.scaling import as_float, fitted
from selfsight.looks.photographs.large import as_bytes
from selfsight.looks.sheet import Cell, Sheet, draw_sheet

LONGEST = 480  # pixels of a photograph's longer side on a sheet
WIDTH = 3.2  # inches of each


def draw_side_by_side(
    title: str,
    before: Tensor,
    after: list[Tensor],
    path: Path,
    *,
    hole: Tensor | None = None,
    grey: bool = False,
) -> None:
    """Draw a photograph, what the network saw of it, and the results into a .png file.

    Args:
        title: Title of the sheet.
        before: (C, H, W) as stored.
        after: The results, (C, H, W) each.
        path: Where the sheet goes.
        hole: (H, W) bool, what was hidden of it; drawn in white.
        grey: Whether its colours were hidden.
    """
    whole = as_bytes(fitted(before, LONGEST, "canvas"))
    columns, cells = ["before"], [Cell(whole)]
    if hole is not None:
        columns.append("the hole, in white")
        small = F.adaptive_max_pool2d(hole[None, None].float(), whole.shape[1:])[0, 0] > 0
        cells.append(Cell(torch.where(small, 255, whole)))
    if grey:
        columns.append("what was seen of it")
        cells.append(Cell(without_colour(as_float(whole)[None])[0]))
    columns += ["after"] if len(after) == 1 else [f"way {k + 1}" for k in range(len(after))]
    cells += [Cell(fitted(picture, LONGEST, "canvas")) for picture in after]
    draw_sheet(Sheet(title, columns, [cells], side=WIDTH), path)
