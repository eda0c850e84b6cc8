"""Invariance: how many of a query's neighbours remain when its colours change.

*Frozen* is the network, and the bank keeps its colours. *Measured* is the share of a query's
nearest rows that are still among them when the query alone is shown in grey, or its hues are turned
around the grey axis of YIQ (`augment/color.py`). 1 means that colour plays no part; two random
lists of n out of N rows share n / N of their rows.

Both changes leave grey pictures as they are, so only pictures with colour are used as queries.

Goyal, Mahajan, Gupta, Misra, "Scaling and Benchmarking Self-Supervised Visual Representation
Learning", ICCV 2019, https://arxiv.org/abs/1905.01235 asks of representations what they depend on;
the measure here is our own.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from selfsight.augment.color import composed, recolored
from selfsight.looks.neighbours.search import share_kept

HUE_TURNS = (1 / 12, 1 / 4, 1 / 2)  # of a full turn
LEAST_COLOUR = 0.01  # mean of a pixel's greatest less its least channel: past JPEG's rounding
COLOURS = 3

Change = Callable[[Tensor], Tensor]


def without_saturation(pictures: Tensor) -> Tensor:
    """Turn pictures (B, 3, S, S) in [0, 1] grey, with three equal channels."""
    return _changed(pictures, saturation=0.0, turn=0.0)


def hue_turned(pictures: Tensor, turn: float) -> Tensor:
    """Turn the hues of pictures (B, 3, S, S) in [0, 1] by a share of a full turn."""
    return _changed(pictures, saturation=1.0, turn=turn)


def changes() -> dict[str, Change]:
    """List the changes of queries: "grey", and each turn of hue by its share of a full turn."""
    turns = {f"{turn:.4g}": partial(hue_turned, turn=turn) for turn in HUE_TURNS}
    return {"grey": without_saturation, **turns}


def is_coloured(pictures: Tensor) -> Tensor:
    """Mark the pictures (B, C, H, W) in [0, 1] that have colour: -> (B,) bool."""
    if pictures.shape[1] != COLOURS:
        return torch.zeros(len(pictures), dtype=torch.bool)
    return (pictures.amax(dim=1) - pictures.amin(dim=1)).mean(dim=(1, 2)) > LEAST_COLOUR


def why_not(channels: int, coloured: int) -> str | None:
    """Say why nothing can be measured, or None where it can.

    Args:
        channels: Channels of the pictures.
        coloured: How many of the queries have colour.
    """
    if channels == 1:
        return "the pictures have one channel, so they have no colour to lose"
    if channels != COLOURS:
        return f"colour is defined for 3 channels, and the pictures have {channels}"
    return None if coloured else "every query is grey already"


def colour_record(before: Tensor, after: dict[str, Tensor]) -> dict[str, Any]:
    """Compute which share of each list of neighbours remains.

    Args:
        before: (Q, n) rows nearest to the queries as they are.
        after: By change (see `changes`), (Q, n) rows nearest to the changed queries.

    Returns:
        Shares in [0, 1]: `grey_kept`, `hue_kept` (the mean over turns), `hue_kept_by_turn`.
    """
    kept = {name: round(share_kept(before, rows).mean().item(), 4) for name, rows in after.items()}
    turns = {name: share for name, share in kept.items() if name != "grey"}
    return {
        "grey_kept": kept["grey"],
        "hue_kept": round(sum(turns.values()) / len(turns), 4),
        "hue_kept_by_turn": turns,
    }


def _changed(pictures: Tensor, *, saturation: float, turn: float) -> Tensor:
    count, where = len(pictures), pictures.device
    factors = torch.tensor([1.0, 1.0, saturation], device=where).expand(count, 3)
    angles = torch.full((count,), 2 * math.pi * turn, device=where)
    no_mean = torch.zeros(count, 3, device=where)  # contrast stays, so it is not asked for
    return recolored(pictures, composed(no_mean, factors, angles))
