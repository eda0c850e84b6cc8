"""Drift: measures how far the target of a contrastive task moves in a step.

Keys computed before a step differ from those computed after it; queues, memory banks and momentum
encoders must cope with that. The measure is the mean cosine between the keys of the same pictures
before and after: 1 for a target that does not move. It is taken now and then on a few pictures, in
evaluation mode and without gradients, which costs little.
"""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from selfsight.encoders import evaluating

EVERY, PICTURES = 25, 16  # steps between measurements; pictures measured


class Drift(nn.Module):
    """Keeps the keys of some pictures during a step, and compares them with those after it.

    The time of the last measurement is part of the task's state, so that a resumed run measures at
    the same steps as an uninterrupted one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_pre_hook(_of_an_older_run)
        self._period: int | None = None  # number of the period of 25 steps that this step is in
        self._looked = -1  # the last period with a measurement
        self._pictures: Tensor | None = None
        self._keys: Tensor | None = None

    def get_extra_state(self) -> Tensor:
        """Give the last period with a measurement, () int64; -1 if there was none."""
        return torch.tensor(self._looked)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the last period with a measurement."""
        self._looked = int(state)

    def begin(self, step: int) -> None:
        """Begin a step, from 0; of every 25 steps the first in which the task runs is measured."""
        self._period = step // EVERY
        self._pictures = self._keys = None

    def keep(self, pictures: Tensor, embed: Callable[[Tensor], Tensor], network: nn.Module) -> None:
        """Keep the keys of the first of these pictures, if this step is measured.

        Args:
            pictures: (B, C, S, S) in [0, 1].
            embed: Maps them to keys (B, width) of length 1.
            network: The network that `embed` uses; it is in evaluation mode meanwhile.
        """
        first = self._pictures is None
        if first and self._period is not None and self._period > self._looked:
            self._pictures = pictures[:PICTURES].detach().clone()
            self._keys = _embedded(self._pictures, embed, network)

    def moved(self, embed: Callable[[Tensor], Tensor], network: nn.Module) -> dict[str, Tensor]:
        """Compare with the keys as they are now: -> {"target_cosine": in [-1, 1]}, or nothing."""
        if self._pictures is None or self._keys is None or self._period is None:
            return {}
        self._looked, self._period = self._period, None
        now = _embedded(self._pictures, embed, network)
        cosine = (self._keys * now).sum(dim=1).mean()
        self._pictures = self._keys = None
        return {"target_cosine": cosine}


def _of_an_older_run(drift: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Load states saved before measurements were part of them, as if there had been none."""
    state.setdefault(f"{prefix}_extra_state", torch.tensor(-1))


@torch.no_grad()
def _embedded(pictures: Tensor, embed: Callable[[Tensor], Tensor], network: nn.Module) -> Tensor:
    """Embed in float32: rounding to bf16 would look like a movement."""
    kind = pictures.device.type
    with evaluating(network), torch.autocast(kind, enabled=False), _as_it_is(network):
        return embed(pictures).float()


def _as_it_is(network: nn.Module) -> AbstractContextManager[object]:
    """Run compiled parts uncompiled, so that nothing is recompiled for a few pictures."""
    parts = network.modules()
    if any(p._compiled_call_impl is not None for p in parts):  # pyright: ignore[reportPrivateUsage] -- no public way
        return torch.compiler.set_stance("force_eager")
    return contextlib.nullcontext()
