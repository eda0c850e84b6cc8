"""Sizes: which sides of pictures an architecture takes.

A transformer takes multiples of its patch; windows, relative positions and joined branches demand
more, differently in each family. So a side is tried out: the network is built and run on torch's
meta device, which computes shapes without values.
"""

import functools
import math
from typing import Any, cast

import timm
import torch
from torch import nn

from selfsight.encoders.encoder import look_into, named_layers
from selfsight.encoders.own_architectures import OWN
from selfsight.errors import UsageError

_FINE = 4  # multiples of the patch tried on either side
_COARSE = 16  # px: further away only multiples of this are tried
_FURTHEST = 384  # px


def size_arguments(name: str, size: int) -> dict[str, int]:
    """Give the keyword arguments that tell a timm model the side of its pictures."""
    entry = timm.get_pretrained_cfg(name)
    return {"img_size": size} if entry is not None and entry.fixed_input_size else {}


def patch_side(model: nn.Module) -> int:
    """Give the side of a network's patches in pixels, 1 if it has none or they overlap."""
    embedding = getattr(model, "patch_embed", None)
    convolution = getattr(embedding, "proj", None)
    if isinstance(convolution, nn.Conv2d) and convolution.stride != convolution.kernel_size:
        return 1
    side = getattr(embedding, "patch_size", 1)
    return max(cast(tuple[int, ...], side)) if isinstance(side, tuple) else int(side)


@functools.cache
def size_step(name: str) -> int:
    """Give the step between the sides that a network takes: its patch side in pixels, or 1.

    Not every multiple may be possible; `fitting_size` tries them out.

    >>> size_step("vit_small_patch14_dinov2"), size_step("resnet18")
    (14, 1)
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return patch_side(timm.create_model(OWN.get(name, name), num_classes=0))


def fitting_size(name: str, wanted: int) -> int:
    """Choose the side nearest to a wanted one that an encoder takes.

    Args:
        name: "small" or another of ours, or any timm model's name; for an unknown name `wanted` is
            returned.
        wanted: Side of the pictures, in pixels.

    Raises:
        UsageError: If the network's layers cannot be read at any side.
    """
    name = OWN.get(name, name)
    if not timm.is_model(name):
        return wanted
    for size in _candidates(wanted, size_step(name)):
        if fits(name, {}, size):
            return size
    return wanted


def nearest_sizes(name: str, arguments: dict[str, Any], size: int) -> list[int]:
    """Find the nearest possible sides below and above an impossible one: at most two."""
    candidates = [c for c in _candidates(size, size_step(name)) if c != size]
    parts = ([c for c in candidates if c < size], [c for c in candidates if c > size])
    found = [next((c for c in part if fits(name, arguments, c)), None) for part in parts]
    return [c for c in found if c is not None]


def fits(name: str, arguments: dict[str, Any], size: int) -> bool:
    """Tell by trying whether a network can be built for pictures of this side and run on one.

    Args:
        name: The timm name.
        arguments: Keyword arguments for `timm.create_model`.
        size: Side of the pictures, in pixels.

    Raises:
        UsageError: If the network's layers cannot be read at any side.
    """
    arguments = {"num_classes": 0, "in_chans": 3} | arguments | size_arguments(name, size)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
            model = timm.create_model(name, **arguments).eval()
            picture = torch.empty(1, arguments["in_chans"], size, size)
            look_into(model, named_layers(model), picture)
            model(picture)
    except UsageError:
        raise  # no side would help
    except Exception:  # any error of a network of timm's means that the side does not fit
        return False
    return size % patch_side(model) == 0


def _candidates(wanted: int, step: int) -> list[int]:
    """List the sides to try, the nearest first; of two equally near, the larger first."""
    middle, coarse = round(wanted / step), math.lcm(step, _COARSE)
    fine = {step * i for i in range(middle - _FINE, middle + _FINE + 1)} if step > 1 else {wanted}
    sides = fine | set(range(coarse, max(_FURTHEST, 2 * wanted) + 1, coarse))
    return sorted((s for s in sides if s > 0), key=lambda s: (abs(s - wanted), -s))
