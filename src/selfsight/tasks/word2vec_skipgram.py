"""Skip-gram: guess the neighbours of a word from the word.

Hidden:     the neighbours of every word, up to `window` on either side.
Predicted:  each neighbour, by the word's vector.
Scored:     logistic loss: the vector's product with a neighbour's output vector is to be high, with
            those of `negatives` noise words low; a blind guess costs what follows from how often
            words occur, and a table that knows nothing yet (1 + negatives) log 2 nats.

Mikolov, Sutskever, Chen, Corrado, Dean, "Distributed Representations of Words and Phrases and their
Compositionality", NIPS 2013, https://arxiv.org/abs/1310.4546, sections 2 to 2.3.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from selfsight.data.words.batch import Words
from selfsight.layers.negative_sampling import SHARED, logistic_cost, mean_of, rows
from selfsight.tasks.base import Score
from selfsight.tasks.windows import Windowed


class WordNeighbours(NamedTuple):
    """What is hidden from each word.

    Attributes:
        around: (N, W) int64 the words around each block.
        band: (N, C, W) bool, which of them are neighbours of each word.
        noise: (N, K) int64 noise words.
    """

    around: Tensor
    band: Tensor
    noise: Tensor


class SkipGram(Windowed):
    """Predict the neighbours of a word from its vector."""

    def hide(self, batch: Words) -> tuple[Tensor, WordNeighbours]:
        """Hide the neighbours of every word: -> words (N, C), and what is hidden."""
        words, around, band, noise = self.blocks(batch)
        return words, WordNeighbours(around, band, noise)

    def predict(self, words: Tensor) -> Tensor:
        """Look the words up: (N, C) -> vectors (N, C, D)."""
        return rows(self.words.table.weight, words)

    def score(self, vectors: Tensor, hidden: WordNeighbours) -> Score:
        """Compare with the neighbours, and with noise; loss in nats a pair of words."""
        width = hidden.around.shape[1]
        candidates = rows(self.output.weight, torch.cat([hidden.around, hidden.noise], dim=1))
        products = torch.bmm(vectors, candidates.transpose(1, 2))  # (N, C, W + K)
        # A noise word counts once for each neighbour that it is not.
        other = (hidden.around[:, :, None] != hidden.noise[:, None]).float()  # (N, W, K)
        band = hidden.band.float()
        often = torch.bmm(band, other).mul_(self.negatives / SHARED)  # (N, C, K)
        cost = logistic_cost(products, torch.cat([band, often], dim=2), wanted=width)
        return Score(mean_of(cost, hidden.band.sum()), {})

    def forward(self, batch: Words) -> Score:
        words, hidden = self.hide(batch)
        return self.score(self.predict(words), hidden)
