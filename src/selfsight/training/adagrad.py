"""Adagrad for tables: only the rows that a step has taken are moved.

A step reads a few thousand words of a vocabulary that may have a million. Their gradient is sparse,
and a pass over the whole table, as torch's other optimisers take, would cost more than the step.

Duchi, Hazan, Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
Optimization", JMLR 2011, https://jmlr.org/papers/v12/duchi11a.html, section 1.1, the diagonal form:
a weight moves by rate x gradient / sqrt(sum of its squared gradients so far). The sum begins at
`START` rather than 0: until a word's gradients amount to that it moves as by plain descent at a
quarter of the rate, and then ever less. From 0, the first step of a rare word would be as long as
the whole rate in every direction, whatever its gradient; such words then were everyone's nearest.
"""

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor

START = 16.0  # of the sum of squared gradients


class Adagrad(torch.optim.Optimizer):
    """Adagrad whose steps cost as much as the rows that have a gradient.

    torch's own takes twice the time for sparse gradients, and warns of its own doing.

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
            state["sum"] = torch.full_like(weight, START)
        total: Tensor = state["sum"]
        if not gradient.is_sparse:
            total.addcmul_(gradient, gradient)
            weight.addcdiv_(gradient, total.sqrt(), value=-rate)
            return
        gradient = gradient.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
        sums = total.index_select(0, rows).addcmul_(values, values)
        total.index_copy_(0, rows, sums)
        weight.index_add_(0, rows, values / sums.sqrt_(), alpha=-rate)
