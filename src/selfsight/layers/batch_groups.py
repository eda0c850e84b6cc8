"""Batch groups: one device computes batch statistics in groups, as several devices would.

He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020,
https://arxiv.org/abs/1911.05722, section 3.3: if a query and its key are normalised with the same
other pictures, the statistics reveal which key belongs to which query. On several devices keys are
shuffled between the devices; on one device they are shuffled between groups.

The batch of one process in G groups and the batches of P processes in G / P groups each form the
same groups of rows, so results do not depend on the number of processes.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from selfsight.distributed.gather import processes, summed
from selfsight.encoders.encoder import batch_norms

_torch = cast(Any, torch)  # its operations on lists of tensors have no public names


def in_groups(network: nn.Module, pictures: Tensor, groups: int) -> Tensor:
    """Run a network on groups of consecutive rows, each with its own batch statistics.

    Running statistics move as far as in one pass, by the average of the groups' statistics. In
    evaluation mode rows do not depend on each other, and one pass suffices.

    Args:
        network: Maps (B, ...) to (B, D).
        pictures: (N, ...).
        groups: Number of groups, at most N; their sizes differ by at most 1.

    Returns:
        (N, D).
    """
    if groups == 1 or not network.training:
        return network(pictures)
    running = running_statistics(network)
    before = [values.clone() for values in running]
    total = [torch.zeros_like(values) for values in running]
    rows: list[Tensor] = []
    for part in pictures.tensor_split(groups):
        rows.append(network(part))
        if running:
            _torch._foreach_add_(total, running, alpha=1 / groups)
            _torch._foreach_copy_(running, before)
    if running:
        _torch._foreach_copy_(running, total)
    return torch.cat(rows)


def share_statistics(*networks: nn.Module) -> None:
    """Average running statistics over processes, so that all processes have the same."""
    if processes() == 1:
        return
    running = [values for network in networks for values in running_statistics(network)]
    if not running:
        return
    joint = summed(torch.cat([values.flatten() for values in running])) / processes()
    parts = joint.split([values.numel() for values in running])
    _torch._foreach_copy_(running, list(parts))


def running_statistics(network: nn.Module) -> list[Tensor]:
    """List the running means and variances of every batch normalisation.

    They are aliases whose changes autograd does not track: it saves running statistics for the
    backward pass, although a pass in training mode does not need them there.
    """
    both = [(norm.running_mean, norm.running_var) for norm in batch_norms(network)]
    return [values.data for pair in both for values in pair if values is not None]
