"""Batches of words: what a task of this modality receives.

Legend: B batch, T words of the longest passage.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from selfsight.data.words.passages import Passages
from selfsight.draws import Draws


class Words(NamedTuple):
    """Passages of running text, each word by its number in the vocabulary.

    Attributes:
        tokens: (B, T) int64 numbers of words, in the order of the text; what is past the end of a
            passage is 0 and none of it.
        extent: (B,) int64, how many words each passage has, at least 1.
        index: (B,) int64, each passage's place in the data.
        draws: This batch's randomness.
    """

    tokens: Tensor
    extent: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride] -- tuple.index is not used
    draws: Draws

    @classmethod
    def of(cls, tokens: Tensor, *, seed: int = 0, epoch: int = 0) -> "Words":
        """Wrap passages (B, T) that are all of one length, numbered from 0."""
        index = torch.arange(len(tokens), device=tokens.device)
        extent = torch.full_like(index, tokens.shape[1])
        return cls(tokens, extent, index, Draws(seed, epoch, index))

    @classmethod
    def from_rows(
        cls,
        samples: Passages,
        rows: Tensor,
        *,
        seed: int,
        epoch: int,
        device: torch.device | str = "cpu",
    ) -> "Words":
        """Make a batch of the passages of `rows` (B,) int64, see `data.batches.Batch`."""
        tokens, extent = samples.taken(rows)
        here = rows.to(device, non_blocking=True)
        return cls(
            tokens.to(device, non_blocking=True),
            extent.to(device, non_blocking=True),
            here,
            Draws(seed, epoch, here),
        )
