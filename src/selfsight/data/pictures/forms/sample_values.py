"""Sample values: converts numbers of any kind to 8 or 16 bits, and lays opacity over white.

Sixteen bits are kept. Floating-point pixels must lie in [0, 1], the only common range, and become
16 bits; any other range would have to be guessed.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from selfsight.data.source import Unreadable

SIXTEEN_BIT = 65535
STRIP = 1 << 20  # samples computed at a time
REMEDY = "save it with 8 or 16 bits, or scale it to [0, 1]"


def as_samples(values: np.ndarray) -> np.ndarray:
    """Convert pixels to 8 or 16 bits.

    Args:
        values: Of any shape; uint8, uint16, bool, or float in [0, 1].

    Returns:
        uint8 (0 and 255 for bool) or uint16 (65535 times a float, rounded), in native byte order.

    Raises:
        Unreadable: If the values are of another kind or range.
    """
    if values.dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "f":
        # written as `not (all within)` so that NaN is refused too
        if not (values.min() >= 0 and values.max() <= 1):
            raise Unreadable(f"floating-point pixels outside [0, 1]; {REMEDY}")
        samples = np.empty(values.shape, np.uint16)
        for rows in strips(values.shape):
            samples[rows] = np.rint(values[rows] * np.float64(SIXTEEN_BIT))
        return samples
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    raise Unreadable(f"pixels of kind {values.dtype}, whose range is unknown; {REMEDY}")


def strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Split a picture (H, ...) into strips of rows, to save memory in computations."""
    rows = max(1, STRIP // max(1, math.prod(shape[1:])))
    return (slice(top, top + rows) for top in range(0, shape[0], rows))


def as_picture(values: np.ndarray) -> Tensor:
    """Put channels first: uint8 or uint16 (H, W) or (H, W, C) -> (C, H, W) tensor."""
    pixels = torch.from_numpy(np.ascontiguousarray(values))
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)


def over_white(
    colour: np.ndarray, opacity: np.ndarray, *, premultiplied: bool = False
) -> np.ndarray:
    """Lay a picture with transparent parts over white.

    Args:
        colour: (H, W, C) uint8 or uint16.
        opacity: (H, W, 1) of the same type, whose greatest value is opaque.
        premultiplied: Whether the colour is already multiplied by the opacity.

    Returns:
        (H, W, C) of the same type.
    """
    whole = np.empty_like(colour)
    for rows in strips(colour.shape):
        whole[rows] = _laid(colour[rows], opacity[rows], premultiplied=premultiplied)
    return whole


def _laid(colour: np.ndarray, opacity: np.ndarray, *, premultiplied: bool) -> np.ndarray:
    """Lay a strip over white, see `over_white`."""
    most = int(np.iinfo(colour.dtype).max)
    # most * most + most / 2 just fits 32 bits for 16-bit samples
    ink = colour.astype(np.uint32) * (np.uint32(most) if premultiplied else opacity)
    paper = np.uint32(most) * (np.uint32(most) - opacity)
    if premultiplied:  # damaged files hold more colour than opacity allows
        ink = np.minimum(ink, np.uint32(most * most) - paper)
    return ((ink + paper + np.uint32(most // 2)) // np.uint32(most)).astype(colour.dtype)
