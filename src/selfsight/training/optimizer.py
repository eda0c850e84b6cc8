"""Optimizer: choice of optimiser, learning rate and schedule, and which weights decay."""

import math
from typing import Any

import torch
from torch import nn

from selfsight.encoders.encoder import batch_norms
from selfsight.errors import UsageError
from selfsight.modalities.base import Usual
from selfsight.settings import Pretrain
from selfsight.tasks.base import Task
from selfsight.training.plan import Plan


def optimization(
    settings: Pretrain, encoder: nn.Module, batch: int, usual: Usual
) -> dict[str, Any]:
    """Choose optimiser, rate, decay and clipping where they were not given.

    SGD works with the scale-free gradients of batch normalisation; networks without it need
    AdamW. Rates grow linearly with the batch up to a ceiling (Goyal et al., "Accurate, Large
    Minibatch SGD", 2017, https://arxiv.org/abs/1706.02677, section 2.1).

    Raises:
        UsageError: If the given optimiser is not available for the modality.
    """
    if settings.optimizer not in (None, *usual.optimizers):
        raise UsageError(
            f"--optimizer must be {' or '.join(usual.optimizers)} here, got {settings.optimizer}"
        )
    by_rule = "sgd" if batch_norms(encoder) else "adamw"
    optimizer = settings.optimizer or (
        by_rule if by_rule in usual.optimizers else usual.optimizers[0]
    )
    sgd = optimizer == "sgd"
    rate = min(0.1, 0.1 * batch / 64) if sgd else min(2e-3, 1e-3 * batch / 64)
    decay = 5e-4 if sgd else 0.05
    if settings.decay is not None:
        decay = settings.decay
    elif usual.decay is not None:
        decay = usual.decay
    return {
        "optimizer": optimizer,
        "rate": settings.rate or usual.rate or rate,
        "decay": decay,
        "clip": settings.clip or (1.0 if optimizer == "adamw" else None),
    }


def rate_factor(step: int, steps: int, warmup: int, schedule: str) -> float:
    """Give the share of the peak rate at a step, in (0, 1].

    Linear warm-up, then a half cosine (Loshchilov, Hutter, "SGDR", ICLR 2017,
    https://arxiv.org/abs/1608.03983, with one cycle) or tenths at 60 and 80 % of the steps.

    >>> [round(rate_factor(s, 100, 5, "cosine"), 3) for s in (0, 4, 5, 52, 99)]
    [0.2, 1.0, 1.0, 0.508, 0.0]
    """
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    if schedule == "step":
        return 1.0 if done < 0.6 else 0.1 if done < 0.8 else 0.01
    return 0.5 * (1 + math.cos(math.pi * done))


def parameter_groups(task: Task, decay: float) -> list[dict[str, Any]]:
    """Group the parameters: weights with decay; biases and normalisation without.

    Parameters that the task names get its factor of the rate.
    """
    own = task.parameter_groups()
    factors = {id(p): float(group["rate"]) for group in own for p in group["params"]}
    groups: list[dict[str, Any]] = []
    parameters = [p for p in task.parameters() if p.requires_grad]
    for factor in sorted({1.0, *factors.values()}):
        mine = [p for p in parameters if factors.get(id(p), 1.0) == factor]
        groups += [
            {"params": [p for p in mine if p.ndim > 1], "weight_decay": decay, "factor": factor},
            {"params": [p for p in mine if p.ndim <= 1], "weight_decay": 0.0, "factor": factor},
        ]
    return groups


def make_optimizer(task: Task, of: Plan) -> torch.optim.Optimizer:
    """Make the optimiser, its steps fused into one pass over the weights.

    torch's fused SGD needs momentum for all weights of a group or for none, but unused parameters
    have none yet.
    """
    groups = parameter_groups(task, of.decay)
    if of.optimizer == "sgd":
        way = {"foreach": True} if of.resting else {"fused": True}
        return torch.optim.SGD(groups, lr=of.rate, momentum=0.9, nesterov=True, **way)
    return torch.optim.AdamW(groups, lr=of.rate, fused=True)
