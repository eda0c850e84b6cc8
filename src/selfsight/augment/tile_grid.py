"""Tile grid: crops are divided into cells, and a smaller tile is cut out of every cell.

A tile lies at a random place within its cell, or within a part of it. So neighbours are separated
by gaps of varying width, and neither continuing lines nor the grid tell which tiles were side by
side: Doersch, Gupta, Efros, "Unsupervised Visual Representation Learning by Context Prediction",
ICCV 2015, https://arxiv.org/abs/1505.05192, section 3.

Cells are numbered in reading order: 0 is top left.
"""

import torch
from torch import Tensor

from selfsight.data.pictures.batch import Images


def side_of_tiles(size: int, grid: int, share: float) -> int:
    """Give the side of a tile in pixels: a share of its cell's, at least 1.

    Args:
        size: Side S of the crops, in pixels.
        grid: Cells a side.
        share: Of the cell's side, above 0; 1 leaves no gap.

    Raises:
        ValueError: If the share is outside its range, or a cell has no pixel.

    >>> side_of_tiles(255, 3, 0.75), side_of_tiles(32, 2, 0.75)
    (64, 12)
    """
    if not 0 < share <= 1:
        raise ValueError(f"a tile's share of its cell must be above 0 and at most 1, got {share}")
    if size < grid:
        raise ValueError(f"crops must have {grid} pixels or more for {grid} cells, got {size}")
    return max(1, round(share * (size // grid)))


def cut_tiles(
    crops: Tensor,
    batch: Images,
    grid: int,
    side: int,
    *,
    cells: Tensor | None = None,
    pitch: int | None = None,
    play: int | None = None,
    name: str = "tiles",
) -> Tensor:
    """Cut a tile out of cells of every crop, each at a random place within its cell or part of it.

    Args:
        crops: (B, C, S, S).
        batch: Supplies the draws.
        grid: Cells a side, G. The remainder of S / G is cut off at the right and the bottom.
        side: Side t of the tiles, in pixels, at most the pitch.
        cells: (B, N) int64, the cells to cut out of every crop, in this order; None is all G * G
            cells in reading order.
        pitch: Pixels from one cell to the next; None is S // G.
        play: Greatest offset of a tile, downwards and to the right, from its cell's corner, in
            pixels; None is all that the cell allows. Gaps are from pitch - t - play to
            pitch - t + play.
        name: Another name draws other places.

    Returns:
        (B, N, C, t, t).
    """
    cell = crops.shape[-1] // grid if pitch is None else pitch
    play = cell - side if play is None else play
    if cells is None:
        cells = torch.arange(grid * grid, device=crops.device).expand(len(crops), -1)
    drawn = batch.draws.uniform(name, 2 * cells.shape[1]).view(len(crops), -1, 2)
    offset = (drawn * (play + 1)).long()  # (B, N, 2) down and across
    top = cells.div(grid, rounding_mode="floor") * cell + offset[..., 0]
    left = cells % grid * cell + offset[..., 1]
    windows = crops.unfold(2, side, 1).unfold(3, side, 1)  # (B, C, tops, lefts, t, t), a view
    row = torch.arange(len(crops), device=crops.device)[:, None]
    return windows.permute(0, 2, 3, 1, 4, 5)[row, top, left]


def put_together(tiles: Tensor, grid: int) -> Tensor:
    """Join tiles side by side in reading order: (B, N, C, t, t) -> (B, C, G t, G t)."""
    count, _, channels, side, _ = tiles.shape
    laid = tiles.reshape(count, grid, grid, channels, side, side)
    return laid.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, grid * side, grid * side)
