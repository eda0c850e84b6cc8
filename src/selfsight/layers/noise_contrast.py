"""Noise contrast: losses that tell a picture's own entry in a memory bank from other entries.

There are two losses. "softmax" asks which of the entries is the picture's own: -log of exp(s / T)
over its sum with those of all other entries compared. "nce" asks of every entry whether it is the
own one or one of m drawn uniformly from the bank as noise (Wu et al., CVPR 2018,
https://arxiv.org/abs/1805.01978, section 3.2, equations 4 to 8):

    P = exp(s / T) / Z        the model's probability of an entry of cosine s
    h = P / (P + m / N)       the probability that it is the own one rather than noise
    loss = -log h(own) - sum over the noise of log(1 - h)

With x = s / T - log Z - log(m / N) these are -log h = softplus(-x) and -log(1 - h) = softplus(x).
Z is a constant. The paper takes N times the mean of exp(s / T) in the first batches; we take the
mean over pairs of the bank's first entries, so that it does not depend on which batches come first.

The whole joint batch shares the noise: every sample draws its part of it, so that a step reads m
entries in total, not m for each sample, and compares by one matrix product. A sample is never
compared with its own entry as noise, which the paper's authors allow.
"""

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.data.pictures.batch import Images
from selfsight.distributed.gather import gathered, processes
from selfsight.layers.memory_bank import MemoryBank

Objective = Literal["nce", "softmax"]

LOOKED_AT = 1000  # entries from which the constant Z is estimated
ALL_UP_TO = 8192  # pictures: a product with a larger bank would slow the step down


def usual_negatives(samples: int, drawn: int) -> int:
    """Choose the number of entries to compare with: all others of few pictures, else `drawn`."""
    return samples - 1 if samples <= ALL_UP_TO else drawn


def drawn_noise(batch: Images, samples: int, count: int) -> Tensor:
    """Draw entries of the bank uniformly, with repetition, for the joint batch: -> (count,) int64.

    Every sample draws its part; surplus draws are dropped by lot.
    """
    joint = processes() * len(batch.index)
    share = math.ceil(count / joint)
    drawn = batch.draws.uniform("noise/entries", 2 * share).view(-1, share, 2)
    drawn = gathered(drawn.flatten(0, 1))  # (joint batch * share, 2) entry and lot
    if len(drawn) > count:
        drawn = drawn[drawn[:, 1].topk(count, largest=False).indices]
    return (drawn[:, 0].double() * samples).long()


class Contrasted(NamedTuple):
    """The result of comparing embeddings with their own entries and with others.

    Attributes:
        losses: (B,) in nats.
        found: (B,) 1 if the own entry is nearer than all other entries compared, else 0.
    """

    losses: Tensor
    found: Tensor


class NoiseContrast(nn.Module):
    """Compares embeddings with their own entries of a bank, and with others.

    Args:
        samples: Number of the bank's entries, N.
        objective: "nce" or "softmax".
        negatives: Number of other entries to compare with, m, from 1 to N - 1; N - 1 takes all of
            them without drawing.
        temperature: T, above 0.

    Attributes:
        blind: Cost of a blind guess, for which all entries are equally likely.
        chance: Share of samples whose entry a blind guess finds.
    """

    log_mean: Tensor

    def __init__(
        self,
        samples: int,
        *,
        objective: Objective,
        negatives: int,
        temperature: float,
    ) -> None:
        super().__init__()
        if not 1 <= negatives < samples:
            raise ValueError(
                f"negatives must be from 1 to the {samples - 1} other samples, got {negatives}"
            )
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be above 0 and finite, got {temperature}")
        if objective not in ("nce", "softmax"):
            raise ValueError(f"objective must be nce or softmax, got {objective}")
        self.samples, self.negatives = samples, negatives
        self.objective, self.temperature = objective, temperature
        self.register_buffer("log_mean", torch.zeros(()))  # log(Z / N)

    @torch.no_grad()
    def estimate(self, bank: MemoryBank) -> None:
        """Estimate the constant Z from at most 1,000 evenly spaced entries of the bank."""
        some = bank.entries[:: -(-self.samples // LOOKED_AT)]
        logits = some @ some.T / self.temperature
        logits.fill_diagonal_(-torch.inf)
        pairs = len(some) * (len(some) - 1)
        self.log_mean.copy_(logits.flatten().logsumexp(dim=0) - math.log(pairs))

    @property
    def blind(self) -> float:
        """Cost, in nats, if every entry has the probability 1 / N."""
        m = self.negatives
        if self.objective == "softmax":
            return math.log(1 + m)
        return math.log(1 + m) + m * math.log(1 + 1 / m)

    @property
    def chance(self) -> float:
        """Share of samples whose own entry a blind guess finds."""
        return 1 / (1 + self.negatives)

    def draw(self, batch: Images) -> Tensor | None:
        """Draw the entries to compare the joint batch with: -> (m,) int64, None for all."""
        if self.negatives == self.samples - 1:
            return None
        return drawn_noise(batch, self.samples, self.negatives)

    def forward(
        self, embedded: Tensor, index: Tensor, noise: Tensor | None, bank: MemoryBank
    ) -> Contrasted:
        """Compute losses and hits.

        Args:
            embedded: (B, W), length 1.
            index: (B,) places of their own entries.
            noise: The result of `draw`.
            bank: A bank of N entries.
        """
        with torch.autocast(embedded.device.type, enabled=False):
            embedded = embedded.float() / self.temperature
            others = bank.entries if noise is None else bank(noise)
            own = (embedded * bank(index)).sum(dim=1)  # (B,)
            logits = embedded @ others.T  # (B, m or N)
            if noise is None:
                itself = torch.zeros_like(logits, dtype=torch.bool)
                itself.scatter_(1, index[:, None], True)
            else:
                itself = index[:, None] == noise
            logits = logits.masked_fill(itself, -torch.inf)
            price = _softmax if self.objective == "softmax" else self._nce
            losses = price(own, logits)
        return Contrasted(losses, (own > logits.amax(dim=1)).float())

    def _nce(self, own: Tensor, others: Tensor) -> Tensor:
        shift = self.log_mean + math.log(self.negatives)  # of Z m / N
        return F.softplus(shift - own) + F.softplus(others - shift).sum(dim=1)


def _softmax(own: Tensor, others: Tensor) -> Tensor:
    """Score the choice of the own entry among all: logits (B,) and (B, m) -> (B,) nats."""
    return torch.logaddexp(own, others.logsumexp(dim=1)) - own
