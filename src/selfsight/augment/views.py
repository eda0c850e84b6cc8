"""Views: random crops of pictures, and the centre crop of evaluation.

Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, https://arxiv.org/abs/1409.4842,
section 6: a box of random area and aspect ratio, scaled to one size. Areas and ratios follow
torchvision's `RandomResizedCrop`: ten tries to draw a box that fits, then the largest central box
whose ratio is allowed. Boxes are not rounded to whole pixels.
"""

import math

import torch
from torch import Tensor

from selfsight.augment.affine import crop_matrix, sample, turned
from selfsight.data.pictures.batch import Images, LabelledImages
from selfsight.errors import UsageError

TRIES = 10


def random_view(
    batch: Images | LabelledImages,
    size: int,
    *,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.5,
    degrees: float = 0.0,
    shear: float = 0.0,
    name: str = "view",
) -> Tensor:
    """Cut a random box out of every picture, scale it, and mirror, rotate and shear it.

    All of it is one matrix and one sampling. Rotation and shear are around the crop's centre. What
    they bring into view from outside the box is more of the picture, or its repeated edge where it
    ends: no black corner gives the angle away. The repeated edge can, so with `degrees` or `shear`
    a task must not predict the angle.

    Args:
        batch: Pictures (B, C, H, H) on their canvases.
        size: Side S of the crops, in pixels.
        scale: Least and greatest share of the picture's area, in (0, 1].
        ratio: Least and greatest width over height.
        flip: Share of pictures mirrored left to right, in [0, 1].
        degrees: Rotations are drawn from [-degrees, degrees], at most 180.
        shear: Angles by which upright lines lean are drawn from [-shear, shear] degrees, below 90.
        name: Which view this is: another name draws another box.

    Returns:
        (B, C, S, S) float32 in [0, 1], on the batch's device.

    Raises:
        UsageError: If a setting is outside its range.
    """
    with torch.autocast(batch.images.device.type, enabled=False):
        matrix = view_matrices(
            batch,
            size,
            scale=scale,
            ratio=ratio,
            flip=flip,
            degrees=degrees,
            shear=shear,
            name=name,
        )
        return sample(batch.images, batch.extent.float(), matrix, size)


def view_matrices(
    batch: Images | LabelledImages,
    size: int,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    flip: float,
    degrees: float,
    shear: float,
    name: str,
) -> Tensor:
    """Draw the matrices of `random_view`, with its arguments: -> (B, 2, 3), see `crop_matrix`."""
    _check(size, scale, ratio, flip, degrees, shear)
    box = random_boxes(batch, scale, ratio, name)
    flipped = batch.draws.uniform(f"{name}/flip", 1)[:, 0] < flip
    matrix = crop_matrix(box, flipped, size)
    if degrees or shear:
        drawn = (2 * batch.draws.uniform(f"{name}/turn", 2) - 1) * (math.pi / 180)
        matrix = turned(matrix, degrees * drawn[:, 0], shear * drawn[:, 1], size)
    return matrix


def _check(
    size: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    flip: float,
    degrees: float,
    shear: float,
) -> None:
    """Refuse settings outside their ranges; written so that NaN is refused too."""
    if size < 1:
        raise UsageError(f"a view's side must be at least 1 pixel, got {size}")
    if not 0 < scale[0] <= scale[1] <= 1:
        raise UsageError(f"scale must be shares of the area, 0 < least <= most <= 1, got {scale}")
    if not 0 < ratio[0] <= ratio[1] < math.inf:
        raise UsageError(f"ratio must be two numbers, 0 < least <= most, got {ratio}")
    if not 0 <= flip <= 1:
        raise UsageError(f"flip must be a share of the pictures, from 0 to 1, got {flip}")
    if not 0 <= degrees <= 180:
        raise UsageError(f"degrees must be from 0 to 180, got {degrees}")
    if not 0 <= shear < 90:
        raise UsageError(f"shear must be from 0 to below 90 degrees, got {shear}")


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
    """Cut out and scale the largest centred square of every picture, as evaluation does.

    Args:
        images: (B, C, H, H) canvases, float32 in [0, 1], or uint8 or uint16 of full range.
        extent: (B, 2) height and width of the picture on its canvas, in pixels.
        size: Side S of the view, in pixels.

    Returns:
        (B, C, S, S) float32 in [0, 1].
    """
    side = extent.float().amin(dim=1, keepdim=True)  # (B, 1)
    box = torch.cat([(extent - side) / 2, side, side], dim=1)
    matrix = crop_matrix(box, torch.zeros_like(side[:, 0], dtype=torch.bool), size)
    return sample(images, extent.float(), matrix, size)
