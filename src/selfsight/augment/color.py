"""Colours: brightness, contrast, saturation, hue and greyscale as one 3 x 4 matrix a picture.

Each of these is an affine map of a colour (r, g, b, 1), so their product is one too, and one pass
of weighted sums recolours a batch. The price: operations come in a fixed order and the result is
clamped only once, at the end. `ColorJitter.exact` selects the slower path of `color_sequence.py`,
with a random order and clamping after each operation.

    brightness b     x -> b x
    contrast c       x -> c x + (1 - c) m,  m the picture's mean grey after the change of brightness
    saturation s     x -> s x + (1 - s) grey(x)
    hue h            x rotated by 2 pi h around the grey axis, in the I and Q of YIQ; as in HSV, red
                     moves towards yellow where h is above 0
    grey             x -> grey(x)

The grey of a colour is its luma, 0.299 r + 0.587 g + 0.114 b (ITU-R BT.601). Strengths are those of
Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
https://arxiv.org/abs/2002.05709, appendix A. The hue is rotated in YIQ, where torchvision rotates
it in HSV: that is linear and leaves greys as they are too, but gives other colours at most angles.
"""

import functools
import logging
import math
from typing import NamedTuple

import torch
from torch import Tensor

from selfsight.augment.color_sequence import greyed, one_after_another
from selfsight.augment.sums import Lines, product, weighted_sums
from selfsight.data.pictures.batch import Images, LabelledImages
from selfsight.errors import UsageError

LUMA = (0.299, 0.587, 0.114)
THRESHOLD = 0.5  # least value that is inverted
# Rows Y, I, Q of the NTSC colour space.
YIQ = (LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


class ColorJitter(NamedTuple):
    """How strongly colours are changed.

    Attributes:
        brightness: Factors are uniform in [1 - brightness, 1 + brightness], never below 0.
        contrast: Likewise.
        saturation: Likewise.
        hue: Shares of a full turn are uniform in [-hue, hue], at most 0.5.
        share: Share of pictures that are changed at all, in [0, 1].
        grey: Share of pictures that become grey, in [0, 1].
        exact: Whether the four changes are applied one after another in a random order, as in
            torchvision, instead of as one matrix.
    """

    brightness: float = 0.8
    contrast: float = 0.8
    saturation: float = 0.8
    hue: float = 0.2
    share: float = 0.8
    grey: float = 0.2
    exact: bool = False

    @classmethod
    def of_strength(cls, strength: float) -> "ColorJitter":
        """Scale all four changes as the paper does: 1 for photographs, 0.5 for CIFAR-10."""
        return cls(0.8 * strength, 0.8 * strength, 0.8 * strength, min(0.2 * strength, 0.5))

    @classmethod
    def only_grey(cls, share: float) -> "ColorJitter":
        """Turn a share of pictures grey, and change no other colours."""
        return cls(0, 0, 0, 0, share=0, grey=share)


def jitter_colors(
    crops: Tensor, batch: Images | LabelledImages, jitter: ColorJitter, *, name: str = "view"
) -> Tensor:
    """Change every picture's colours by its own draws.

    Args:
        crops: (B, C, S, S) float32 in [0, 1]. Without three channels they come back unchanged.
        batch: Supplies the draws.
        jitter: How strongly.
        name: Which view this is: another name draws other colours.

    Returns:
        (B, C, S, S) float32 in [0, 1].

    Raises:
        UsageError: If a strength or a share is outside its range.
    """
    with torch.autocast(crops.device.type, enabled=False):
        colors = drawn_colors(batch, crops.shape[1], jitter, name)
        return crops if colors is None else colors.applied(crops)


def drawn_colors(
    batch: Images | LabelledImages, channels: int, jitter: ColorJitter, name: str
) -> "Matrices | Ordered | None":
    """Draw what `jitter_colors` does to every picture; None for pictures without 3 channels."""
    _check(jitter)
    if channels != 3:
        say_that_colors_stay(channels)
        return None
    if jitter.exact:
        return _drawn_in_order(batch, jitter, name)
    return _drawn_matrices(batch, jitter, name)


class Matrices(NamedTuple):
    """Changes of colour as matrices, before the pictures' mean colours are known.

    Attributes:
        linear: (B, 3, 3) matrices that multiply colours.
        pull: (B, 3) weights of the mean colour; their weighted sum is added to every channel.
    """

    linear: Tensor
    pull: Tensor

    def of(self, rows: slice) -> "Matrices":
        """Take the matrices of some pictures."""
        return Matrices(self.linear[rows], self.pull[rows])

    def whole(self, mean: Tensor) -> Tensor:
        """Complete the matrices with the mean colours (B, 3): -> (B, 3, 4)."""
        offset = (self.pull * mean).sum(dim=1, keepdim=True)[:, :, None]  # (B, 1, 1)
        return torch.cat([self.linear, offset.expand(-1, 3, 1)], dim=2)

    def applied(self, crops: Tensor) -> Tensor:
        """Change colours (B, 3, S, S)."""
        return recolored(crops, self.whole(crops.mean(dim=(2, 3))))


class Ordered(NamedTuple):
    """Changes of colour by torchvision's operations, in each picture's own order.

    Attributes:
        strengths: (B, 4), as for `one_after_another`.
        order: (B, 4) int64, likewise; -1 for no change.
        greyed: (B,) bool, whether the picture becomes grey.
    """

    strengths: Tensor
    order: Tensor
    greyed: Tensor

    def of(self, rows: slice) -> "Ordered":
        """Take the changes of some pictures."""
        return Ordered(self.strengths[rows], self.order[rows], self.greyed[rows])

    def applied(self, crops: Tensor) -> Tensor:
        """Change colours (B, 3, S, S)."""
        changed = one_after_another(crops, self.strengths, self.order)
        rows = self.greyed.nonzero()[:, 0]
        return changed.index_copy(0, rows, greyed(changed.index_select(0, rows)))


def solarise(
    crops: Tensor,
    batch: Images | LabelledImages,
    *,
    share: float = 0.2,
    threshold: float = THRESHOLD,
    name: str = "view",
) -> Tensor:
    """Invert the bright pixels of some pictures: x -> 1 - x where x is at least the threshold.

    Args:
        crops: (B, C, S, S) float32 in [0, 1].
        batch: Supplies the draws.
        share: Share of pictures that are changed, in [0, 1].
        threshold: Least value that is inverted, in [0, 1].
        name: Which view this is: another name draws other pictures.

    Returns:
        (B, C, S, S) float32 in [0, 1].

    Raises:
        UsageError: If the share or the threshold is outside [0, 1].
    """
    chosen = drawn_bright(batch, share, threshold, name)
    return crops if chosen is None else inverted(crops, chosen, threshold)


def drawn_bright(
    batch: Images | LabelledImages, share: float, threshold: float, name: str
) -> Tensor | None:
    """Draw the pictures that `solarise` changes: -> (B,) bool; None if share is 0."""
    for what, value in (("solarise", share), ("threshold", threshold)):
        if not 0 <= value <= 1:
            raise UsageError(f"{what} must be from 0 to 1, got {value}")
    return batch.draws.uniform(f"{name}/solarise", 1)[:, 0] < share if share else None


def inverted(crops: Tensor, chosen: Tensor, threshold: float) -> Tensor:
    """Invert values from the threshold on in the chosen (B,) of the pictures (B, C, S, S)."""
    return torch.where(chosen[:, None, None, None] & (crops >= threshold), 1 - crops, crops)


def recolored(crops: Tensor, matrix: Tensor) -> Tensor:
    """Apply a matrix (B, 3, 4) to every colour of its picture (B, 3, S, S), and clamp to [0, 1]."""
    flat = weighted_sums(crops.flatten(2), Lines.all_of(matrix[:, :, :3]))
    return flat.add_(matrix[:, :, 3:]).clamp_(0, 1).view_as(crops)


def color_matrices(
    mean: Tensor, batch: Images | LabelledImages, jitter: ColorJitter, name: str
) -> Tensor:
    """Draw a matrix for every picture from its mean colour (B, 3): -> (B, 3, 4)."""
    return _drawn_matrices(batch, jitter, name).whole(mean)


def _drawn_matrices(batch: Images | LabelledImages, jitter: ColorJitter, name: str) -> Matrices:
    """Draw all that does not depend on pixels; unchanged pictures get the identity."""
    drawn = _drawn(batch, jitter, name)
    linear, pull = _composed(drawn.strengths[:, :3], 2 * math.pi * drawn.strengths[:, 3])
    still = torch.eye(3, device=linear.device).expand_as(linear)
    linear = torch.where(drawn.changed[:, None, None], linear, still)
    grey = product(_luma(linear)[None, None, :], linear)  # (B, 1, 3); an offset is grey already
    linear = torch.where(drawn.greyed[:, None, None], grey.expand_as(linear), linear)
    return Matrices(linear, torch.where(drawn.changed[:, None], pull, 0.0))


class _Drawn(NamedTuple):
    """Strengths (B, 4): factors of brightness, contrast, saturation, and a turn of hue.

    With them, which pictures are changed (B,) and which become grey (B,).
    """

    strengths: Tensor
    changed: Tensor
    greyed: Tensor


def _drawn(batch: Images | LabelledImages, jitter: ColorJitter, name: str) -> _Drawn:
    """Draw the change of every picture, the same for both paths."""
    drawn = batch.draws.uniform(f"{name}/colors", 6)
    most = torch.tensor([1 + s for s in jitter[:3]] + [jitter.hue], device=drawn.device)
    least = [max(0.0, 1 - s) for s in jitter[:3]] + [-jitter.hue]
    low = torch.tensor(least, device=drawn.device)
    strengths = low + (most - low) * drawn[:, :4]
    return _Drawn(strengths, drawn[:, 4] < jitter.share, drawn[:, 5] < jitter.grey)


def _drawn_in_order(batch: Images | LabelledImages, jitter: ColorJitter, name: str) -> Ordered:
    """Draw strengths and an order of the operations; unchanged pictures get the order -1."""
    drawn = _drawn(batch, jitter, name)
    order = batch.draws.uniform(f"{name}/order", 4).argsort(dim=1)
    nothing = torch.full_like(order, -1)
    order = torch.where(drawn.changed[:, None], order, nothing)
    return Ordered(drawn.strengths, order, drawn.greyed)


def _check(jitter: ColorJitter) -> None:
    """Refuse strengths and shares outside their ranges; written so that NaN is refused too."""
    for what in ("brightness", "contrast", "saturation"):
        value = getattr(jitter, what)
        if not 0 <= value < math.inf:
            raise UsageError(f"{what} must be at least 0, got {value}")
    if not 0 <= jitter.hue <= 0.5:
        raise UsageError(f"hue must be a share of a turn, from 0 to 0.5, got {jitter.hue}")
    for what in ("share", "grey"):
        value = getattr(jitter, what)
        if not 0 <= value <= 1:
            raise UsageError(f"{what} must be a share of the pictures, from 0 to 1, got {value}")


def composed(mean: Tensor, factors: Tensor, angles: Tensor) -> Tensor:
    """Multiply brightness, contrast, saturation and hue into one matrix, in this order.

    Args:
        mean: (B, 3) mean colours.
        factors: (B, 3) of brightness, contrast and saturation, at least 0.
        angles: (B,) of hue, in radians.

    Returns:
        (B, 3, 4).
    """
    return _composed(factors, angles).whole(mean)


def _composed(factors: Tensor, angles: Tensor) -> Matrices:
    """Compose as `composed` does, before the mean colours are known."""
    luma = _luma(factors)
    eye = torch.eye(3, device=factors.device)
    bright, contrast, saturation = factors[:, :, None].unbind(dim=1)  # each (B, 1)
    # The mean grey after the change of brightness is b m, so contrast adds (1 - c) b m.
    pull = (1 - contrast) * bright * luma
    grey = luma.expand(3, 3)  # each row gives the luma
    kept = saturation[:, :, None]
    turned = product(_hue_turn(angles), kept * eye + (1 - kept) * grey)  # (B, 3, 3)
    # Grey stays grey under saturation and hue, so the offset passes through unchanged.
    return Matrices(turned * (bright * contrast)[:, :, None], pull)


def _hue_turn(angles: Tensor) -> Tensor:
    """Rotate I and Q by angles (B,) and keep Y: -> (B, 3, 3) on red, green and blue.

    A rotation from I to Q would move red towards magenta; hue runs the other way, from red over
    yellow to green.
    """
    yiq = torch.tensor(YIQ, device=angles.device)
    cosine, sine = angles.cos(), angles.sin()
    zero, one = torch.zeros_like(cosine), torch.ones_like(cosine)
    rows = [one, zero, zero, zero, cosine, sine, zero, -sine, cosine]
    turn = torch.stack(rows, dim=1).view(-1, 3, 3)
    return product(product(torch.linalg.inv(yiq), turn), yiq)


def _luma(like: Tensor) -> Tensor:
    return torch.tensor(LUMA, device=like.device)


@functools.cache
def say_that_colors_stay(channels: int) -> None:
    """Warn, once for each number of channels, that colours are not changed."""
    logging.getLogger("selfsight").warning(
        "colours are not changed: that needs 3 channels, and the pictures have %d", channels
    )
