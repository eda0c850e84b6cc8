"""Colourless: taking the colours out of pictures, and putting predicted ones back.

Shared by tasks that hide a picture's colours: the grey picture of the same lightness, the a and b
of CIELAB on a coarse grid, and the conversion back to sRGB.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.augment.views import centre_view
from selfsight.data.pictures.batch import Images
from selfsight.encoders import Encoder, Feed, fed
from selfsight.encoders.cielab import grey, lab, lightness, rgb
from selfsight.errors import UsageError

STRIDE = 4  # pixels from one point of the colours' grid to the next
GREY = 5.0  # a picture whose |a| and |b| stay below this has no colour
AT_A_TIME = 100  # pictures whose colours are collected at a time


def without_colour(pictures: Tensor) -> Tensor:
    """Keep only the lightness: (B, 3 or 1, h, w) sRGB in [0, 1] -> (B, 3, h, w) greys.

    The three channels share their memory.
    """
    return grey(lightness(pictures)).expand(-1, 3, -1, -1)


def colours_on_grid(pictures: Tensor) -> Tensor:
    """Reduce pictures (B, 3, S, S) to the colours' grid: -> their a and b, (B, 2, s, s)."""
    return lab(F.avg_pool2d(pictures, STRIDE, ceil_mode=True))[:, 1:]


def has_colour(ab: Tensor) -> Tensor:
    """Tell which pictures, given their a and b (B, 2, s, s), have colour: -> (B,) float, 1 or 0."""
    return (ab.abs().amax(dim=(1, 2, 3)) > GREY).float()


def with_lightness(ab: Tensor, levels: Tensor) -> Tensor:
    """Put colours (B, 2, s, s) onto lightness (B, 1, H, W) in [0, 1]: -> (B, 3, H, W) sRGB."""
    spread = F.interpolate(ab, size=levels.shape[-2:], mode="bilinear", align_corners=False)
    return rgb(torch.cat([100 * levels, spread], dim=1))


def colour_encoder(encoder: nn.Module, name: str) -> Encoder:
    """Make an encoder take only lightness, after checking that its pictures have colour channels.

    Raises:
        TypeError: If it is not an `Encoder` with named layers.
        ValueError: If its pictures do not have 3 channels.
    """
    if not isinstance(encoder, Encoder):
        raise TypeError(f"{name} needs an Encoder with named layers, got {type(encoder).__name__}")
    if encoder.recipe.channels != 3:
        channels = encoder.recipe.channels
        raise ValueError(f"{name} needs pictures of 3 channels, got {channels}")
    return cast(Encoder, fed(encoder, Feed("lightness")))


def at_network_size(pictures: Tensor, encoder: Encoder, size: int) -> Tensor:
    """Scale pictures (B, 3, H, W) to what a network takes.

    The shorter side becomes `size` pixels and the longer one a multiple of the coarsest stride; for
    a network of one fixed size, all become squares.
    """
    height, width = pictures.shape[-2:]
    if "img_size" in encoder.recipe.arguments:
        wanted = (size, size)
    else:
        step, shorter = max(encoder.layer_strides.values()), min(height, width)
        longer = max(size, round(size * max(height, width) / shorter / step) * step)
        wanted = (size, longer) if height <= width else (longer, size)
    if wanted == (height, width):
        return pictures
    scaled = F.interpolate(
        pictures, size=wanted, mode="bilinear", align_corners=False, antialias=True
    )
    return scaled.clamp(0, 1)


def colours_of(batch: Images, size: int, name: str) -> tuple[Tensor, Tensor]:
    """Collect the colours of the pictures that have any.

    Returns:
        a and b (n, 2) at every grid point of these pictures, and the share of pictures that have
        colour.

    Raises:
        UsageError: If no picture has colour.
    """
    fields = [
        colours_on_grid(centre_view(images, extent, size))
        for images, extent in zip(
            batch.images.split(AT_A_TIME), batch.extent.split(AT_A_TIME), strict=True
        )
    ]
    ab = torch.cat(fields)  # (N, 2, s, s)
    having = has_colour(ab) > 0
    if not bool(having.any()):
        raise UsageError(
            f"{name} needs pictures with colours, and none of the {len(ab)} examined has any; "
            "choose another --task"
        )
    return ab[having].permute(0, 2, 3, 1).reshape(-1, 2), having.float().mean()
