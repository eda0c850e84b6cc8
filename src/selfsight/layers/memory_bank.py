"""Memory bank: what the network last made of every picture, to compare others with.

Wu, Xiong, Yu, Lin, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR
2018, https://arxiv.org/abs/1805.01978, section 3.1. A step reads any of the entries and changes
those of its own pictures, after the optimiser's step. An entry is up to an epoch old.

In the paper entries begin as random vectors, which a first epoch of steps has to overwrite: until
then a picture's own entry says nothing of it, and what a step learns is to point away from those
that were seen. Short trainings are over before that is made good. `fill` begins with what the
untrained network makes of the pictures.
"""

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.distributed.gather import gathered
from selfsight.errors import UsageError
from selfsight.system.machine import size_in_words

if TYPE_CHECKING:
    from selfsight.tasks.base import Facts


def samples_of(facts: "Facts", task: str) -> int:
    """Take the number of pictures from the data.

    Raises:
        UsageError: If another one was asked for: a picture's place in the data is that of its
            entry.
    """
    asked = facts.chosen.get("samples")
    if asked not in (None, facts.samples):
        raise UsageError(
            f"samples of {task} must be the {facts.samples} of the data, got {asked}; leave it out"
        )
    return facts.samples


class MemoryBank(nn.Module):
    """A vector of length 1 for each of N pictures.

    Args:
        samples: How many pictures, N, at least 2. A picture's entry is at its place in the data.
        width: Width W of the vectors.
        momentum: Share of an old entry that stays when its picture is seen again, from 0 to
            below 1.

    Attributes:
        entries: (N, W). They begin as random vectors, by torch's generator: a run builds its task
            under its seed, in every process alike.
    """

    entries: Tensor

    def __init__(self, samples: int, width: int, momentum: float = 0.5) -> None:
        super().__init__()
        if samples < 2:
            raise ValueError(f"a memory bank needs at least 2 samples, got {samples}")
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be from 0 to below 1, got {momentum}")
        self.momentum = momentum
        # Normal vectors point to all sides alike.
        self.register_buffer("entries", F.normalize(torch.randn(samples, width), dim=1))

    def forward(self, index: Tensor) -> Tensor:
        """Read entries: places (K,) int64 -> (K, W)."""
        return self.entries[index]

    @torch.no_grad()
    def fill(self, embedded: Tensor) -> None:
        """Replace all entries: by vectors (N, W) of any length, in the order of the data."""
        self.entries.copy_(F.normalize(embedded, dim=1))

    @torch.no_grad()
    def follow(self, index: Tensor, embedded: Tensor) -> Tensor:
        """Move the entries of pictures towards what the network makes of them now.

        M <- (m M + (1 - m) v) / |m M + (1 - m) v|, for the pictures of all processes.

        Args:
            index: (B,) int64, places of this process's pictures, each of them once.
            embedded: (B, W), length 1.

        Returns:
            Scalar in [-1, 1], the mean cosine between old and new entries: 1 where nothing moves.
        """
        index, embedded = gathered(index), gathered(embedded)
        old = self.entries[index]
        new = F.normalize(self.momentum * old + (1 - self.momentum) * embedded, dim=1)
        self.entries[index] = new
        return (F.normalize(old, dim=1) * new).sum(dim=1).mean()

    def note(self) -> str:
        """Say what the bank costs."""
        samples, width = self.entries.shape
        size = size_in_words(4 * math.prod(self.entries.shape))
        return (
            f"the memory bank holds {width} numbers of each of the {samples:,} pictures ({size}) "
            "and grows with them"
        )
