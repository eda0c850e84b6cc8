"""Calibrating: statistics that a network's batch normalisations can be evaluated with, at once.

Running statistics begin at mean 0 and variance 1, which are those of no layer. A network that is
asked before its first step answers nearly the same to every picture, until they are set.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from selfsight.distributed.batch_statistics import without_exchange
from selfsight.encoders import evaluating
from selfsight.encoders.encoder import batch_norms


@torch.no_grad()
def calibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running statistics of every batch normalisation to their averages over batches.

    Nothing else changes: all other parts are as in evaluation, so that nothing random is drawn.
    Several processes each do it alone, and with the same pictures come to the same.

    Args:
        network: Takes the pictures.
        batches: Each (B, C, S, S) in [0, 1], at least 2 pictures, all as many.
    """
    norms = batch_norms(network)
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    with evaluating(network), without_exchange(network):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum, norm.training = None, True  # None: a plain average
        for pictures in batches:
            network(pictures)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum, norm.training = momentum, False
