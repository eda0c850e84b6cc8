"""Crops: a labelled data set made of the embedded photographs: which photograph is a crop from?

Each photograph is cut into a grid of cells; some cells are for training, the others, which share no
pixel with them, for testing. A cell's class is its photograph. Colour would give that away, so the
cells are grey; brightness and contrast would too, so both are changed at random in every cell.
Cells without structure, such as sky or night, are left out, since they cannot be told apart.
"""

import torch
from torch import Tensor

from selfsight.data.pictures.forms.arrays import Arrays
from selfsight.data.pictures.forms.classes import Labels
from selfsight.data.pictures.scaling import fitted, with_channels
from selfsight.data.pictures.source import PictureParts, PictureSource
from selfsight.draws import Draws

SIDE = 48  # of a cell, in pixels
LONGER_SIDE = 528  # photographs are first shrunk to it, so that a cell shows an object or a texture
TESTED = 0.3  # share of cells for testing
LEAST_DEVIATION = 6.0  # of a cell's brightness, in 0..255
CONTRAST = (0.4, 1.0)  # range of the factor of contrast
SEED = 0


def crops_of(photographs: PictureSource) -> PictureParts:
    """Cut every photograph into grey cells, labelled by the photograph: -> training and test."""
    titles = [photographs.title(i).rpartition(".")[0] for i in range(len(photographs))]
    cells = [_cells(photographs.decode(i)) for i in range(len(photographs))]
    labels = torch.arange(len(cells)).repeat_interleave(torch.tensor([len(c) for c in cells]))
    draws = Draws(SEED, 0, torch.arange(len(labels)))
    images = _dimmed(torch.cat(cells), draws)
    tested = draws.uniform("tested", 1)[:, 0] < TESTED
    train, test = (
        Arrays("crops", images[rows].numpy(), Labels(tuple(titles), labels[rows]))
        for rows in (~tested, tested)
    )
    return PictureParts(train, test)


def _cells(photograph: Tensor) -> Tensor:
    """Cut a photograph (C, H, W) into cells that do not overlap: -> (N, S, S) uint8."""
    grey = with_channels(fitted(photograph, LONGER_SIDE, "canvas"), 1)[0]
    cells = grey.unfold(0, SIDE, SIDE).unfold(1, SIDE, SIDE).reshape(-1, SIDE, SIDE)
    return cells[cells.float().std(dim=(1, 2)) >= LEAST_DEVIATION]


def _dimmed(cells: Tensor, draws: Draws) -> Tensor:
    """Change contrast and brightness at random, within 0..255: (N, S, S) uint8 -> the same."""
    keep, shift = draws.uniform("dimmed", 2).unbind(dim=1)
    keep = CONTRAST[0] + (CONTRAST[1] - CONTRAST[0]) * keep
    shift = (1 - keep) * 255 * shift  # so that no value leaves 0..255
    changed = cells.float() * keep[:, None, None] + shift[:, None, None]
    return changed.round().to(torch.uint8)
