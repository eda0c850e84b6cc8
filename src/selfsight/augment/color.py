"""Colours: brightness, contrast, saturation, hue and greyscale as one 3 x 4 matrix a picture.

Each of them is an affine map of a colour (r, g, b, 1), so all of them together are one, and a batch
is recoloured by one batched matrix product. Given up for that: the random order of the operations,
and the clamping between them; the result is clamped once.

    brightness b     x -> b x
    contrast c       x -> c x + (1 - c) m,  m the mean grey of the picture as it is by then
    saturation s     x -> s x + (1 - s) grey(x)
    hue h            x turned by 2 pi h around the grey axis, in the I and Q of YIQ
    grey             x -> grey(x)

The grey of a colour is its luma, 0.299 r + 0.587 g + 0.114 b (ITU-R BT.601). Strengths are those of
Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
https://arxiv.org/abs/2002.05709, appendix A. Hue turns YIQ where torchvision turns HSV: linear, and
the same for greys, but not the same colour for every angle.
"""

import functools
import logging
import math
from typing import NamedTuple

import torch
from torch import Tensor

from selfsight.batch import Images, LabelledImages

LUMA = (0.299, 0.587, 0.114)
# Rows Y, I, Q of the NTSC colour space.
YIQ = (LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


class ColorJitter(NamedTuple):
    """How strongly colours are changed.

    Attributes:
        brightness: Factors come from [1 - brightness, 1 + brightness], never below 0.
        contrast: Likewise.
        saturation: Likewise.
        hue: Shares of a full turn come from [-hue, hue], at most 0.5.
        share: Share of pictures that are changed at all, in [0, 1].
        grey: Share of pictures that lose their colour, in [0, 1].
    """

    brightness: float = 0.8
    contrast: float = 0.8
    saturation: float = 0.8
    hue: float = 0.2
    share: float = 0.8
    grey: float = 0.2


def jitter_colors(
    crops: Tensor, batch: Images | LabelledImages, jitter: ColorJitter, *, name: str = "view"
) -> Tensor:
    """Change every picture's colours by its own draws.

    Args:
        crops: (B, C, S, S) float32 in [0, 1]. Without three channels they come back unchanged.
        batch: Whose draws decide.
        jitter: How strongly.
        name: Which view this is: another name draws other colours.

    Returns:
        (B, C, S, S) float32 in [0, 1].
    """
    if crops.shape[1] != 3:
        _say_that_colors_stay(crops.shape[1])
        return crops
    with torch.autocast(crops.device.type, enabled=False):
        matrix = color_matrices(crops.mean(dim=(2, 3)), batch, jitter, name)
        return recolored(crops, matrix)


def recolored(crops: Tensor, matrix: Tensor) -> Tensor:
    """Apply a matrix (B, 3, 4) to every colour of its picture (B, 3, S, S), and clamp to [0, 1]."""
    flat = torch.baddbmm(matrix[:, :, 3:], matrix[:, :, :3], crops.flatten(2))
    return flat.clamp_(0, 1).view_as(crops)


def color_matrices(
    mean: Tensor, batch: Images | LabelledImages, jitter: ColorJitter, name: str
) -> Tensor:
    """Draw a matrix for every picture from its mean colour (B, 3): -> (B, 3, 4)."""
    drawn = batch.draws.uniform(f"{name}/colors", 6)
    strengths = torch.tensor(jitter[:3], device=mean.device)
    factors = (1 + strengths * (2 * drawn[:, :3] - 1)).clamp(min=0)
    angles = 2 * math.pi * jitter.hue * (2 * drawn[:, 3] - 1)
    changed = composed(mean, factors, angles)
    still = torch.eye(3, 4, device=mean.device).expand_as(changed)
    matrix = torch.where((drawn[:, 4] < jitter.share)[:, None, None], changed, still)
    grey = _luma(mean)[None, None, :] @ matrix  # (B, 1, 4)
    return torch.where((drawn[:, 5] < jitter.grey)[:, None, None], grey.expand_as(matrix), matrix)


def composed(mean: Tensor, factors: Tensor, angles: Tensor) -> Tensor:
    """Multiply brightness, contrast, saturation and hue into one matrix, in this order.

    Args:
        mean: (B, 3) mean colours.
        factors: (B, 3) of brightness, contrast and saturation, at least 0.
        angles: (B,) of hue, in radians.

    Returns:
        (B, 3, 4).
    """
    luma = _luma(mean)
    eye = torch.eye(3, device=mean.device)
    bright, contrast, saturation = factors[:, :, None, None].unbind(dim=1)  # each (B, 1, 1)
    # The mean grey after the change of brightness is b m, so contrast adds (1 - c) b m.
    offset = ((1 - contrast[:, 0]) * bright[:, 0] * (mean @ luma)[:, None]).expand(-1, 3)
    grey = luma.expand(3, 3)  # each row gives the luma
    turned = _hue_turn(angles) @ (saturation * eye + (1 - saturation) * grey)  # (B, 3, 3)
    # Grey stays grey under saturation and hue, so the offset passes through unchanged.
    return torch.cat([turned * (bright * contrast), offset[:, :, None]], dim=2)


def _hue_turn(angles: Tensor) -> Tensor:
    """Turn I and Q by an angle (B,), leaving Y: -> (B, 3, 3) on red, green and blue."""
    yiq = torch.tensor(YIQ, device=angles.device)
    cosine, sine = angles.cos(), angles.sin()
    zero, one = torch.zeros_like(cosine), torch.ones_like(cosine)
    rows = [one, zero, zero, zero, cosine, -sine, zero, sine, cosine]
    turn = torch.stack(rows, dim=1).view(-1, 3, 3)
    return torch.linalg.inv(yiq) @ turn @ yiq


def _luma(like: Tensor) -> Tensor:
    return torch.tensor(LUMA, device=like.device)


@functools.cache
def _say_that_colors_stay(channels: int) -> None:
    logging.getLogger("selfsight").warning(
        "colours are not changed: that needs 3 channels, and the pictures have %d", channels
    )
