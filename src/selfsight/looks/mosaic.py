"""Mosaic: tiles of a picture side by side, white lines between them, empty places chequered."""

import torch
from torch import Tensor

WHITE = 1.0
EMPTY = (0.72, 0.9)  # greys of the chequers that stand for nothing
LINE = 0.06  # of a tile's side
CHEQUERS = 6  # a side


def mosaic(tiles: Tensor, across: int, *, blank: Tensor | None = None) -> Tensor:
    """Lay tiles out in rows.

    Args:
        tiles: (N, C, t, t) in [0, 1], in reading order.
        across: Tiles a row.
        blank: (N,) bool, places that are drawn as empty whatever tile is there; None for no such
            place.

    Returns:
        (C, h, w) in [0, 1].
    """
    count, channels, side, _ = tiles.shape
    line = max(1, round(LINE * side))
    down = -(-count // across)
    shape = (channels, down * (side + line) - line, across * (side + line) - line)
    sheet = torch.full(shape, WHITE, device=tiles.device)
    for number, tile in enumerate(tiles):
        empty = blank is not None and bool(blank[number])
        top, left = number // across * (side + line), number % across * (side + line)
        sheet[:, top : top + side, left : left + side] = _chequered(tile) if empty else tile
    return sheet


def _chequered(tile: Tensor) -> Tensor:
    """Draw a chequered tile in the shape of a tile (C, t, t)."""
    place = torch.arange(tile.shape[-1], device=tile.device) * CHEQUERS // tile.shape[-1]
    dark = (place[:, None] + place) % 2 == 0
    return torch.where(dark, *EMPTY).expand_as(tile)
