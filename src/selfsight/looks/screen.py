"""Shown: stored pictures of any kind become what a screen shows, and nothing else does it."""

import numpy as np
import torch
from torch import Tensor

DARKEST, BRIGHTEST = 0.02, 0.98  # quantiles that become black and white where depth is stretched
COLOURS = 3


def screen_pixels(picture: Tensor) -> np.ndarray:
    """Bring a stored picture to what a screen shows.

    8 bits are shown as they are, floats in [0, 1] likewise. 16 bits rarely use their whole range
    (depth in mm, microscopes of 12 bits), so they are stretched from the 2nd to the 98th percentile
    of the picture, the same for all its channels. Two channels are shown as their mean, of more
    than three the first three.

    Args:
        picture: (C, H, W) uint8, uint16, or float in [0, 1].

    Returns:
        (H, W, 3) uint8.
    """
    chosen = _three_or_one(_as_bytes(picture))
    return chosen.expand(COLOURS, -1, -1).permute(1, 2, 0).contiguous().numpy()


def _as_bytes(picture: Tensor) -> Tensor:
    """Bring any depth to uint8."""
    if picture.dtype == torch.uint8:
        return picture
    values = picture.float()
    if picture.dtype == torch.uint16:
        # By numpy: torch's quantile refuses more than 16 million numbers.
        low, high = np.quantile(values.numpy(), [DARKEST, BRIGHTEST])
        values = (values - float(low)) / max(float(high - low), 1.0)
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)


def _three_or_one(picture: Tensor) -> Tensor:
    """Choose what stands for many channels: (C, H, W) uint8 -> (3 or 1, H, W)."""
    if len(picture) == 2:
        return picture.float().mean(dim=0, keepdim=True).round().to(torch.uint8)
    return picture[:COLOURS]
