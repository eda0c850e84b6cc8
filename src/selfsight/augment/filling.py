"""Filling: paint the holes of a picture of any size with a network that sees small squares.

Every hole is painted separately, in a square around it of whose area it covers at most as large a
share as holes did in training. The painted square is scaled back and copied into the hole. Near the
hole's edge the painting is shifted to the colours outside, so that no seam shows: the difference at
the edge, averaged over a few pixels, fades out towards the inside. After Perez, Gangnet, Blake,
"Poisson Image Editing", SIGGRAPH 2003, https://doi.org/10.1145/1201775.882269. They spread the
difference over the whole hole, which would give a painting of low contrast the edge's colours
throughout.

Legend: K holes of one picture, H W its sides, S side of what the network sees, all in pixels.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.augment.affine import crop_matrix, sample

CELLS = 32  # cells a side: holes closer than about one cell of the longer side are painted together
MARGIN = 1.25  # least ratio of a square's side to the longer side of the hole
FADE = 2.0  # of the network's pixels, over which the shift at the edge fades out
AT_ONCE = 64  # squares the network sees at a time
TOUCHED = 1 / 512  # least share of a seen pixel that the hole must cover; less is rounding


class Square(NamedTuple):
    """The square around a hole, in pixels of the picture; it may extend beyond the picture.

    Attributes:
        top: Its first row.
        left: Its first column.
        side: Length of its sides.
        rows: The rows of the picture that it covers.
        columns: The columns of the picture that it covers.
        hole: (h, w) bool, which of these pixels are painted from this square.
    """

    top: int
    left: int
    side: int
    rows: slice
    columns: slice
    hole: Tensor


def fill_holes(
    picture: Tensor,
    hole: Tensor,
    paint: Callable[[Tensor], Tensor],
    *,
    size: int,
    share: float,
    color: Tensor,
) -> Tensor:
    """Paint the holes of one picture.

    Args:
        picture: (C, H, W) float32 in [0, 1]; its values in the holes are ignored.
        hole: (H, W) bool, True where to paint.
        paint: Maps pictures (K, C, S, S) whose holes have `color` to painted ones of that shape.
        size: Side S of what `paint` takes.
        share: Share of a square's area that holes covered when `paint` was trained, in (0, 1).
        color: (C, 1, 1) in [0, 1], the colour of holes in the input of `paint`.

    Returns:
        (C, H, W) float32 in [0, 1]; pixels outside the holes are those of `picture`, bit by bit.
    """
    squares = squares_around(hole, size=size, share=share)
    result = picture.clone()
    for start in range(0, len(squares), AT_ONCE):
        some = squares[start : start + AT_ONCE]
        seen = torch.stack([_seen(picture, hole, square, size, color) for square in some])
        for square, painted in zip(some, paint(seen), strict=True):
            _lay(painted.float(), square, picture, hole, size, result)
    return result


def squares_around(hole: Tensor, *, size: int, share: float) -> list[Square]:
    """Choose for each hole of a mask (H, W) a square that shows its surroundings.

    A square is at least S pixels wide unless the picture is smaller, since fewer pixels would have
    to be enlarged. It lies within the picture where the hole's size allows it.
    """
    return [_square(one, size, share) for one in separate_holes(hole)]


def separate_holes(hole: Tensor) -> Iterator[Tensor]:
    """Split a mask (H, W) bool into holes that do not touch: -> K masks (H, W) bool.

    Neighbours are found on a grid of at most 32 x 32 cells: pixels in the same cell or in touching
    cells belong to one hole.
    """
    height, width = hole.shape
    cell = -(-max(height, width) // CELLS)
    taken = F.max_pool2d(hole[None, None].float(), cell, ceil_mode=True)[0, 0] > 0
    number = torch.arange(1.0, taken.numel() + 1, device=hole.device).view_as(taken) * taken
    while True:  # the highest number in a hole spreads through it, one cell a pass
        spread = F.max_pool2d(number[None, None], 3, 1, 1)[0, 0] * taken
        if torch.equal(spread, number):
            break
        number = spread
    fine = number.repeat_interleave(cell, 0).repeat_interleave(cell, 1)[:height, :width]
    for one in number[taken].unique().tolist():  # one at a time, since masks may be large
        yield hole & (fine == one)


def _square(hole: Tensor, size: int, share: float) -> Square:
    """Choose the square of one hole (H, W)."""
    height, width = hole.shape
    rows, columns = hole.any(dim=1).nonzero()[:, 0], hole.any(dim=0).nonzero()[:, 0]
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    longer = max(bottom - top, right - left)
    wanted = max(size, MARGIN * longer, (int(hole.sum()) / share) ** 0.5)
    side = min(round(wanted), max(longer, min(height, width)))
    first = _start((top + bottom) / 2, side, height)
    before = _start((left + right) / 2, side, width)
    rows = slice(max(0, first), min(height, first + side))
    columns = slice(max(0, before), min(width, before + side))
    return Square(first, before, side, rows, columns, hole[rows, columns].clone())


def _start(centre: float, side: int, length: int) -> int:
    """Place a square on an axis: around its hole within the picture, or centred if it is longer."""
    if side >= length:
        return (length - side) // 2
    return min(max(0, round(centre - side / 2)), length - side)


def _seen(picture: Tensor, hole: Tensor, square: Square, size: int, color: Tensor) -> Tensor:
    """Cut a square out and scale it: -> (C, S, S), with `color` wherever a pixel touches a hole."""
    hidden = hole[square.rows, square.columns]
    visible = torch.where(hidden, color, picture[:, square.rows, square.columns])
    height, width = hidden.shape
    longer = max(height, width)
    layers = torch.cat([visible, hidden[None].float()])
    canvas = F.pad(layers, (0, longer - width, 0, longer - height))[None]
    extent = torch.tensor([[height, width]], device=hole.device, dtype=torch.float32)
    start = (square.top - square.rows.start, square.left - square.columns.start)
    box = extent.new_tensor([[*start, square.side, square.side]])
    matrix = crop_matrix(box, torch.zeros(1, dtype=torch.bool, device=hole.device), size)
    looked = sample(canvas, extent, matrix, size)[0]
    return torch.where(looked[-1] > TOUCHED, color, looked[:-1])


def _lay(
    painted: Tensor, square: Square, picture: Tensor, hole: Tensor, size: int, result: Tensor
) -> None:
    """Copy a painted square (C, S, S) into its hole of `result` (C, H, W)."""
    rows, columns = square.rows, square.columns
    scaled = _scaled(painted, square.side)
    scaled = scaled[:, _within(rows, square.top), _within(columns, square.left)]
    fade = max(1, round(FADE * square.side / size))
    shifted = _shifted(scaled, picture[:, rows, columns], hole[rows, columns], fade)
    there = result[:, rows, columns]
    there.copy_(torch.where(square.hole, shifted.clamp(0, 1), there))


def _within(part: slice, start: int) -> slice:
    """Give a part of an axis, counted from another start."""
    return slice(part.start - start, part.stop - start)


def _scaled(painted: Tensor, side: int) -> Tensor:
    """Scale (C, S, S) to (C, side, side)."""
    return F.interpolate(
        painted[None], size=(side, side), mode="bilinear", align_corners=False, antialias=True
    )[0]


def _shifted(painted: Tensor, picture: Tensor, hole: Tensor, fade: int) -> Tensor:
    """Shift a painting (C, h, w) near the edge of the hole (h, w) to the colours outside.

    Let v be 1 outside the hole and 0 inside, and let mean average over (2 fade + 1)^2 pixels. The
    painting is shifted by mean(v (picture - painted)) / mean(v), times a weight that falls from 1
    on a straight edge, where half of these pixels lie outside, to 0 where none does.
    """
    outside = (~hole).float()[None]
    difference = torch.where(hole, torch.zeros_like(painted), picture - painted)
    means = box_mean(torch.cat([difference, outside]), fade)
    near = means[-1]
    return painted + (2 * near).clamp(max=1.0) * means[:-1] / near.clamp(min=1e-6)


def box_mean(values: Tensor, reach: int) -> Tensor:
    """Average over the square of 2 reach + 1 pixels around each: (C, h, w) float32 -> (C, h, w).

    Pixels beyond the border do not count. Differences of running sums, in float64, cost the same at
    any reach, which on a photograph is a hundred pixels and more.
    """
    means = values.double()
    for dim in (1, 2):
        length = means.shape[dim]
        place = torch.arange(length, device=values.device)
        first, end = (place - reach).clamp(min=0), (place + reach + 1).clamp(max=length)
        shape = [1, -1, 1] if dim == 1 else [1, 1, -1]
        sums = F.pad(means.cumsum(dim), (0, 0, 1, 0) if dim == 1 else (1, 0))
        total = sums.index_select(dim, end) - sums.index_select(dim, first)
        means = total / (end - first).view(shape)
    return means.float()
