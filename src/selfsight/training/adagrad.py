"""Adagrad for tables: only the rows that a step has taken are moved.

A step reads a few thousand words of a vocabulary that may have a million. Their gradient is sparse,
and a pass over the whole table, as torch's other optimisers take, would cost more than the step.

Duchi, Hazan, Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
Optimization", JMLR 2011, https://jmlr.org/papers/v12/duchi11a.html, section 1.1, the diagonal form:
a weight moves by rate x gradient / sqrt(sum of its squared gradients so far). So rare words, which
have few gradients, take large steps, and it does not matter whether losses are summed or averaged.
"""

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor

LEAST = 1e-10  # added to the root, so that nothing is divided by 0


class Adagrad(torch.optim.Optimizer):
    """Adagrad whose steps cost as much as the rows that have a gradient.

    torch's own does the same to sparse gradients in twice the time, and warns of its own doing.

    Args:
        parameters: As every optimiser takes them.
        lr: Rate.
    """

    def __init__(self, parameters: Iterable[dict[str, Any]], *, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] -- none is asked again
        """Move the weights down their gradients, dense or sparse."""
        for group in self.param_groups:
            for weight in cast(list[Tensor], group["params"]):
                if weight.grad is not None:
                    self._move(weight, weight.grad, group["lr"])

    def _move(self, weight: Tensor, gradient: Tensor, rate: float) -> None:
        """Move one weight."""
        state = self.state[weight]
        if not state:
            state["sum"] = torch.zeros_like(weight)
        total: Tensor = state["sum"]
        if not gradient.is_sparse:
            total.addcmul_(gradient, gradient)
            weight.addcdiv_(gradient, total.sqrt().add_(LEAST), value=-rate)
            return
        gradient = gradient.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
        sums = total.index_select(0, rows).addcmul_(values, values)
        total.index_copy_(0, rows, sums)
        weight.index_add_(0, rows, values / sums.sqrt_().add_(LEAST), alpha=-rate)
