"""Blur: every picture by a Gaussian of its own width.

Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
https://arxiv.org/abs/2002.05709, appendix A: half of the pictures, deviation from 0.1 to 2 pixels,
a kernel a tenth of the picture's side. Beyond the edge the picture is reflected, as by torchvision.

A Gaussian is separable, and a filter of a line of pixels is a matrix, so a picture X of a channel
becomes K X K', with K (S, S) the picture's own kernel in every row. K is zero off a narrow band
around its diagonal: it is multiplied in blocks of rows, each by the few columns it needs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.batch import Images, LabelledImages
from selfsight.errors import UsageError

BLOCK = 48  # rows of K at a time: larger ones multiply more zeros, smaller ones are slower

NOTHING = 1e-12  # a weight this far below the middle's, which is 1, changes no bit of float32


def blur(
    crops: Tensor,
    batch: Images | LabelledImages,
    *,
    share: float = 0.5,
    sigma: tuple[float, float] = (0.1, 2.0),
    name: str = "view",
) -> Tensor:
    """Blur some of the pictures, each by its own draw.

    Args:
        crops: (B, C, S, S) float32. Below 20 pixels a side the kernel is one pixel: no change.
        batch: Whose draws decide.
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
    """Draw the deviations of `blur`: -> (B,) pixels, 0 for no blur; None where nobody has one."""
    if not 0 <= share <= 1:
        raise UsageError(f"blur must be a share of the pictures, from 0 to 1, got {share}")
    if not 0 < sigma[0] <= sigma[1]:
        raise UsageError(f"sigma must be two widths in pixels, 0 < least <= most, got {sigma}")
    if share == 0:
        return None
    drawn = batch.draws.uniform(f"{name}/blur", 2)
    return torch.where(drawn[:, 0] < share, sigma[0] + (sigma[1] - sigma[0]) * drawn[:, 1], 0.0)


def blur_where_wide_(crops: Tensor, widths: Tensor) -> Tensor:
    """Blur, in place, the pictures (B, C, S, S) whose deviation (B,) is above 0.

    Only these are paid for.
    """
    rows = widths.nonzero()[:, 0]
    if len(rows) == 0 or radius_of(crops.shape[-1]) == 0:
        return crops
    with torch.autocast(crops.device.type, enabled=False):
        return crops.index_copy_(0, rows, blurred(crops.index_select(0, rows), widths[rows]))


def blurred(crops: Tensor, sigma: Tensor) -> Tensor:
    """Blur every picture (B, C, S, S) by a Gaussian of its own deviation (B,), in pixels."""
    batch, channels, size, _ = crops.shape
    radius = radius_of(size)
    if radius == 0:
        return crops
    kernel = _kernel_matrix(sigma, size, radius)
    # A picture's channels lie below each other, so K' multiplies all of their rows at once.
    lines = crops.reshape(batch, channels * size, size)
    across = torch.empty_like(lines)
    down = torch.empty(batch * channels, size, size, device=crops.device)
    blocks = [slice(at, min(at + BLOCK, size)) for at in range(0, size, BLOCK)]
    for block in blocks:
        near = slice(max(0, block.start - radius), min(size, block.stop + radius))
        _multiply(lines[:, :, near], kernel[:, block, near].mT, across[:, :, block])
    across = across.view_as(down)  # (B C, S, S)
    for block in blocks:
        near = slice(max(0, block.start - radius), min(size, block.stop + radius))
        weights = kernel[:, None, block, near].expand(-1, channels, -1, -1).flatten(0, 1)
        _multiply(weights, across[:, near], down[:, block])
    return down.view_as(crops)


def _multiply(first: Tensor, second: Tensor, result: Tensor) -> None:
    """Write a batch of products into its place, straight where no gradient is asked for."""
    if torch.is_grad_enabled() and (first.requires_grad or second.requires_grad):
        result.copy_(first @ second)
    else:
        torch.bmm(first, second, out=result)


def radius_of(size: int) -> int:
    """Give the pixels on either side of the middle of a kernel a tenth of S wide, which is odd."""
    return size // 10 // 2


def _kernel_matrix(sigma: Tensor, size: int, radius: int) -> Tensor:
    """Write every picture's kernel into the rows of a matrix: (B,) -> (B, S, S), rows sum to 1."""
    step = torch.arange(-radius, radius + 1, device=sigma.device)
    kernel = torch.exp(-0.5 * (step / sigma[:, None]) ** 2)
    # Far weights of a narrow Gaussian would be denormal numbers, with which processors compute
    # many times slower.
    kernel = torch.where(kernel < NOTHING, 0, kernel)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)  # (B, 2 radius + 1)
    # Entry (i, j) is the weight at a distance of i - j: the weights between zeros, read from every
    # place on, are the rows from the last to the first.
    line = F.pad(kernel, (size - 1 - radius, size - 1 - radius))  # (B, 2 S - 1)
    matrix = line.unfold(1, size, 1).flip(1)  # (B, S, S)
    # Reflected at its first end, a line has in place -j what it has in j, at a distance of i + j.
    corner = line[:, size : size + 2 * radius - 1].unfold(1, radius, 1)  # (B, radius, radius)
    matrix[:, :radius, 1 : radius + 1] += corner
    matrix[:, -radius:, -radius - 1 : -1] += corner.flip(1, 2)
    return matrix
