"""Weighted sums of a picture's lines or channels, with the same bits in every batch.

A batched matrix product computes the same sums, but its kernel, and with it the last digits,
depends on the number of pictures and on the processor: a picture alone would differ from the same
picture within a batch. Here the order of every sum is fixed and does not depend on the batch.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Lines(NamedTuple):
    """Which lines of a picture are summed into new lines, and with which weights.

    Attributes:
        chosen: (Q, K) int64: the numbers of the K lines in each of Q sums, the same for all
            pictures.
        weights: (B, Q, K), separate for each picture.
    """

    chosen: Tensor
    weights: Tensor

    @classmethod
    def all_of(cls, weights: Tensor) -> "Lines":
        """Sum all lines with the weights of a matrix (B, Q, K)."""
        count, lines = weights.shape[1:]
        return cls(torch.arange(lines, device=weights.device).expand(count, lines), weights)


def weighted_sums(rows: Tensor, lines: Lines) -> Tensor:
    """Sum rows (B, R, L) of every picture with weights: -> (B, Q, L)."""
    batch, count, length = rows.shape
    sums, terms = lines.chosen.shape
    first = torch.arange(0, batch * count, count, device=rows.device)[:, None, None]
    found = F.embedding_bag(
        (first + lines.chosen).view(batch * sums, terms),
        rows.reshape(batch * count, length),
        per_sample_weights=lines.weights.expand(batch, -1, -1).reshape(batch * sums, terms),
        mode="sum",
    )
    return found.view(batch, sums, length)


def filtered(pictures: Tensor, down: Lines, across: Lines) -> Tensor:
    """Filter pictures (B, C, h, w) separably: first from top to bottom, then from left to right."""
    batch, channels, height, width = pictures.shape
    tall, wide = len(down.chosen), len(across.chosen)
    # Channels are placed side by side, because they share their weights.
    rows = pictures.transpose(1, 2).reshape(batch, height, channels * width)
    rows = weighted_sums(rows, down).view(batch, tall, channels, width)
    columns = rows.permute(0, 3, 2, 1).reshape(batch, width, channels * tall)
    columns = weighted_sums(columns, across).view(batch, wide, channels, tall)
    return columns.permute(0, 2, 3, 1).contiguous()


def product(first: Tensor, second: Tensor) -> Tensor:
    """Multiply small matrices (..., n, k) and (..., k, m): -> (..., n, m)."""
    parts = (
        column[..., :, None] * row[..., None, :]
        for column, row in zip(first.unbind(dim=-1), second.unbind(dim=-2), strict=True)
    )
    whole = next(parts)
    for part in parts:
        whole = whole + part
    return whole
