"""Puzzles' partners: the sheet of PIRL: which puzzle is of the same picture as a view?

PIRL embeds pictures and their shuffled tiles in one space, so a view looks for the puzzle of its
picture among those of other pictures.
"""

import torch

from selfsight.data.pictures.batch import Images
from selfsight.looks.mosaic import mosaic
from selfsight.looks.sheets.contrast import Pairs, PartnerSheet
from selfsight.tasks.pirl import PIRL


def of_puzzles(task: PIRL, batch: Images) -> Pairs:
    """Compare a view and a puzzle of every picture; the puzzles' tiles are drawn apart."""
    views, puzzles = task.views(batch)[0], task.puzzles(batch)
    cosine = task.embed(views).float() @ task.embed_puzzles(puzzles).float().T
    side, extent = task.side, task.side * task.grid  # beyond it a puzzle is black
    cells = puzzles[..., :extent, :extent].unfold(2, side, side).unfold(3, side, side)
    tiles = cells.permute(0, 2, 3, 1, 4, 5).flatten(1, 2)  # (B, N, C, t, t)
    return Pairs(views, torch.stack([mosaic(one, task.grid) for one in tiles]), cosine.cpu())


SHEET = PartnerSheet(of_puzzles, views="puzzles", partner="puzzle")
