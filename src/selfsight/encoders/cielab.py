"""CIELAB: conversion between sRGB and a lightness axis with two colour axes, as the eye sees them.

sRGB of IEC 61966-2-1, white D65 and the two-degree observer, as scikit-image's `rgb2lab` computes.
L is in [0, 100]; a (green to red) and b (blue to yellow) lie within about [-110, 110].
"""

import torch
from torch import Tensor

# X, Y and Z from linear red, green and blue, each row divided by the value of white.
_RED_GREEN_BLUE = torch.tensor(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
_WHITE = torch.tensor([0.95047, 1.0, 1.08883])
_XYZ = _RED_GREEN_BLUE / _WHITE[:, None]
_DIM = 0.04045  # of sRGB's red, green or blue: below it the curve is a line
_DARK = 0.008856  # of X, Y or Z: below it a line replaces the cube root
_SLOPE, _OFFSET = 7.787, 16 / 116
_DARK_LEVEL = 1.16 * _DARK ** (1 / 3) - 0.16  # the lightness there


def lab(pictures: Tensor) -> Tensor:
    """Convert sRGB to CIELAB.

    Args:
        pictures: (B, 3, h, w) sRGB in [0, 1].

    Returns:
        (B, 3, h, w) L, a and b.
    """
    x, y, z = _roots(_mixed(_linear(pictures), _XYZ)).unbind(dim=1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def lightness(pictures: Tensor) -> Tensor:
    """Compute only the lightness.

    Args:
        pictures: (B, 3, h, w) sRGB in [0, 1], or (B, 1, h, w) grey.

    Returns:
        (B, 1, h, w) L / 100, in [0, 1].

    Raises:
        ValueError: If the number of channels is neither 1 nor 3.
    """
    channels = pictures.shape[1]
    if channels not in (1, 3):
        raise ValueError(f"lightness needs pictures of 1 or 3 channels, got {channels}")
    linear = _linear(pictures)
    return 1.16 * _roots(linear if channels == 1 else _mixed(linear, _XYZ[1:2])) - 0.16


def rgb(colours: Tensor) -> Tensor:
    """Convert CIELAB to sRGB; each channel that no screen can show is clamped.

    Args:
        colours: (B, 3, h, w) L, a and b.

    Returns:
        (B, 3, h, w) sRGB in [0, 1].
    """
    return _curved(linear_rgb(colours).clamp(0, 1))


def grey(levels: Tensor) -> Tensor:
    """Convert lightness to grey: (B, 1, h, w) L / 100 in [0, 1] -> (B, 1, h, w) sRGB in [0, 1]."""
    light = ((levels.clamp(min=_DARK_LEVEL) + 0.16) / 1.16) ** 3
    return _curved(light + (levels.clamp(max=_DARK_LEVEL) - _DARK_LEVEL) / (1.16 * _SLOPE))


def linear_rgb(colours: Tensor) -> Tensor:
    """Convert CIELAB (B, 3, h, w) to linear red, green and blue.

    For colours that no screen shows, a channel is outside [0, 1].
    """
    level, a, b = colours.unbind(dim=1)
    y = (level + 16) / 116
    roots = torch.stack([y + a / 500, y, y - b / 200], dim=1)
    xyz = torch.where(roots > _DARK ** (1 / 3), roots**3, (roots - _OFFSET) / _SLOPE)
    return _mixed(xyz, torch.linalg.inv(_XYZ.double()))


# Both curves are a power function that continues as a line near black. Each is computed as the
# power of the part above the meeting point plus the line of the part below: a branch for every
# pixel would cost several times as much.


def _linear(pictures: Tensor) -> Tensor:
    """Convert sRGB to linear values."""
    bright = _power((pictures.clamp(min=_DIM) + 0.055) / 1.055, 2.4)
    return bright + (pictures.clamp(max=_DIM) - _DIM) / 12.92


def _curved(linear: Tensor) -> Tensor:
    """Convert linear red, green and blue in [0, 1] to sRGB."""
    bright = 1.055 * _power(linear.clamp(min=_DIM / 12.92), 1 / 2.4) - 0.055
    return (bright + 12.92 * linear.clamp(max=_DIM / 12.92) - _DIM).clamp_(0, 1)  # of rounding


def _roots(xyz: Tensor) -> Tensor:
    """Compute the cube root, or the line that continues it for dark colours."""
    line = _SLOPE * (xyz.clamp(max=_DARK) - _DARK)
    return _power(xyz.clamp(min=_DARK), 1 / 3) + line


def _power(values: Tensor, exponent: float) -> Tensor:
    """Raise values above 0 to a power, in place: takes a third of the time of `**`."""
    return values.log_().mul_(exponent).exp_()


def _mixed(pictures: Tensor, matrix: Tensor) -> Tensor:
    """Mix the channels of (B, 3, h, w) by a matrix (n, 3): -> (B, n, h, w)."""
    with torch.autocast(pictures.device.type, enabled=False):
        mixed = matrix.to(pictures) @ pictures.flatten(2)
    return mixed.unflatten(2, pictures.shape[2:])
