"""Momentum encoder: a network that follows another one slowly, and is never trained itself.

He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020,
https://arxiv.org/abs/1911.05722, section 3.2, equation 2: k <- m k + (1 - m) q for every weight.
Batch statistics are its own: it sees batches of its own.
"""

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from selfsight.layers.heads import of_length_1


class MomentumEncoder(nn.Module):
    """A copy of an encoder and its head that follows them.

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
        """Move every weight towards those that are followed, all of them in one call.

        Args:
            encoder: What the copy was made of.
            head: Likewise.
            momentum: Share of the old weights that is kept, in [0, 1]; 0 copies.
        """
        mine: list[Tensor] = [*self.encoder.parameters(), *self.head.parameters()]
        theirs: list[Tensor] = [*encoder.parameters(), *head.parameters()]
        get_ema_multi_avg_fn(momentum)(mine, theirs, 0)  # the last is how often, which is ignored
