"""Laid: tiles of a picture side by side, with white lines between them."""

import torch
from torch import Tensor

WHITE = 1.0
LINE = 0.06  # of a tile's side


def laid(tiles: Tensor, across: int, *, blank: Tensor | None = None) -> Tensor:
    """Lay tiles out in rows.

    Args:
        tiles: (N, C, t, t) in [0, 1], in reading order.
        across: Tiles a row.
        blank: (N,) bool, places that stay empty; None for none.

    Returns:
        (C, h, w) in [0, 1].
    """
    count, channels, side, _ = tiles.shape
    line = max(1, round(LINE * side))
    down = -(-count // across)
    shape = (channels, down * (side + line) - line, across * (side + line) - line)
    sheet = torch.full(shape, WHITE, device=tiles.device)
    for number, tile in enumerate(tiles):
        if blank is not None and blank[number]:
            continue
        top, left = number // across * (side + line), number % across * (side + line)
        sheet[:, top : top + side, left : left + side] = tile
    return sheet
