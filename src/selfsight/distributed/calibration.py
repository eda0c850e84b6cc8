"""Calibration: sets the running statistics of batch normalisations from a few batches.

Running statistics begin at mean 0 and variance 1, which fit no layer. Until they are set, an
untrained network in evaluation mode answers nearly the same to every picture.
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

    Nothing else changes: all other modules are in evaluation mode and draw nothing random. Several
    processes each calibrate alone, and get the same result from the same pictures.

    Args:
        network: Takes the pictures.
        batches: Each (B, C, S, S) in [0, 1], of the same size B, at least 2.
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
