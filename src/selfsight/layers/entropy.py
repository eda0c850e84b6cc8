"""Entropy: the cost of the best blind guess where answers are unequally frequent.

A guess q costs the mean of -log q_k over the answers k, which occur with frequencies p. No q is
cheaper than q = p (Gibbs' inequality), which costs the entropy of p: log K if all K answers are
equally frequent, nearly 0 if almost all are the same.
"""

import torch
from torch import Tensor


def entropy(weights: Tensor) -> float:
    """Compute the entropy of the frequencies of answers.

    Args:
        weights: (K,) frequency or weight of each answer; at least 0, in any unit, not all 0.

    Returns:
        In nats, from 0 (a single answer) to log K (all equally frequent).
    """
    shares = weights.double() / weights.double().sum()
    return float(torch.special.entr(shares).sum())
