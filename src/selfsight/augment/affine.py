"""Affine: every geometric change of a picture as one matrix, applied in one sampling pass.

A matrix (2, 3) maps a point of the result, in pixels from its top left corner, to the point of the
canvas that it shows. Pixel centres lie at half-integers. Where the result is coarser than the
canvas, it is sampled from a copy reduced by 2, 4, ..., so that no pixel is skipped (Williams,
"Pyramidal Parametrics", SIGGRAPH 1983, https://doi.org/10.1145/800059.801126). Only the pictures
that need a reduced copy get one.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.augment.sums import product
from selfsight.data.pictures.scaling import WHITE

# A copy reduced by r is used for results r * SWITCH / 2 to r * SWITCH times coarser than the
# canvas. Of the values between sqrt 2 and 2, this one is closest to torchvision's antialiased
# resize at reductions from 1 to 4 (benchmarks/augmentation.py prints the errors).
SWITCH = 1.7
# Canvas values, counting all channels, that a processor converts to float at a time: they and what
# is computed from them stay in its cache and in memory that is already allocated. With fewer, the
# calls and the waiting of threads for each other cost more than is saved.
AT_A_TIME = 2**21


def crop_matrix(box: Tensor, flipped: Tensor, size: int) -> Tensor:
    """Make the matrices that show a box of the canvas on the whole result, mirrored if asked.

    Args:
        box: (B, 4) top, left, height and width, in canvas pixels.
        flipped: (B,) bool, whether to mirror left to right.
        size: Side S of the result, in pixels.

    Returns:
        (B, 2, 3) float32.
    """
    top, left, height, width = box.unbind(dim=1)
    step_x = torch.where(flipped, -width, width) / size
    start_x = torch.where(flipped, left + width, left)
    zero = torch.zeros_like(top)
    across = torch.stack([step_x, zero, start_x], dim=1)
    down = torch.stack([zero, height / size, top], dim=1)
    return torch.stack([across, down], dim=1)


def turned(matrix: Tensor, angle: Tensor, shear: Tensor, size: int) -> Tensor:
    """Rotate and shear what a matrix shows, around the centre of the result.

    The picture on the result is sheared along x, then rotated clockwise, as by torchvision's
    `affine(angle, shear=[shear, 0])`: R(angle) [[1, -tan shear], [0, 1]]. A matrix maps the result
    to the canvas, so the inverse of that is applied before it.

    Args:
        matrix: (B, 2, 3) from points of the result to points of the canvas.
        angle: (B,) in radians.
        shear: (B,) in radians, below a quarter turn.
        size: Side S of the result, in pixels.

    Returns:
        (B, 2, 3).
    """
    cosine, sine, slant = angle.cos(), angle.sin(), shear.tan()
    first = torch.stack([cosine - slant * sine, sine + slant * cosine], dim=1)
    back = torch.stack([first, torch.stack([-sine, cosine], dim=1)], dim=1)  # (B, 2, 2)
    middle = torch.full((len(matrix), 2, 1), size / 2, device=matrix.device)
    moved = torch.cat(
        [back, middle - product(back, middle)], dim=2
    )  # p -> middle + back (p - middle)
    linear, offset = matrix[:, :, :2], matrix[:, :, 2:]
    return product(linear, moved) + F.pad(offset, (2, 0))


def sample(images: Tensor, extent: Tensor, matrix: Tensor, size: int) -> Tensor:
    """Sample each canvas through its matrix.

    Args:
        images: (B, C, H, H) canvases, float32 in [0, 1], or uint8 or uint16 of full range.
        extent: (B, 2) height and width of the picture on its canvas; beyond it the picture's edge
            is repeated.
        matrix: (B, 2, 3) from points of the result to points of the canvas, both in pixels.
        size: Side S of the result, in pixels.

    Returns:
        (B, C, S, S) float32 in [0, 1].
    """
    points = sampling_points(extent, matrix, images.shape[-1], size)
    if at_a_time(images) >= len(images):
        return sampled(images, points)
    crops = torch.empty(*images.shape[:2], size, size, device=images.device)
    for rows in parts(images):
        crops[rows] = sampled(images[rows], points.of(rows))
    return crops


class Points(NamedTuple):
    """Where each picture's reduced copy is sampled, in the units of `grid_sample`: -1 to 1.

    Attributes:
        across: (B, 2, S) x and y along a row; the values of `down` are added for each row.
        down: (B, 2, S) x and y to be added for each row.
        low: (B, 2) least x and y; points below are moved there.
        high: (B, 2) greatest x and y; points above are moved there.
        straight: Whether no picture is rotated or sheared, so that all rows have the same x.
        level: How often each of the B canvases is halved before it is sampled.
    """

    across: Tensor
    down: Tensor
    low: Tensor
    high: Tensor
    straight: bool
    level: list[int]

    def of(self, rows: slice) -> "Points":
        """Take the points of some pictures."""
        ends = (self.across[rows], self.down[rows], self.low[rows], self.high[rows])
        return Points(*ends, self.straight, self.level[rows])

    def at(self, rows: Tensor, level: int) -> "Points":
        """Take the points of the pictures with numbers `rows` (N,), which share one level."""
        ends = (self.across[rows], self.down[rows], self.low[rows], self.high[rows])
        return Points(*ends, self.straight, [level] * len(rows))

    def grid(self) -> Tensor:
        """Make the sampling grid: -> (B, S, S, 2), stored as (B, 2, S, S)."""
        across, down = self.across[:, :, None, :], self.down[:, :, :, None]
        size = across.shape[-1]
        grid = torch.empty(len(across), 2, size, size, device=across.device)
        if self.straight:  # clamping before the values are repeated is cheaper
            grid[:, 0] = self._inside(across[:, 0], 0)
            grid[:, 1] = self._inside(across[:, 1, :, :1] + down[:, 1], 1)
        else:
            grid[:, 0] = self._inside(across[:, 0] + down[:, 0], 0)
            grid[:, 1] = self._inside(across[:, 1] + down[:, 1], 1)
        return grid.permute(0, 2, 3, 1)

    def _inside(self, points: Tensor, axis: int) -> Tensor:
        """Clamp coordinates (B, ., .) of an axis to the least and greatest values."""
        low, high = self.low[:, axis, None, None], self.high[:, axis, None, None]
        # `clamp` between two tensors is several times slower than these two on a processor.
        return torch.minimum(torch.maximum(points, low), high)


def sampled(images: Tensor, points: Points) -> Tensor:
    """Sample all canvases at the commonest level, then again those that need another level."""
    ranked = Counter(points.level).most_common()
    crops = _on_level(images, points, ranked[0][0] if ranked else 0)
    for number, _ in ranked[1:]:
        chosen = [row for row, level in enumerate(points.level) if level == number]
        rows = torch.tensor(chosen, device=images.device)
        some = _of_rows(images, rows)
        crops.index_copy_(0, rows, _on_level(some, points.at(rows, number), number))
    return crops


def _of_rows(images: Tensor, rows: Tensor) -> Tensor:
    """Take some canvases; uint16 is viewed as int16, since few operations know uint16."""
    if images.dtype == torch.uint16:
        return images.view(torch.int16).index_select(0, rows).view(torch.uint16)
    return images.index_select(0, rows)


def _on_level(images: Tensor, points: Points, level: int) -> Tensor:
    """Sample canvases halved `level` times."""
    copy = _reduced(images.float(), 2**level)
    crops = F.grid_sample(copy, points.grid(), padding_mode="border", align_corners=False)
    return crops.div_(WHITE[images.dtype]) if images.dtype in WHITE else crops


def at_a_time(images: Tensor) -> int:
    """Give the number of canvases (B, C, H, H) to process at a time: all of them on a GPU."""
    return max(1, len(images) if images.is_cuda else AT_A_TIME // max(1, images[0:1].numel()))


def parts(images: Tensor) -> Iterator[slice]:
    """Split canvases (B, C, H, H) into slices of `at_a_time` canvases."""
    step = at_a_time(images)
    return (slice(start, start + step) for start in range(0, len(images), step))


def _level(matrix: Tensor) -> Tensor:
    """Choose how often each canvas is halved before it is sampled: -> (B,) int64."""
    # Side in canvas pixels of what a pixel of the result covers: the square root of |det|.
    a, b = matrix[:, 0, 0], matrix[:, 0, 1]
    c, d = matrix[:, 1, 0], matrix[:, 1, 1]
    span = (a * d - b * c).abs().clamp(min=1e-12).sqrt()
    return (span * (2 / SWITCH)).log2().floor().clamp(min=0).long()


def _reduced(images: Tensor, by: int) -> Tensor:
    """Average over squares of `by` pixels; the last of a line may cover less of the picture."""
    return F.avg_pool2d(images, by, ceil_mode=True) if by > 1 else images


def sampling_points(extent: Tensor, matrix: Tensor, canvas: int, size: int) -> Points:
    """Choose for every picture of a batch which reduced copy to sample, and where.

    Points are clamped to the centres of the outermost whole pixels of the picture's copy.

    Args:
        extent: (B, 2) height and width of the picture on its canvas.
        matrix: (B, 2, 3) from points of the result to points of the canvas, both in pixels.
        canvas: Side H of the canvases, in pixels.
        size: Side S of the result, in pixels.
    """
    level = _level(matrix)
    by = 2 ** level[:, None]  # (B, 1)
    side = (canvas + by - 1) // by
    centre = torch.arange(size, device=matrix.device) + 0.5
    # From here on in the units of `grid_sample`, in which a copy spans -1 to 1.
    unit = (2 / (by * side))[:, :, None]
    across = (matrix[:, :, :1] * centre + matrix[:, :, 2:]) * unit - 1  # (B, 2, S)
    down = matrix[:, :, 1:2] * centre * unit
    length = extent.flip(1) / by  # (B, 2) width and height
    whole = length.floor().clamp(min=1.0)
    # A last pixel that the picture covers only in part is not sampled; as much is left out at the
    # other end, so that a picture and its rotation by 180 degrees lose the same.
    last = whole - 0.5
    first = (0.5 + (length - whole).clamp(min=0.0)).minimum(last)
    low, high = (end * (2 / side) - 1 for end in (first, last))
    straight = bool((matrix[:, 0, 1] == 0).all() & (matrix[:, 1, 0] == 0).all())
    return Points(across, down, low, high, straight, level.tolist())
