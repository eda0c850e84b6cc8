"""Scaling: fits a decoded picture into the square in which it is stored.

Both fits use torch's antialiased bilinear filter, on uint8 for 8-bit pictures: its fast path needs
channels last, as decoders give them. Crops are copied by numpy, because torch would start several
threads for each copy within every decoding thread.
"""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.data.source import Unreadable

Fit = Literal["canvas", "square"]
# How evaluation prepares a picture, for records.
SQUARE_VIEW = "the largest centred square, scaled by torch's antialiased bilinear filter"

WHITE = {torch.uint8: 255, torch.uint16: 65535}  # the brightest value of a sample
LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in grey (ITU-R BT.601)


def as_float(images: Tensor) -> Tensor:
    """Bring stored pictures, of 8 or 16 bits or float32 already, to float32 in [0, 1]."""
    return images.float() / WHITE[images.dtype] if images.dtype in WHITE else images


def fitted(pixels: Tensor, side: int, fit: Fit) -> Tensor:
    """Scale a picture for storage.

    Args:
        pixels: (C, H, W) uint8 or uint16.
        side: Side of the square, in pixels.
        fit: "canvas": the whole picture, shrunk to fit, never enlarged. "square": the largest
            centred square, shrunk or enlarged to fill.

    Returns:
        (C, h, w) of the same depth, h and w from `fitted_size`.
    """
    if fit == "square":
        pixels = _centred_square(pixels)
    _, height, width = pixels.shape
    return _scaled(pixels, *fitted_size(height, width, side, fit))


def fitted_size(height: int, width: int, side: int, fit: Fit) -> tuple[int, int]:
    """Give a picture's size on its canvas: height and width, at most `side`, at least 1."""
    if fit == "square":
        return side, side
    longer = max(height, width)
    if longer <= side:
        return height, width
    return max(1, round(height * side / longer)), max(1, round(width * side / longer))


def _scaled(pixels: Tensor, height: int, width: int) -> Tensor:
    """Scale to (C, height, width).

    Each new pixel is a mean with triangular weights: when shrinking, over twice the side of the
    area that it covers; when enlarging, over the nearest pixels.
    """
    if pixels.shape[1:] == (height, width):
        return pixels
    values = pixels if pixels.dtype == torch.uint8 else pixels.float()
    scaled = F.interpolate(values[None], size=(height, width), mode="bilinear", antialias=True)[0]
    return scaled if pixels.dtype == torch.uint8 else scaled.round().to(pixels.dtype)


def _centred_square(pixels: Tensor) -> Tensor:
    """Cut the largest centred square: (C, H, W) -> (C, S, S)."""
    height, width = pixels.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = pixels.permute(1, 2, 0).numpy()[top : top + side, left : left + side]
    return torch.from_numpy(np.ascontiguousarray(cut)).permute(2, 0, 1)


def convertible(have: int, need: int) -> bool:
    """Tell whether pictures of `have` channels can be converted to `need` channels."""
    return have == need or {have, need} == {1, 3}


def check_channels(have: int, need: int) -> None:
    """Refuse numbers of channels between which there is no conversion, such as 13 and 3.

    Raises:
        Unreadable: Names both.
    """
    if not convertible(have, need):
        raise Unreadable(f"{have} channels, and {need} are needed")


def with_channels(pixels: Tensor, channels: int) -> Tensor:
    """Convert colour to grey or repeat grey: (C, H, W) -> (channels, H, W) of the same depth.

    Raises:
        Unreadable: If other numbers of channels would have to be converted.
    """
    check_channels(len(pixels), channels)
    if len(pixels) == channels:
        return pixels
    if channels == 3:
        return pixels.expand(3, -1, -1)
    red, green, blue = pixels.float()
    grey = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    return grey.round().to(pixels.dtype)[None]


def with_bits(pixels: Tensor, bits: int) -> Tensor:
    """Convert 8-bit samples to 16 bits if asked; black stays black and white stays white."""
    if bits == 8 or pixels.dtype == torch.uint16:
        return pixels
    return (pixels.int() * (WHITE[torch.uint16] // WHITE[torch.uint8])).to(torch.uint16)
