"""Large: colours or fills photographs of any size piece by piece, so that memory stays bounded.

The colours that a network predicts are coarse. Those of a large photograph are predicted from a
reduced copy, and combined with the lightness of the full one strip by strip. A hole is filled in a
window around it.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.augment.filling import MARGIN, separate_holes
from selfsight.data.pictures.scaling import as_float
from selfsight.encoders.cielab import lab, lightness, rgb

AT_ONCE = 2_000_000  # pixels that are worked on together
LEAST_COPY = 256**2  # pixels of a reduced copy, at least
MASK_SIDE = 512  # of the reduced mask in which holes are told apart, in pixels


def colour_photograph(
    pixels: Tensor,
    answer: Callable[[Tensor], Tensor],
    count: int,
    *,
    device: str = "cpu",
    at_once: int = AT_ONCE,
) -> list[Tensor]:
    """Colour a photograph.

    Args:
        pixels: (3, H, W) uint8 or uint16.
        answer: Colours pictures of any size: (1, 3, h, w) in [0, 1] -> (count, 3, h, w) in [0, 1].
        count: Pictures that `answer` gives for one.
        device: Where to compute.
        at_once: Pixels that are processed together.

    Returns:
        `count` pictures (3, H, W) uint8, on the processor.
    """
    _, height, width = pixels.shape
    if count * height * width <= at_once:
        return [as_bytes(one) for one in answer(as_float(pixels)[None].to(device))]
    copy = _reduced(pixels, max(LEAST_COPY, at_once // count)).to(device)
    colours = lab(answer(copy))[:, 1:]  # (count, 2, h, w)
    results = [torch.empty((3, height, width), dtype=torch.uint8) for _ in range(count)]
    step = max(1, at_once // width)
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        levels = lightness(as_float(pixels[:, rows])[None].to(device))
        for one, result in zip(colours, results, strict=True):
            spread = _rows_of(one[None], rows, height, width)
            result[:, rows] = as_bytes(rgb(torch.cat([100 * levels, spread], dim=1))[0])
    return results


def fill_photograph(
    pixels: Tensor,
    hole: Tensor,
    fill: Callable[[Tensor, Tensor], Tensor],
    *,
    least: int,
    share: float,
    device: str = "cpu",
    at_once: int = AT_ONCE,
) -> Tensor:
    """Fill the holes of a photograph.

    Args:
        pixels: (C, H, W) uint8 or uint16.
        hole: (H, W) bool.
        fill: Fills holes: (1, C, h, w) in [0, 1], (1, 1, h, w) bool -> (1, C, h, w) in [0, 1].
        least: Side of the smallest square that `fill` accepts, in pixels.
        share: Largest share of that square that a hole may take, in (0, 1).
        device: Where to compute.
        at_once: Pixels up to which a photograph is filled as a whole.

    Returns:
        (C, H, W) uint8, on the processor; unchanged outside the holes.
    """
    result = as_bytes(pixels)
    whole = slice(0, pixels.shape[1]), slice(0, pixels.shape[2])
    few = hole.numel() <= at_once
    for window, inner in [(whole, whole)] if few else windows(hole, least=least, share=share):
        part, mask = as_float(pixels[:, *window])[None], hole[window]
        answer = as_bytes(fill(part.to(device), mask[None, None].to(device))[0])
        rows, columns = (
            slice(i.start - w.start, i.stop - w.start) for i, w in zip(inner, window, strict=True)
        )
        there = result[:, *inner]
        there.copy_(torch.where(hole[inner], answer[:, rows, columns], there))
    return result


Rectangle = tuple[slice, slice]


def windows(hole: Tensor, *, least: int, share: float) -> Iterator[tuple[Rectangle, Rectangle]]:
    """Yield the window that is needed to fill each hole of a mask (H, W), and the hole's extent."""
    height, width = hole.shape
    cell = -(-max(height, width) // MASK_SIDE)
    small = F.max_pool2d(hole[None, None].float(), cell, ceil_mode=True)[0, 0] > 0
    for one in separate_holes(small):
        inner = tuple(
            slice(int(places[0]) * cell, min((int(places[-1]) + 1) * cell, length))
            for places, length in (
                (one.any(dim=1).nonzero()[:, 0], height),
                (one.any(dim=0).nonzero()[:, 0], width),
            )
        )
        longer = max(part.stop - part.start for part in inner)
        # A square about the hole's middle, of this side, lies within the window or at its edge.
        reach = max(least, round(longer * max(MARGIN, share**-0.5)))
        outer = tuple(
            slice(max(0, part.start - reach), min(length, part.stop + reach))
            for part, length in zip(inner, (height, width), strict=True)
        )
        yield (outer[0], outer[1]), (inner[0], inner[1])


def as_bytes(picture: Tensor) -> Tensor:
    """Copy a picture, stored or in [0, 1], as uint8 on the processor."""
    if picture.dtype == torch.uint8:
        return picture.clone()
    return (as_float(picture).clamp(0, 1) * 255).round().to(torch.uint8).cpu()


def _reduced(pixels: Tensor, most: int) -> Tensor:
    """Shrink (C, H, W) to at most so many pixels: -> (1, C, h, w) in [0, 1]."""
    _, height, width = pixels.shape
    factor = min(1.0, (most / (height * width)) ** 0.5)
    size = max(1, round(height * factor)), max(1, round(width * factor))
    values = pixels[None] if pixels.dtype == torch.uint8 else as_float(pixels)[None]
    return as_float(F.interpolate(values, size=size, mode="bilinear", antialias=True)).clamp(0, 1)


def _rows_of(field: Tensor, rows: slice, height: int, width: int) -> Tensor:
    """Give some rows of a field (1, 2, h, w) enlarged to (1, 2, height, width)."""
    down = (torch.arange(rows.start, rows.stop, device=field.device) + 0.5) * (2 / height) - 1
    across = (torch.arange(width, device=field.device) + 0.5) * (2 / width) - 1
    grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)[None]
    return F.grid_sample(field, grid, mode="bilinear", padding_mode="border", align_corners=False)
