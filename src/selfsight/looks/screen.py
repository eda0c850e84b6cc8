"""Screen: the one place where stored pictures are converted to what a screen shows."""

import numpy as np
import torch
from torch import Tensor

DARKEST, BRIGHTEST = 0.02, 0.98  # quantiles that become black and white where depth is stretched
COLOURS = 3


def screen_pixels(picture: Tensor) -> np.ndarray:
    """Convert a stored picture to what a screen shows.

    Pictures of 8 bits and floats in [0, 1] are shown unchanged. Pictures of 16 bits rarely use
    their whole range (depth in mm, microscopes of 12 bits), so the range from the 2nd to the 98th
    percentile over all channels is stretched to black and white. Two channels are shown as their
    mean; of more than three the first three are shown.

    Args:
        picture: (C, H, W) uint8, uint16, or float in [0, 1].

    Returns:
        (H, W, 3) uint8.
    """
    chosen = _three_or_one(_as_bytes(picture))
    return chosen.expand(COLOURS, -1, -1).permute(1, 2, 0).contiguous().numpy()


def _as_bytes(picture: Tensor) -> Tensor:
    """Convert a picture of any depth to uint8."""
    if picture.dtype == torch.uint8:
        return picture
    values = picture.float()
    if picture.dtype == torch.uint16:
        # By numpy: torch's quantile refuses more than 16 million numbers.
        low, high = np.quantile(values.numpy(), [DARKEST, BRIGHTEST])
        values = (values - float(low)) / max(float(high - low), 1.0)
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)


def _three_or_one(picture: Tensor) -> Tensor:
    """Reduce any number of channels to three or one: (C, H, W) uint8 -> (3 or 1, H, W)."""
    if len(picture) == 2:
        return picture.float().mean(dim=0, keepdim=True).round().to(torch.uint8)
    return picture[:COLOURS]
