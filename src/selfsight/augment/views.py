"""Views: what a task sees of a picture, another crop for every sample.

Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, https://arxiv.org/abs/1409.4842,
section 6: a box of random area and aspect ratio, scaled to one size. Areas and ratios follow
torchvision's `RandomResizedCrop`: ten tries at a box that fits, then the largest central one whose
ratio is allowed. Boxes are not rounded to whole pixels.
"""

import math

import torch
from torch import Tensor

from selfsight.augment.affine import crop_matrix, sample
from selfsight.batch import Images, LabelledImages

TRIES = 10


def crop_and_flip(
    batch: Images | LabelledImages,
    size: int,
    *,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    name: str = "view",
) -> Tensor:
    """Cut a random box out of every picture, scale it, and mirror half of them.

    Args:
        batch: Pictures (B, C, H, H) on their canvases.
        size: Side S of the crops, in pixels.
        scale: Least and greatest share of the picture's area, in (0, 1].
        ratio: Least and greatest width over height.
        name: Which view this is: another name draws another box.

    Returns:
        (B, C, S, S) float32 in [0, 1], on the batch's device.
    """
    with torch.autocast(batch.images.device.type, enabled=False):
        extent = batch.extent.float()
        box = random_boxes(batch, scale, ratio, name)
        flipped = batch.draws.uniform(f"{name}/flip", 1)[:, 0] < 0.5
        return sample(as_float(batch.images), extent, crop_matrix(box, flipped, size), size)


def as_float(images: Tensor) -> Tensor:
    """Bring stored pictures to float32 in [0, 1]."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def random_boxes(
    batch: Images | LabelledImages,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    name: str,
) -> Tensor:
    """Draw a box for every picture: -> (B, 4) top, left, height, width in canvas pixels."""
    height, width = batch.extent.float()[:, :, None].unbind(dim=1)  # each (B, 1)
    drawn = batch.draws.uniform(f"{name}/box", 2 * TRIES + 2)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    area = (scale[0] + (scale[1] - scale[0]) * drawn[:, :TRIES]) * height * width
    aspect = (low + (high - low) * drawn[:, TRIES : 2 * TRIES]).exp()
    tall, wide = (area / aspect).sqrt(), (area * aspect).sqrt()  # (B, tries)

    fits = (tall <= height) & (wide <= width)
    first = fits.int().argmax(dim=1, keepdim=True)  # the first try that fits
    found = fits.any(dim=1, keepdim=True)
    tall = torch.where(found, tall.gather(1, first), torch.minimum(height, width / ratio[0]))
    wide = torch.where(found, wide.gather(1, first), torch.minimum(width, height * ratio[1]))

    place = torch.where(found, drawn[:, 2 * TRIES :], torch.full_like(drawn[:, :2], 0.5))
    top, left = place[:, :1] * (height - tall), place[:, 1:] * (width - wide)
    return torch.cat([top, left, tall, wide], dim=1)


def centre_view(images: Tensor, extent: Tensor, size: int) -> Tensor:
    """Look at the largest centred square of every picture, as evaluation does.

    Args:
        images: (B, C, H, H) canvases, uint8 in [0, 255] or float32 in [0, 1].
        extent: (B, 2) height and width of the picture on its canvas, in pixels.
        size: Side S of the view, in pixels.

    Returns:
        (B, C, S, S) float32 in [0, 1].
    """
    side = extent.float().amin(dim=1, keepdim=True)  # (B, 1)
    box = torch.cat([(extent - side) / 2, side, side], dim=1)
    matrix = crop_matrix(box, torch.zeros_like(side[:, 0], dtype=torch.bool), size)
    return sample(as_float(images), extent.float(), matrix, size)
