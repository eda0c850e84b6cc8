"""Affine: every geometric change of a picture as one matrix, applied in one sampling pass.

A matrix (2, 3) takes a point of the result, in pixels from its top left corner, to the point of the
canvas it shows. Pixel centres lie at halves. Where the result is coarser than the canvas, it is
sampled from a copy reduced by 2, 4, ..., so that nothing is skipped (Williams, "Pyramidal
Parametrics", SIGGRAPH 1983, https://doi.org/10.1145/800059.801126). A copy is made of those
pictures alone that look at it.
"""

from collections import Counter

import torch
import torch.nn.functional as F
from torch import Tensor

# A copy reduced by r serves results r * SWITCH / 2 to r * SWITCH times coarser than the canvas.
# Of the values between sqrt 2 and 2, this one lies nearest torchvision's antialiased resize at
# reductions from 1 to 4 (benchmarks/augmentation.py prints the errors).
SWITCH = 1.7
# Canvas values, all channels counted, that a processor brings to float at a time: they and what is
# made of them then stay in its cache, and in memory that it has already been given.
AT_A_TIME = 2**22
FULL = {torch.uint8: 255, torch.uint16: 65535}  # what 1 is stored as


def crop_matrix(box: Tensor, flipped: Tensor, size: int) -> Tensor:
    """Show a box of the canvas on the whole result, mirrored left to right where asked.

    Args:
        box: (B, 4) top, left, height and width, in canvas pixels.
        flipped: (B,) bool.
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
    """Turn and shear what a matrix shows, about the centre of the result.

    The picture on the result is sheared along x, then turned clockwise, as by torchvision's
    `affine(angle, shear=[shear, 0])`: R(angle) [[1, -tan shear], [0, 1]]. A matrix goes from the
    result to the canvas, so the inverse of that comes before it.

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
    moved = torch.cat([back, middle - back @ middle], dim=2)  # p -> middle + back (p - middle)
    linear, offset = matrix[:, :, :2], matrix[:, :, 2:]
    return linear @ moved + F.pad(offset, (2, 0))


def sample(images: Tensor, extent: Tensor, matrix: Tensor, size: int) -> Tensor:
    """Look at each canvas through its matrix.

    Args:
        images: (B, C, H, H) canvases, float32 in [0, 1], or uint8 or uint16 of full range.
        extent: (B, 2) height and width of the picture on its canvas; what lies beyond repeats
            the picture's edge.
        matrix: (B, 2, 3) from points of the result to points of the canvas, both in pixels.
        size: Side S of the result, in pixels.

    Returns:
        (B, C, S, S) float32 in [0, 1].
    """
    step = at_a_time(images)
    if len(images) <= step:
        return _sampled(images, extent, matrix, size)
    crops = torch.empty(*images.shape[:2], size, size, device=images.device)
    for start in range(0, len(images), step):
        rows = slice(start, start + step)
        crops[rows] = _sampled(images[rows], extent[rows], matrix[rows], size)
    return crops


def _sampled(images: Tensor, extent: Tensor, matrix: Tensor, size: int) -> Tensor:
    """Look at all canvases at the level that most need, and again at those that need another."""
    level = _level(matrix)
    ranked = Counter(level.tolist()).most_common()
    crops = _looked_at(images, extent, matrix, size, ranked[0][0] if ranked else 0)
    for number, _ in ranked[1:]:
        rows = (level == number).nonzero()[:, 0]
        some = images.index_select(0, rows)
        crops.index_copy_(0, rows, _looked_at(some, extent[rows], matrix[rows], size, number))
    return crops


def _looked_at(images: Tensor, extent: Tensor, matrix: Tensor, size: int, level: int) -> Tensor:
    """Look at canvases halved `level` times: as `sample`."""
    copy = _reduced(images.float(), 2**level)
    grid = _grid(extent, matrix, 2**level, copy.shape[-1], size)
    crops = F.grid_sample(copy, grid, padding_mode="border", align_corners=False)
    return crops.div_(FULL[images.dtype]) if images.dtype in FULL else crops


def at_a_time(images: Tensor) -> int:
    """Say how many canvases (B, C, H, H) to work on at a time: all of them on a GPU."""
    return max(1, len(images) if images.is_cuda else AT_A_TIME // max(1, images[0:1].numel()))


def _level(matrix: Tensor) -> Tensor:
    """Choose how often each canvas is halved before it is looked at: -> (B,) int64."""
    # Canvas pixels a pixel of the result spans, from its area: the square root of |det|.
    a, b = matrix[:, 0, 0], matrix[:, 0, 1]
    c, d = matrix[:, 1, 0], matrix[:, 1, 1]
    span = (a * d - b * c).abs().clamp(min=1e-12).sqrt()
    return (span * (2 / SWITCH)).log2().floor().clamp(min=0).long()


def _reduced(images: Tensor, by: int) -> Tensor:
    """Take means over squares of `by` pixels; the last of a line may be only partly picture."""
    return F.avg_pool2d(images, by, ceil_mode=True) if by > 1 else images


def _grid(extent: Tensor, matrix: Tensor, by: int, side: int, size: int) -> Tensor:
    """Give the points to look at on copies reduced by `by`: -> (B, S, S, 2), in [-1, 1].

    Points are kept between the centres of the picture's outermost whole pixels on its copy.
    """
    centre = torch.arange(size, device=matrix.device) + 0.5
    # From here on in the units of `grid_sample`, where a copy goes from -1 to 1.
    unit = 2 / (by * side)
    across = (matrix[:, :, :1] * centre + matrix[:, :, 2:]) * unit - 1  # (B, 2, S)
    down = matrix[:, :, 1:2] * centre * unit
    points = across[:, :, None, :] + down[:, :, :, None]  # (B, 2, S, S)
    length = extent.flip(1) / by  # (B, 2) width and height
    whole = length.floor().clamp(min=1.0)
    # A last pixel that is only partly picture is not looked at; as much is left out at the other
    # end, so that a picture and its half turn lose the same.
    last = whole - 0.5
    first = (0.5 + (length - whole).clamp(min=0.0)).minimum(last)
    low, high = ((end * (2 / side) - 1)[:, :, None, None] for end in (first, last))
    # `clamp` between two tensors is several times slower than these two on a processor.
    points = torch.minimum(torch.maximum(points, low), high)
    return points.permute(0, 2, 3, 1)
