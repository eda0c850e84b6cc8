"""Filters: what the first layer looks for, trained beside untrained.

Each filter is drawn as the small picture it answers most to: its weights, shifted and scaled so
that its own largest deviation from zero spans the range; grey is zero.

Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
NeurIPS 2012, https://doi.org/10.1145/3065386, figure 3.
"""

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from selfsight.encoders import Encoder
from selfsight.encoders.feeding import colors_projected
from selfsight.looks.figure import save_figure

ACROSS = 8  # filters a row
GAP = 1  # pixels between filters


def first_filters(encoder: Encoder) -> Tensor:
    """Find the weights of the first convolution: -> (K, C, h, w), C channels of the pictures.

    Colours that the network is never fed are left out of its filters too: training gave them no
    reason to change.
    """
    convolution = next(m for m in encoder.modules() if isinstance(m, nn.Conv2d))
    weight = convolution.weight.detach().float().cpu()
    colours = encoder.recipe.feed.colours
    if colours == "projected":
        return colors_projected(weight)  # a symmetric projection: of the input or of the weights
    return weight.sum(dim=1, keepdim=True) if colours == "lightness" else weight


def as_pictures(filters: Tensor) -> Tensor:
    """Scale filters (K, C, h, w) to [0, 1], zero at 0.5: -> (K, 3, h, w); other C are averaged."""
    if filters.shape[1] != 3:
        filters = filters.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    most = filters.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    return 0.5 + 0.5 * filters / most


def tiled(pictures: Tensor) -> Tensor:
    """Set pictures (K, 3, h, w) out in rows on white: -> (H, W, 3)."""
    count, _, height, width = pictures.shape
    rows = -(-count // ACROSS)
    sheet = torch.ones(3, rows * (height + GAP) + GAP, ACROSS * (width + GAP) + GAP)
    for number, picture in enumerate(pictures):
        top = GAP + number // ACROSS * (height + GAP)
        left = GAP + number % ACROSS * (width + GAP)
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
