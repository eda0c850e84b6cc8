"""Colour sequence: colour operations one after another, clamped after each, as in torchvision.

This follows torchvision's `ColorJitter` exactly, for comparison with published figures; the matrix
of `color.py` is faster. The order of brightness, contrast, saturation and hue is drawn for every
picture, and the hue is rotated in HSV (Smith, "Color Gamut Transform Pairs", SIGGRAPH 1978,
https://doi.org/10.1145/800248.807361).
"""

from collections.abc import Callable

import torch
from torch import Tensor

LUMA = (0.2989, 0.587, 0.114)  # torchvision's weights, with its digits


def one_after_another(crops: Tensor, strengths: Tensor, order: Tensor) -> Tensor:
    """Change every picture's brightness, contrast, saturation and hue in the picture's own order.

    Args:
        crops: (B, 3, S, S) float32 in [0, 1].
        strengths: (B, 4): factors of brightness, contrast and saturation, at least 0, and the share
            of a full turn of hue.
        order: (B, 4) int64: which of them comes first, second, third and last.

    Returns:
        (B, 3, S, S) float32 in [0, 1].
    """
    changed = crops.clone()
    for place in range(4):
        for number, change in enumerate(CHANGES):
            rows = (order[:, place] == number).nonzero()[:, 0]
            strength = strengths[rows, number][:, None, None, None]
            changed.index_copy_(0, rows, change(changed.index_select(0, rows), strength))
    return changed


def greyed(crops: Tensor) -> Tensor:
    """Replace colours (B, 3, S, S) by their luma, kept in three channels."""
    return _luma(crops).expand_as(crops)


def _luma(crops: Tensor) -> Tensor:
    """Compute the luma: (B, 3, S, S) -> (B, 1, S, S)."""
    red, green, blue = crops.unbind(dim=1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None]


def _blended(crops: Tensor, other: Tensor, strength: Tensor) -> Tensor:
    return (strength * crops + (1 - strength) * other).clamp(0, 1)


def _brightness(crops: Tensor, strength: Tensor) -> Tensor:
    return (strength * crops).clamp(0, 1)


def _contrast(crops: Tensor, strength: Tensor) -> Tensor:
    grey = _luma(
        crops.mean(dim=(2, 3), keepdim=True)
    )  # the mean of the luma is the luma of the mean
    return _blended(crops, grey, strength)


def _saturation(crops: Tensor, strength: Tensor) -> Tensor:
    return _blended(crops, _luma(crops), strength)


def _hue(crops: Tensor, turn: Tensor) -> Tensor:
    """Add a turn to the hue of HSV.

    The hue h lies on a circle of length 6: red at 0, green at 2, blue at 4. In a colour whose
    largest channel is v and whose smallest is v - c, the channel that is pure at p has the value
    v - c * (0 within 1 of p, rising to 1 at a distance of 2).
    """
    red, green, blue = crops.unbind(dim=1)
    least, most = crops.aminmax(dim=1)
    chroma = most - least
    divisor = torch.where(chroma > 0, chroma, 1.0)  # the hue of greys does not matter
    of_green = 2 + (blue - red) / divisor
    of_blue = 4 + (red - green) / divisor
    hue = torch.where(most == green, of_green, of_blue)
    hue = torch.where(most == red, (green - blue) / divisor, hue) + 6 * turn[:, 0]  # (B, S, S)
    pure = torch.tensor([0.0, 2.0, 4.0], device=crops.device).view(3, 1, 1)
    apart = ((hue[:, None] - pure + 3) % 6 - 3).abs()  # around the circle, in [0, 3]
    return most[:, None] - chroma[:, None] * (apart - 1).clamp(0, 1)


CHANGES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    _brightness,
    _contrast,
    _saturation,
    _hue,
)
