"""Memory bank: the last embedding of every picture, for comparison with other pictures.

Wu, Xiong, Yu, Lin, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR
2018, https://arxiv.org/abs/1805.01978, section 3.1. A step reads any entries and, after the
optimiser's step, changes those of its own pictures. An entry is at most an epoch old.

In the paper entries begin as random vectors, which the steps of the first epoch overwrite. Until
then a picture's own entry is meaningless, and a step only learns to point away from the pictures
seen so far; short trainings end before they recover. `fill` begins with the untrained network's
embeddings instead.
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
        UsageError: If another number was asked for: every picture has one entry, at its own place
            in the data.
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
        entries: (N, W). They begin as random vectors from torch's generator, which a run seeds
            equally in all processes when it builds its task.
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
        # The directions of normal vectors are uniform.
        self.register_buffer("entries", F.normalize(torch.randn(samples, width), dim=1))

    def forward(self, index: Tensor) -> Tensor:
        """Read entries: places (K,) int64 -> (K, W)."""
        return self.entries[index]

    @torch.no_grad()
    def fill(self, embedded: Tensor) -> None:
        """Replace all entries by vectors (N, W) of any length, in the order of the data."""
        self.entries.copy_(F.normalize(embedded, dim=1))

    @torch.no_grad()
    def follow(self, index: Tensor, embedded: Tensor) -> Tensor:
        """Move the entries of pictures towards the pictures' present embeddings.

        M <- (m M + (1 - m) v) / |m M + (1 - m) v|, for the pictures of all processes.

        Args:
            index: (B,) int64, places of this process's pictures in the data, each only once.
            embedded: (B, W), length 1.

        Returns:
            Scalar in [-1, 1], the mean cosine between old and new entries: 1 if nothing moves.
        """
        index, embedded = gathered(index), gathered(embedded)
        old = self.entries[index]
        new = F.normalize(self.momentum * old + (1 - self.momentum) * embedded, dim=1)
        self.entries[index] = new
        return (F.normalize(old, dim=1) * new).sum(dim=1).mean()

    def note(self) -> str:
        """Describe the bank's size."""
        samples, width = self.entries.shape
        size = size_in_words(4 * math.prod(self.entries.shape))
        return (
            f"the memory bank holds {width} numbers of each of the {samples:,} pictures ({size}) "
            "and grows with them"
        )
