"""Shares: what the best guess without looking costs where answers are unequally frequent.

A guess q costs the mean of -log q_k over the answers k, of which there are shares p. No q is
cheaper than q = p (Gibbs' inequality), and that one costs the entropy of p: log K where all K
answers are equally frequent, next to nothing where nearly all are the same.
"""

import torch
from torch import Tensor


def entropy(weights: Tensor) -> float:
    """Give the entropy of answers' shares.

    Args:
        weights: (K,) how often each answer is asked for, or how much it counts; at least 0, in any
            unit, not all of them 0.

    Returns:
        In nats, from 0 (one answer alone) to log K (all alike).
    """
    shares = weights.double() / weights.double().sum()
    return float(torch.special.entr(shares).sum())
