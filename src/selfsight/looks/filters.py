"""Filters: what the first layer looks for, trained beside untrained.

Each filter is drawn as the small picture to which it responds most strongly. Its weights are
shifted and scaled so that zero is grey and the largest deviation from zero is black or white.

Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
NeurIPS 2012, https://doi.org/10.1145/3065386, figure 3.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from selfsight.encoders import Encoder
from selfsight.encoders.feed import colors_projected
from selfsight.encoders.patch_dictionary import SelfsightPatchDictionary
from selfsight.looks.figure import save_figure

ACROSS = 8  # filters a row, and more where there are more rows than that
GAP = 1  # pixels between filters
SOBEL = torch.tensor([[-0.5, 0, 0.5], [-1, 0, 1], [-0.5, 0, 0.5]])  # as in `encoders.feeding`


def first_filters(encoder: Encoder) -> Tensor:
    """Find the weights of the first convolution: -> (K, C, h, w), C channels of the pictures.

    If the network never gets some of the colours, these are removed from its filters too, since
    training could not change them. For a patch dictionary, the filters are what patches are
    multiplied by; for a network that gets gradients, the filters of the grey picture itself.
    """
    if isinstance(encoder.model, SelfsightPatchDictionary):
        return _of_dictionary(encoder.model)
    convolution = next(m for m in encoder.modules() if isinstance(m, nn.Conv2d))
    weight = convolution.weight.detach().float().cpu()
    colours = encoder.recipe.feed.colours
    if colours == "projected":
        return colors_projected(weight)  # a symmetric projection: of the input or of the weights
    if colours == "sobel":
        return _of_gradients(weight)
    return weight.sum(dim=1, keepdim=True) if colours == "lightness" else weight


def _of_gradients(weight: Tensor) -> Tensor:
    """Convert filters of gradients (K, C, h, w) to filters of grey: -> (K, 1, h + 2, w + 2).

    A filter applied after a Sobel filter equals one filter, the convolution of the two. The length
    of the gradient is no linear function of the picture, so its weights are shown only where it is
    the network's only input.
    """
    if weight.shape[1] == 1:
        return weight
    across, down = (weight[:, first::3].sum(dim=1, keepdim=True) for first in (0, 1))
    return F.conv_transpose2d(across, SOBEL[None, None]) + F.conv_transpose2d(
        down, SOBEL.T[None, None]
    )


def _of_dictionary(model: SelfsightPatchDictionary) -> Tensor:
    """Find the filters of patches p of deviation 1: z . c = p J W c, up to a constant."""
    products = (model.whitening @ model.centroids.T).T  # (K, D)
    filters = products - products.mean(dim=1, keepdim=True)
    return filters.unflatten(1, (-1, model.patch, model.patch)).detach().float().cpu()


def as_pictures(filters: Tensor) -> Tensor:
    """Scale filters (K, C, h, w) to [0, 1], zero at 0.5: -> (K, 3, h, w), a mean unless C is 3."""
    if filters.shape[1] != 3:
        filters = filters.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    most = filters.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    return 0.5 + 0.5 * filters / most


def tiled(pictures: Tensor) -> Tensor:
    """Arrange pictures (K, 3, h, w) in rows on white: -> (H, W, 3)."""
    count, _, height, width = pictures.shape
    across = max(ACROSS, math.ceil(math.sqrt(count)))
    rows = -(-count // across)
    sheet = torch.ones(3, rows * (height + GAP) + GAP, across * (width + GAP) + GAP)
    for number, picture in enumerate(pictures):
        top = GAP + number // across * (height + GAP)
        left = GAP + number % across * (width + GAP)
        sheet[:, top : top + height, left : left + width] = picture
    return sheet.permute(1, 2, 0)


def draw_filters(trained: Encoder, untrained: Encoder, path: Path) -> None:
    """Draw the first layer's filters of both networks side by side into a .png file."""
    figure = Figure(figsize=(9, 4.8), dpi=110, layout="constrained")
    axes: list[Axes] = list(figure.subplots(1, 2))
    for axis, encoder, name in zip(
        axes, (untrained, trained), ("untrained", "trained"), strict=True
    ):
        axis.imshow(tiled(as_pictures(first_filters(encoder))).numpy(), interpolation="nearest")
        axis.set_title(f"first layer, {name}")
        axis.set_axis_off()
    save_figure(figure, path)
