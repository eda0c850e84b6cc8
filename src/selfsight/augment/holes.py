"""Holes: random masks of the pixels that are hidden, a different one for every sample.

The three kinds are those of Pathak, Krahenbuhl, Donahue, Darrell, Efros, "Context Encoders: Feature
Learning by Inpainting", CVPR 2016, https://arxiv.org/abs/1604.07379, section 3.3: the central
square, random blocks, and regions of any shape. The paper takes its shapes from segmentation masks
of another data set; ours are the regions where a smooth random field is high.
"""

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.augment.sums import Lines, filtered
from selfsight.data.pictures.batch import Images, LabelledImages
from selfsight.errors import UsageError

Kind = Literal["centre", "blocks", "free"]
KINDS: tuple[Kind, ...] = get_args(Kind)

ASPECT = 2.0  # greatest ratio of a block's longer side to its shorter one
KNOTS = 5  # grid points a side of the random field: its hills are about a quarter picture wide
SAMPLED = 32  # most rows and columns at which the field's values are ranked


def holes_in(
    batch: Images | LabelledImages,
    size: int,
    *,
    kind: Kind = "blocks",
    share: float = 0.25,
    blocks: int = 1,
    name: str = "hole",
) -> Tensor:
    """Draw a hole for every picture.

    Args:
        batch: Pictures, of which only the draws are used.
        size: Side S of the masks, in pixels.
        kind: "centre": the central square, the same in every picture. "blocks": rectangles of
            equal area at random places, which may overlap. "free": any shape, in any number of
            pieces.
        share: Share of the area that a hole covers, in (0, 1), up to rounding to whole pixels.
            Overlapping blocks cover less.
        blocks: Number of rectangles, at least 1; ignored by the other kinds.
        name: Which hole this is: another name draws another one.

    Returns:
        (B, 1, S, S) bool, True in the hole, on the batch's device. No mask is all True, or all
        False.

    Raises:
        UsageError: If a setting is outside its range.
    """
    check_holes(kind, share, blocks)
    if size < 2:
        raise UsageError(f"a picture with a hole must have a side of at least 2, got {size}")
    if kind == "centre":
        square = _central(size, share, batch.draws.index.device)
        return square.expand(len(batch.draws.index), 1, size, size)
    if kind == "blocks":
        return _blocks(batch.draws.uniform(name, 3 * blocks), size, share / blocks)
    return _free(batch.draws.uniform(name, KNOTS**2), size, share)


def check_holes(kind: str, share: float, blocks: int) -> None:
    """Refuse settings of `holes_in` outside their ranges; written so that NaN is refused too."""
    if kind not in KINDS:
        raise UsageError(f"holes must be 'centre', 'blocks' or 'free', got {kind!r}")
    if not 0 < share < 1:
        raise UsageError(f"share must be of the picture's area, above 0 and below 1, got {share}")
    if blocks < 1:
        raise UsageError(f"blocks must be at least 1, got {blocks}")


def grown(hole: Tensor, by: int) -> Tensor:
    """Grow holes (B, 1, H, W) by `by` pixels in all directions: -> the same shape."""
    if by == 0:
        return hole
    # A square is a row and a column: two passes of 2k + 1 pixels for one of (2k + 1)^2.
    wide = F.max_pool2d(hole.float(), (1, 2 * by + 1), 1, (0, by))
    return F.max_pool2d(wide, (2 * by + 1, 1), 1, (by, 0)) > 0


def _central(size: int, share: float, device: torch.device) -> Tensor:
    """Give the central square as a mask (1, 1, S, S)."""
    side = min(max(1, round(size * math.sqrt(share))), size - 1)
    start = (size - side) // 2
    place = torch.arange(size, device=device)
    inside = (place >= start) & (place < start + side)
    return (inside[:, None] & inside)[None, None]


def _blocks(drawn: Tensor, size: int, share: float) -> Tensor:
    """Place rectangles, each of a share of the area: draws (B, 3 N) -> masks (B, 1, S, S)."""
    stretch, down, right = drawn.unflatten(1, (3, -1)).unbind(dim=1)  # each (B, N)
    root = ((stretch - 0.5) * math.log(ASPECT)).exp()  # square root of height over width
    side = size * math.sqrt(share)
    tall = (side * root).round().clamp(1, size - 1)
    wide = (side / root).round().clamp(1, size - 1)
    rows = _covered((down * (size - tall + 1)).floor(), tall, size)
    columns = _covered((right * (size - wide + 1)).floor(), wide, size)
    # How many blocks cover a pixel: the sum over blocks of (row in it) times (column in it). Whole
    # numbers this small are summed exactly in any order.
    count = torch.bmm(rows.transpose(1, 2), columns)
    # Blocks of half the area each may cover everything; then one pixel is left visible.
    everything = count.flatten(1).amin(dim=1) > 0
    count[:, 0, 0] *= ~everything
    return (count > 0)[:, None]


def _covered(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Mark the pixels of intervals: starts and lengths (B, N) -> (B, N, S) of 0 and 1."""
    place = torch.arange(size, device=start.device)
    since = place - start[:, :, None]
    return ((since >= 0) & (since < length[:, :, None])).float()


def _free(drawn: Tensor, size: int, share: float) -> Tensor:
    """Mark where a random field is highest: draws (B, KNOTS^2) -> masks (B, 1, S, S).

    The field's values on a coarse grid are independent, and cosines interpolate between them. The
    threshold above which it covers the share is found from a sample of rows and columns.
    """
    lines = Lines.all_of(_between_knots(size, drawn.device)[None])
    field = filtered(drawn.unflatten(1, (1, KNOTS, KNOTS)), lines, lines)[:, 0]  # (B, S, S)
    apart = math.ceil(size / SAMPLED)
    some = field[:, apart // 2 :: apart, apart // 2 :: apart].flatten(1)
    visible = min(max(1, round((1 - share) * some.shape[1])), some.shape[1] - 1)
    height = some.kthvalue(visible, dim=1).values  # at least one sampled value is higher
    return (field > height[:, None, None])[:, None]


def _between_knots(size: int, device: torch.device) -> Tensor:
    """Compute the weights of the knots for every pixel of a line: -> (S, KNOTS), rows sum to 1."""
    place = (torch.arange(size, device=device) + 0.5) * ((KNOTS - 1) / size)
    distance = (place[:, None] - torch.arange(KNOTS, device=device)).abs().clamp(max=1.0)
    return 0.5 + 0.5 * torch.cos(math.pi * distance)
