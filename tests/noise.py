"""Noise: pictures that nobody took, of noise or of smooth fields, and batches of them."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.data.pictures.batch import Images


def noise_array(kind: str, *shape: int, seed: int = 0) -> np.ndarray:
    """Draw numbers of a kind evenly: whole ones among all of the kind, others in [0, 1)."""
    draw = np.random.default_rng(seed)
    if kind.startswith("f"):
        return draw.random(shape).astype(kind)
    native = np.dtype(kind).newbyteorder("=")
    return draw.integers(0, np.iinfo(kind).max + 1, shape, dtype=native).astype(kind)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Draw numbers in [0, 1) evenly, as float32."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def numbered(images: Tensor, first: int) -> Images:
    """Wrap pictures that are the data's from `first` on, so with draws of their own."""
    batch = Images.of(images)
    index = batch.index + first
    return batch._replace(index=index, draws=type(batch.draws)(0, 0, index))


def noise_batch(first: int, count: int, *, size: int) -> Images:
    """Make pictures of noise, each another by its number."""
    generator = torch.Generator().manual_seed(first)
    pixels = torch.randint(0, 256, (count, 3, size, size), generator=generator)
    return numbered(pixels.to(torch.uint8), first)


def smooth_batch(first: int, count: int, *, size: int) -> Images:
    """Make pictures of smooth noise: a view of it shows whose it is."""
    batch = noise_batch(first, count, size=size)
    coarse = batch.images[:, :, :3, :3].float() / 255
    return batch._replace(images=F.interpolate(coarse, size=size, mode="bilinear"))


def noise_fields(generator: torch.Generator, count: int, *, side: int) -> Tensor:
    """Draw grey pictures (N, 1, side, side) of noise."""
    return torch.rand(count, 1, side, side, generator=generator)


def smooth_fields(generator: torch.Generator, count: int, *, side: int, cell: int) -> Tensor:
    """Draw grey fields (N, 1, side, side) that change over `cell` pixels, alike in all places.

    They go on across any border that is drawn in them: two cells at each edge are cut off.
    """
    cells, edge = side // cell + 4, 2 * cell
    coarse = torch.randn(count, 1, cells, cells, generator=generator)
    fine = F.interpolate(coarse, scale_factor=cell, mode="bicubic")
    return (0.15 * fine[:, :, edge : edge + side, edge : edge + side] + 0.5).clamp(0, 1)


@torch.no_grad()
def told_apart(task: Any, batch: Images) -> float:
    """Tell by how much a view is more like its partner than like others: 0 for a single point."""
    first, second = (task.embed(views) for views in task.views(batch))
    alike = first @ second.T
    others = alike[~torch.eye(len(alike), dtype=torch.bool)]
    return (alike.diagonal().mean() - others.mean()).item()
