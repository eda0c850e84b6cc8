"""Momentum encoder: a moving average of another network's weights, without gradients.

He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020,
https://arxiv.org/abs/1911.05722, section 3.2, equation 2: k <- m k + (1 - m) q for every weight.
Its batch statistics are not averaged: they come from the batches that it sees itself.
"""

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from selfsight.layers.heads import of_length_1


class MomentumEncoder(nn.Module):
    """A copy of an encoder and its head whose weights follow theirs.

    Args:
        encoder: Maps pictures (B, C, S, S) to features (B, D).
        head: Maps features to (B, width).
    """

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder)
        self.head = copy.deepcopy(head)
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Encode pictures (B, C, S, S) in [0, 1]: -> keys (B, width) of length 1, float32."""
        return of_length_1(self.head(self.encoder(pictures)))

    @torch.no_grad()
    def follow(self, encoder: nn.Module, head: nn.Module, momentum: float) -> None:
        """Move all weights towards those of the original.

        Args:
            encoder: The encoder that was copied.
            head: The head that was copied.
            momentum: Share of the old weights that is kept, in [0, 1]; 0 copies.
        """
        mine: list[Tensor] = [*self.encoder.parameters(), *self.head.parameters()]
        theirs: list[Tensor] = [*encoder.parameters(), *head.parameters()]
        get_ema_multi_avg_fn(momentum)(mine, theirs, 0)  # the last argument, a count, is ignored
