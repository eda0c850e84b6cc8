"""Affine: every geometric change of a picture as one matrix, applied in one sampling pass.

A matrix (2, 3) takes a point of the result, in pixels from its top left corner, to the point of the
canvas it shows. Pixel centres lie at halves. Where the result is coarser than the canvas, it is
sampled from a copy reduced by 2, 4, ..., so that nothing is skipped: the copies lie side by side in
one atlas (Williams, "Pyramidal Parametrics", SIGGRAPH 1983, https://doi.org/10.1145/800059.801126),
and a picture that needs another copy only looks elsewhere in it.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


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


def sample(images: Tensor, extent: Tensor, matrix: Tensor, size: int) -> Tensor:
    """Look at each canvas through its matrix.

    Args:
        images: (B, C, H, H) float32 canvases.
        extent: (B, 2) height and width of the picture on its canvas; what lies beyond repeats
            the picture's edge.
        matrix: (B, 2, 3) from points of the result to points of the canvas, both in pixels.
        size: Side S of the result, in pixels.

    Returns:
        (B, C, S, S) float32 in the range of `images`.
    """
    side = images.shape[-1]
    levels = 1 + max(0, round(math.log2(side / size)))  # the whole canvas on one result
    level, scale = _level(matrix, levels)
    x, y = _points(matrix, size)  # (B, S, S) in canvas pixels
    x = _inside(x * scale, extent[:, 1], scale)
    y = _inside(y * scale, extent[:, 0], scale)
    atlas, offsets = _atlas(images, levels)
    x = x + offsets[level][:, None, None]
    height, width = atlas.shape[-2:]
    grid = torch.stack([x * (2 / width) - 1, y * (2 / height) - 1], dim=-1)
    return F.grid_sample(atlas, grid, padding_mode="border", align_corners=False)


def _level(matrix: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Choose the copy whose pixels are nearest in size to the result's: number and scale."""
    # Canvas pixels a pixel of the result spans, from its area: the square root of |det|.
    a, b = matrix[:, 0, 0], matrix[:, 0, 1]
    c, d = matrix[:, 1, 0], matrix[:, 1, 1]
    span = (a * d - b * c).abs().clamp(min=1e-12).sqrt()
    level = span.log2().round().clamp(0, levels - 1)
    return level.long(), torch.exp2(-level)[:, None, None]


def _points(matrix: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Take every pixel centre of the result through the matrix: -> x and y, each (B, S, S)."""
    centre = torch.arange(size, device=matrix.device) + 0.5
    row = matrix[:, :, :, None, None]  # (B, 2, 3, 1, 1)
    across, down = centre[None, None, :], centre[None, :, None]
    x = row[:, 0, 0] * across + row[:, 0, 1] * down + row[:, 0, 2]
    y = row[:, 1, 0] * across + row[:, 1, 1] * down + row[:, 1, 2]
    return x, y


def _inside(points: Tensor, limit: Tensor, scale: Tensor) -> Tensor:
    """Keep points between the centres of the picture's outermost whole pixels on its copy."""
    length = limit[:, None, None] * scale
    whole = length.floor().clamp(min=1.0)
    # A last pixel that is only partly picture is not looked at; as much is left out at the other
    # end, so that a picture and its half turn lose the same.
    first = 0.5 + (length - whole).clamp(min=0.0)
    return torch.minimum(torch.maximum(points, first.minimum(whole - 0.5)), whole - 0.5)


def _atlas(images: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Lay the canvas and its reduced copies side by side: -> atlas, where each copy begins."""
    copies, starts = [images], [0]
    for _ in range(levels - 1):
        starts.append(starts[-1] + copies[-1].shape[-1])
        copies.append(F.avg_pool2d(copies[-1], 2, ceil_mode=True))
    side = images.shape[-1]
    padded = [F.pad(copy, (0, 0, 0, side - copy.shape[-2])) for copy in copies]
    atlas = torch.cat(padded, dim=-1) if levels > 1 else images
    return atlas, torch.tensor(starts, device=images.device, dtype=torch.float32)
