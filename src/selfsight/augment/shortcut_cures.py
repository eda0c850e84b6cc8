"""Shortcut cures: random changes of tiles that prevent a task from being solved by a shortcut.

A tile's position can be told from its brightness, from chromatic aberration (a lens images red,
green and blue at different sizes) and from its pixelation. The remedies are those of Doersch,
Gupta, Efros, "Unsupervised Visual Representation Learning by Context Prediction", ICCV 2015,
https://arxiv.org/abs/1505.05192. Those without randomness belong to the encoder's input step
(`encoders/feed.py`): standardising every tile, and removing the axis along which lenses spread
colours. The random ones are here:

    colors_dropped      against aberration         one channel kept, the others noise
    resampled           against pixelation         some tiles shrunk and enlarged again

Tiles are (B, C, h, w), or (B, N, C, h, w) where a picture has N of them, each with its own draws.
"""

import torch
from torch import Tensor

from selfsight.augment.sums import Lines, filtered, weighted_sums
from selfsight.data.pictures.batch import Images, LabelledImages
from selfsight.encoders.feed import GREY_LEVEL
from selfsight.errors import UsageError

# Doersch et al. shrink patches of 96 x 96 pixels to 100 or more.
LEAST_PIXELS = 100 / 96**2


def colors_dropped(
    tiles: Tensor,
    batch: Images | LabelledImages,
    *,
    noise: float = GREY_LEVEL,
    name: str = "patches",
) -> Tensor:
    """Keep one random channel of every tile, and put noise into the others.

    Args:
        tiles: (B, C, h, w) or (B, N, C, h, w) float32 in [0, 1]. Tiles of one channel come back
            unchanged.
        batch: Supplies the draws.
        noise: Width of the uniform noise, which is centred on the mean of the kept channel.
        name: Another name draws other channels and other noise.

    Returns:
        Tiles of the same shape.
    """
    batched = tiles.reshape(len(tiles), -1, *tiles.shape[-3:])  # (B, N, C, h, w)
    count, channels, height, width = batched.shape[1:]
    if channels == 1:
        return tiles
    kept = (batch.draws.uniform(f"{name}/channel", count) * channels).long()  # (B, N)
    kept = kept[:, :, None, None, None].expand(-1, -1, 1, height, width)
    channel = batched.gather(2, kept)
    drawn = batch.draws.uniform(f"{name}/noise", count * channels * height * width)
    spread = noise * (drawn.view_as(batched) - 0.5)
    filled = channel.mean(dim=(3, 4), keepdim=True) + spread
    return filled.scatter(2, kept, channel).view_as(tiles)


def resampled(
    tiles: Tensor,
    batch: Images | LabelledImages,
    *,
    share: float = 1 / 3,
    least: float = LEAST_PIXELS,
    name: str = "patches",
) -> Tensor:
    """Shrink some tiles to a random number of pixels, and enlarge them again.

    Shrinking uses torch's antialiased bilinear filter, enlarging the plain one. Both are applied as
    matrices to the lines of a tile, from top to bottom and from left to right.

    Args:
        tiles: (B, C, h, w) or (B, N, C, h, w) float32.
        batch: Supplies the draws.
        share: Share of tiles that are shrunk, in [0, 1].
        least: Least share of its pixels that a tile is shrunk to, in (0, 1]; the greatest is 1.
        name: Another name draws other tiles and sizes.

    Returns:
        Tiles of the same shape and range.

    Raises:
        UsageError: If a setting is outside its range.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"share must be a share of the tiles, from 0 to 1, got {share}")
    if not 0 < least <= 1:
        raise UsageError(f"least must be a share of a tile's pixels, 0 < least <= 1, got {least}")
    flat = tiles.reshape(-1, *tiles.shape[-3:])  # (B N, C, h, w)
    count = 1 if tiles.ndim == 4 else tiles.shape[1]
    drawn = batch.draws.uniform(f"{name}/resampled", 2 * count).view(-1, 2)  # (B N, 2)
    rows = (drawn[:, 0] < share).nonzero()[:, 0]
    factor = (least + (1 - least) * drawn[rows, 1]).sqrt()  # of a side
    with torch.autocast(tiles.device.type, enabled=False):
        height, width = flat.shape[-2:]
        down = Lines.all_of(shrunk_and_enlarged(height, (height * factor).round()))
        across = Lines.all_of(shrunk_and_enlarged(width, (width * factor).round()))
        changed = filtered(flat.index_select(0, rows), down, across)
        return flat.index_copy(0, rows, changed).view_as(tiles)


def shrunk_and_enlarged(side: int, kept: Tensor) -> Tensor:
    """Make the matrix that shrinks a line to fewer pixels and enlarges it again.

    Args:
        side: Pixels of the line.
        kept: (n,) pixels it is shrunk to, whole numbers; less than 1 counts as 1.

    Returns:
        (n, side, side) float32, rows sum to 1.
    """
    step = (side / kept.clamp(min=1))[:, None]  # (n, 1) pixels of the line per shrunk pixel
    centre = torch.arange(side, device=kept.device) + 0.5
    # A triangle around the centre of each shrunk pixel, which falls to 0 one step away. There are
    # at most `side` of them: further rows are not read.
    apart = (centre - (centre * step)[:, :, None]) / step[:, :, None]  # (n, shrunk, side)
    down = (1 - apart.abs()).clamp(min=0)
    down = down / down.sum(dim=2, keepdim=True).clamp(min=1e-12)
    # Enlarging interpolates the two nearest shrunk pixels; the outermost ones are repeated.
    place = (centre / step).clamp(min=0.5).minimum(side / step - 0.5)  # (n, side)
    up = (1 - (place[:, :, None] - centre).abs()).clamp(min=0)  # (n, side, shrunk)
    return weighted_sums(down, Lines.all_of(up))
