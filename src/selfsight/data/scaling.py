"""Scaling: a decoded picture fitted to the square it will be stored in.

Both ways use torch's antialiased bilinear filter on uint8, whose fast path wants pixels stored
together (channels last), as decoders give them. Crops are copied by numpy: torch would start a
team of threads for each copy, inside every thread that already decodes.
"""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Fit = Literal["canvas", "square"]

LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in grey (ITU-R BT.601)


def fitted(pixels: Tensor, side: int, fit: Fit) -> Tensor:
    """Scale a picture for storage.

    Args:
        pixels: (C, H, W) uint8.
        side: Side of the square, in pixels.
        fit: "canvas": the whole picture, shrunk to fit, never enlarged. "square": the largest
            centred square, shrunk or enlarged to fill.

    Returns:
        (C, h, w) uint8: h and w at most `side`, at least 1; both equal `side` for "square".
    """
    height, width = pixels.shape[1:]
    if fit == "square":
        return _scaled(_centred_square(pixels), side, side)
    longer = max(height, width)
    if longer <= side:
        return pixels
    return _scaled(
        pixels, max(1, round(height * side / longer)), max(1, round(width * side / longer))
    )


def _scaled(pixels: Tensor, height: int, width: int) -> Tensor:
    """Scale to (C, height, width), each new pixel a mean over the area it covers."""
    if pixels.shape[1:] == (height, width):
        return pixels
    return F.interpolate(pixels[None], size=(height, width), mode="bilinear", antialias=True)[0]


def _centred_square(pixels: Tensor) -> Tensor:
    """Cut the largest centred square: (C, H, W) -> (C, S, S)."""
    height, width = pixels.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = pixels.permute(1, 2, 0).numpy()[top : top + side, left : left + side]
    return torch.from_numpy(np.ascontiguousarray(cut)).permute(2, 0, 1)


def with_channels(pixels: Tensor, channels: int) -> Tensor:
    """Turn colour to grey or repeat grey: (C, H, W) uint8 -> (channels, H, W) uint8."""
    if len(pixels) == channels:
        return pixels
    if channels == 3:
        return pixels.expand(3, -1, -1)
    red, green, blue = pixels.float()
    grey = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    return grey.round().to(torch.uint8)[None]
