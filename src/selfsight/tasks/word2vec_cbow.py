"""Continuous bag of words: blank a word out and guess it from its neighbours.

Hidden:     every word in turn; its neighbours, up to `window` on either side, are shown.
Predicted:  the word, by the mean of its neighbours' vectors.
Scored:     logistic loss: the mean's product with the hidden word's output vector is to be high,
            with those of `negatives` noise words low; a blind guess costs what follows from how
            often words occur, and a table that knows nothing yet (1 + negatives) log 2 nats.

Mikolov, Chen, Corrado, Dean, "Efficient Estimation of Word Representations in Vector Space", ICLR
2013 workshop, https://arxiv.org/abs/1301.3781, section 3.1, with the negative sampling of
https://arxiv.org/abs/1310.4546, section 2.2. Their program adds each error whole to the vectors of
all neighbours; here the gradient is that of the loss.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from selfsight.data.words.batch import Words
from selfsight.layers.negative_sampling import SHARED, logistic_cost, mean_of, rows
from selfsight.tasks.base import Score
from selfsight.tasks.windows import Windowed


class Company(NamedTuple):
    """Words around each block, (N, W), and which are neighbours of each blank, (N, C, W) bool."""

    around: Tensor
    band: Tensor


class Blanks(NamedTuple):
    """Words blanked out (N, C), which have neighbours (N, C) bool, and noise words (N, K)."""

    words: Tensor
    counted: Tensor
    noise: Tensor


class ContinuousBagOfWords(Windowed):
    """Predict a word from the mean of its neighbours' vectors."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Train at twice the rate of the skip-gram, as word2vec does: a word has one prediction."""
        return [{"params": [*self.parameters()], "rate": 2.0}]

    def hide(self, batch: Words) -> tuple[Company, Blanks]:
        """Blank every word out: -> its neighbours, and what it was, beside noise."""
        words, around, band, noise = self.blocks(batch)
        return Company(around, band), Blanks(words, band.any(dim=2), noise)

    def predict(self, shown: Company) -> Tensor:
        """Average the neighbours' vectors: -> (N, C, D), 0 where there are none."""
        vectors = rows(self.words.table.weight, shown.around)
        weights = shown.band.to(vectors.dtype)
        weights = weights / weights.sum(dim=2, keepdim=True).clamp(min=1)
        return torch.bmm(weights, vectors)

    def score(self, means: Tensor, blanks: Blanks) -> Score:
        """Compare with the words that were there, and with noise; loss in nats a word."""
        count = blanks.words.shape[1]
        candidates = rows(self.output.weight, torch.cat([blanks.words, blanks.noise], dim=1))
        true = (means * candidates[:, :count]).sum(dim=2)  # (N, C)
        noise = torch.bmm(means, candidates[:, count:].transpose(1, 2))  # (N, C, K)
        other = (blanks.words[:, :, None] != blanks.noise[:, None]) & blanks.counted[:, :, None]
        cost = logistic_cost(true[..., None], blanks.counted[..., None].float(), wanted=1)
        cost = cost + logistic_cost(noise, other * (self.negatives / SHARED), wanted=0)
        return Score(mean_of(cost, blanks.counted.sum()), {})

    def forward(self, batch: Words) -> Score:
        shown, blanks = self.hide(batch)
        return self.score(self.predict(shown), blanks)
