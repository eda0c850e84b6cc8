"""Gathering: the rows of all processes that train one task together, with gradients.

Tasks never ask which process they run in. `gathered` gives the rows of all processes in order, and
`own_rows` says which of them belong to this process; in a single process both change nothing. One
rule makes several processes compute the loss of one: each averages the loss over its own samples,
whatever they are compared with. The training then averages gradients over processes, and the
gradient with respect to rows of another process is sent back to it and added. The result is the
gradient of the joint loss.
"""

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor


def processes() -> int:
    """Give the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gathered(rows: Tensor) -> Tensor:
    """Join the rows of all processes, with gradients.

    Args:
        rows: (B, ...), with the same B in every process.

    Returns:
        (P B, ...), those of the first process first. Gradients with respect to them go back to the
        process that owns the rows, summed over all processes that used them.
    """
    if processes() == 1:
        return rows
    return cast(Tensor, _Gathered.apply(rows))


def own_rows(rows: int) -> slice:
    """Tell which of the joint rows belong to this process.

    Args:
        rows: Number of rows of this process, B.
    """
    first = dist.get_rank() * rows if processes() > 1 else 0
    return slice(first, first + rows)


def summed(values: Tensor) -> Tensor:
    """Sum a tensor over processes, without gradients: -> a new tensor, the same in all."""
    total = values.detach().contiguous().clone()
    if processes() > 1:
        dist.all_reduce(total)
    return total


class _Gathered(torch.autograd.Function):
    """Joins rows; gradients are summed, and each process keeps those of its own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        flat = rows.contiguous()
        parts = [torch.empty_like(flat) for _ in range(processes())]
        dist.all_gather(parts, flat)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return summed(gradients[0])[own_rows(ctx.rows)]
