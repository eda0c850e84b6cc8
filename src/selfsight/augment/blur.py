"""Blur: every picture by a Gaussian of its own width.

Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
https://arxiv.org/abs/2002.05709, appendix A: half of the pictures, deviation from 0.1 to 2 pixels,
a kernel a tenth of the picture's side. Beyond the edge the picture is reflected, as by torchvision.

A Gaussian is separable, and a filter of a line of pixels is a matrix, so a picture X of a channel
becomes K X K', with K (S, S) the picture's own kernel in every row. K is zero off a narrow band
around its diagonal: it is multiplied in blocks of rows, each by the few columns it needs.
"""

import torch
from torch import Tensor

from selfsight.batch import Images, LabelledImages
from selfsight.errors import UsageError

BLOCK = (
    32  # rows of K at a time: in larger blocks more zeros are multiplied, in smaller ones slower
)

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
    if not 0 <= share <= 1:
        raise UsageError(f"blur must be a share of the pictures, from 0 to 1, got {share}")
    if not 0 < sigma[0] <= sigma[1]:
        raise UsageError(f"sigma must be two widths in pixels, 0 < least <= most, got {sigma}")
    if share == 0:
        return crops
    drawn = batch.draws.uniform(f"{name}/blur", 2)
    rows = (drawn[:, 0] < share).nonzero()[:, 0]  # only these are paid for
    width = sigma[0] + (sigma[1] - sigma[0]) * drawn[rows, 1]
    with torch.autocast(crops.device.type, enabled=False):
        return crops.index_copy(0, rows, blurred(crops.index_select(0, rows), width))


def blurred(crops: Tensor, sigma: Tensor) -> Tensor:
    """Blur every picture (B, C, S, S) by a Gaussian of its own deviation (B,), in pixels."""
    batch, channels, size, _ = crops.shape
    radius = radius_of(size)
    kernel = _kernel_matrix(sigma, size, radius)
    # A picture's channels lie below each other, so K' multiplies all of their rows at once.
    lines = crops.reshape(batch, channels * size, size)
    across, down = torch.empty_like(lines), torch.empty_like(lines).view(-1, size, size)
    blocks = [slice(at, min(at + BLOCK, size)) for at in range(0, size, BLOCK)]
    for block in blocks:
        near = slice(max(0, block.start - radius), block.stop + radius)
        across[:, :, block] = lines[:, :, near] @ kernel[:, block, near].mT
    across = across.view_as(down)  # (B C, S, S)
    for block in blocks:
        near = slice(max(0, block.start - radius), block.stop + radius)
        weights = kernel[:, block, near].repeat_interleave(channels, dim=0)
        down[:, block] = weights @ across[:, near]
    return down.view_as(crops)


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
    reached = torch.arange(size, device=sigma.device)[:, None] + step  # (S, 2 radius + 1)
    last = size - 1
    reached = last - (last - reached.abs()).abs()  # reflected at either end
    shape = (len(sigma), size, len(step))
    matrix = torch.zeros(len(sigma), size, size, device=sigma.device)
    return matrix.scatter_add_(2, reached.expand(shape), kernel[:, None].expand(shape))
