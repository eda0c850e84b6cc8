"""k-NN: do the nearest neighbours of a picture have its class?

Frozen:    the encoder; only its features, pooled to one cell, are used here.
Fitted:    nothing.
Measured:  top-1 accuracy in [0, 1]; chance is the largest class's share.

Wu, Xiong, Yu, Lin, "Unsupervised Feature Learning via Non-Parametric Instance
Discrimination", CVPR 2018, https://arxiv.org/abs/1805.01978, section 3.4.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.probes.features import Labelled

QUERIES_AT_ONCE = 1024  # bounds the (Q, N) table of cosines


def vote(bank: Labelled, x: Tensor, *, classes: int, k: int, temperature: float) -> Tensor:
    """Let the k closest bank pictures vote for each query's class.

    Args:
        bank: Features x (N, F) of length 1, and class numbers y (N,), to look among.
        x: Queries (Q, F) of length 1.
        classes: Number of classes K.
        k: Neighbours that vote on each query, 1 to N.
        temperature: Sharpness of the vote; a neighbour at cosine s counts exp(s / temperature).

    Returns:
        The winning class numbers (Q,) int64.
    """
    winners: list[Tensor] = []
    for queries in x.split(QUERIES_AT_ONCE):
        cosine, nearest = (queries @ bank.x.T).topk(k, dim=1)  # (q, k)
        votes = torch.zeros(len(queries), classes, device=x.device)
        # The closest counts 1 and the others less: the same winner, and no exponential overflows.
        weight = ((cosine - cosine[:, :1]) / temperature).exp()
        winners.append(votes.scatter_add_(1, bank.y[nearest], weight).argmax(dim=1))
    return torch.cat(winners) if winners else bank.y[:0]


class NearestNeighbours:
    """The weighted vote of the nearest labelled pictures, as a probe.

    Args:
        classes: Number of classes K.
        k: Neighbours that vote on each query, at least 1; the paper takes 200 on ImageNet's
            1.3 million, here it is 20 for thousands. Lowered to the bank's size.
        temperature: Sharpness of the vote, above 0; the paper's 0.07.

    Raises:
        ValueError: If k is below 1, or temperature is not above 0.
    """

    def __init__(self, classes: int, *, k: int = 20, temperature: float = 0.07) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1 neighbour, got {k}")
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        self.classes = classes
        self.k = k
        self.temperature = temperature
        self.validation = 0.0
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []
        self._bank: Labelled | None = None

    def add(self, x: Tensor, y: Tensor, held_out: Tensor) -> None:
        """Keep features x (B, F), class numbers y (B,), and which rows are held out (B,)."""
        self._seen.append((F.normalize(x, dim=1), y, held_out))

    def solve(self) -> None:
        """Test the rows held out against the others; the bank is then all rows.

        Raises:
            ValueError: If nothing was held out, or everything was.
        """
        x, y, held_out = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        if not 0 < int(held_out.sum()) < len(y):
            raise ValueError(
                f"some rows must be held out and some not, got {int(held_out.sum())} of {len(y)}"
            )
        self._seen = []
        rest = Labelled(x[~held_out], y[~held_out])
        right = self._vote(rest, x[held_out]) == y[held_out]
        self.validation = float(right.float().mean())
        self._bank = Labelled(x, y)

    def predict(self, x: Tensor) -> Tensor:
        """Answer features (B, F) with class numbers (B,) int64.

        Raises:
            ValueError: If the probe is not solved yet.
        """
        if self._bank is None:
            raise ValueError("a probe answers only once solved; call solve() first")
        return self._vote(self._bank, F.normalize(x, dim=1))

    def _vote(self, bank: Labelled, x: Tensor) -> Tensor:
        k = min(self.k, len(bank.x))
        return vote(bank, x, classes=self.classes, k=k, temperature=self.temperature)
