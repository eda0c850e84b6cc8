"""Gaussian blur, with a random width for every picture.

Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
https://arxiv.org/abs/2002.05709, appendix A: half of the pictures, standard deviation from 0.1 to 2
pixels, a kernel a tenth of the picture's side. Beyond its edge the picture is reflected, as in
torchvision.

A Gaussian is separable: every line becomes the sum of its neighbours weighted by the picture's
kernel, first from top to bottom and then from left to right.
"""

import torch
from torch import Tensor

from selfsight.augment.sums import Lines, filtered
from selfsight.data.pictures.batch import Images, LabelledImages
from selfsight.errors import UsageError

NOTHING = 1e-12  # beside the middle's weight of 1, a smaller weight changes no bit of float32


def blur(
    crops: Tensor,
    batch: Images | LabelledImages,
    *,
    share: float = 0.5,
    sigma: tuple[float, float] = (0.1, 2.0),
    name: str = "view",
) -> Tensor:
    """Blur a random share of the pictures, each by a random width.

    Args:
        crops: (B, C, S, S) float32. Below 20 pixels a side the kernel is one pixel: no change.
        batch: Supplies the draws.
        share: Share of pictures that are blurred, in [0, 1].
        sigma: Least and greatest standard deviation, in pixels.
        name: Which view this is: another name draws other widths.

    Returns:
        (B, C, S, S) float32 in the range of `crops`.

    Raises:
        UsageError: If a setting is outside its range.
    """
    widths = drawn_widths(batch, share, sigma, name)
    return crops if widths is None else blur_where_wide_(crops.clone(), widths)


def drawn_widths(
    batch: Images | LabelledImages, share: float, sigma: tuple[float, float], name: str
) -> Tensor | None:
    """Draw the deviations of `blur`: -> (B,) pixels, 0 for no blur; None if share is 0."""
    if not 0 <= share <= 1:
        raise UsageError(f"blur must be a share of the pictures, from 0 to 1, got {share}")
    if not 0 < sigma[0] <= sigma[1]:
        raise UsageError(f"sigma must be two widths in pixels, 0 < least <= most, got {sigma}")
    if share == 0:
        return None
    drawn = batch.draws.uniform(f"{name}/blur", 2)
    return torch.where(drawn[:, 0] < share, sigma[0] + (sigma[1] - sigma[0]) * drawn[:, 1], 0.0)


def blur_where_wide_(crops: Tensor, widths: Tensor) -> Tensor:
    """Blur, in place, only the pictures (B, C, S, S) whose deviation (B,) is above 0."""
    rows = widths.nonzero()[:, 0]
    if len(rows) == 0 or radius_of(crops.shape[-1]) == 0:
        return crops
    with torch.autocast(crops.device.type, enabled=False):
        return crops.index_copy_(0, rows, blurred(crops.index_select(0, rows), widths[rows]))


def blurred(crops: Tensor, sigma: Tensor) -> Tensor:
    """Blur every picture (B, C, S, S) by a Gaussian of its deviation (B,), in pixels."""
    size = crops.shape[-1]
    if radius_of(size) == 0:
        return crops
    lines = _neighbours(sigma, size, radius_of(size))
    return filtered(crops, lines, lines)


def radius_of(size: int) -> int:
    """Give the radius in pixels of the kernel: it is a tenth of S wide, rounded to odd."""
    return size // 10 // 2


def _neighbours(sigma: Tensor, size: int, radius: int) -> Lines:
    """Compute Gaussian weights of the neighbours of S lines for deviations (B,); sums are 1."""
    step = torch.arange(-radius, radius + 1, device=sigma.device)
    kernel = torch.exp(-0.5 * (step / sigma[:, None]) ** 2)
    # The outer weights of a narrow Gaussian would be denormal numbers, which slow processors down
    # many times.
    kernel = torch.where(kernel < NOTHING, 0, kernel)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)  # (B, 2 radius + 1)
    # Reflection: place -j of a line holds what place j holds; likewise at its other end.
    place = (torch.arange(size, device=sigma.device)[:, None] + step).abs()
    place = size - 1 - (size - 1 - place).abs()
    return Lines(place, kernel[:, None, :].expand(-1, size, -1))
