"""Windows: what tasks share that tell words and their neighbours from noise words."""

from torch import nn

from selfsight.data.words.batch import Words
from selfsight.encoders.word_table import WordTable, of_words
from selfsight.layers.negative_sampling import (
    MOST_NEGATIVES,
    MOST_WINDOW,
    Blocks,
    blocks_of,
    cost_of_guessing,
)
from selfsight.tasks.base import Needs, Task


class Windowed(Task):
    """A task on words in windows.

    Args:
        encoder: A table of words' vectors.
        dim: Width D of a vector.
        window: Most neighbours on either side, from 1 to 50; for each word a radius is drawn evenly
            from 1 to this, so that near neighbours count more.
        negatives: Noise words that a word is told from, from 1 to 100.
        subsample: Words that are more than this share of the text are partly left out, the more so
            the more frequent they are; in [0, 1], 0 leaves all in.

    Attributes:
        output: (V, D) the vectors of words as what is predicted, zero at first.
    """

    needs = Needs(batch=Words)

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        *,
        window: int = 5,
        negatives: int = 5,
        subsample: float = 1e-3,
    ) -> None:
        super().__init__(encoder)
        if not 1 <= window <= MOST_WINDOW:
            raise ValueError(f"window must be from 1 to {MOST_WINDOW} words, got {window}")
        if not 1 <= negatives <= MOST_NEGATIVES:
            raise ValueError(f"negatives must be from 1 to {MOST_NEGATIVES} words, got {negatives}")
        if not 0 <= subsample <= 1:
            raise ValueError(f"subsample must be in [0, 1], got {subsample}")
        self.output = nn.Embedding(self.words.recipe.words, dim, sparse=True)
        nn.init.zeros_(self.output.weight)
        self.window, self.negatives, self.subsample = window, negatives, subsample

    @property
    def words(self) -> WordTable:
        """The table that is trained."""
        return of_words(self.encoder)

    @property
    def blind(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride] -- it follows the data
        """What the best guess costs that knows how often words occur, and nothing else, in nats."""
        return cost_of_guessing(
            self.words.counts, negatives=self.negatives, subsample=self.subsample
        )

    def blocks(self, batch: Words) -> Blocks:
        """Leave frequent words out, lay windows and draw noise."""
        return blocks_of(batch, self.words.counts, window=self.window, subsample=self.subsample)
