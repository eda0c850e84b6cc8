"""The word table: an encoder that is a vector for each word of a vocabulary.

The words themselves and how often they occurred lie beside the vectors, so that the file of an
encoder is all that is needed to use it.

Legend: V words, D numbers of a vector.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from selfsight.encoders.base import KIND, BaseEncoder, BaseRecipe
from selfsight.errors import UsageError
from selfsight.system.validation import check, check_within

MOST_WORDS, MOST_LETTERS, MOST_WIDTH = 2**27, 2**32, 2**14
BREAK = "\n"  # between two words as they are kept; no word holds one


@dataclass(frozen=True)
class TableRecipe(BaseRecipe["WordTable"]):
    """How to build a word table again.

    Attributes:
        words: Words V of the vocabulary.
        letters: Bytes of all words together, in UTF-8 with a line end between two.
        width: Numbers D of a vector.
        name: Of the architecture; there is one.
    """

    kind: ClassVar[str] = "words"

    words: int
    letters: int
    width: int
    name: str = "word-table"

    @classmethod
    def of(cls, words: Sequence[str], width: int) -> "TableRecipe":
        """Give the recipe for a vocabulary."""
        return cls(len(words), len(BREAK.join(words).encode()), width)

    def to_json(self) -> dict[str, Any]:
        """Give the recipe as plain values."""
        return {KIND: self.kind, **asdict(self)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "TableRecipe":
        """Read back what `to_json` gave.

        Raises:
            ValueError: With the first value that no recipe has.
        """
        values = {key: value for key, value in values.items() if key != KIND}
        check(values, cls)
        check_within("words", values["words"], 2, MOST_WORDS)
        check_within("letters", values["letters"], 3, MOST_LETTERS)
        check_within("width", values["width"], 1, MOST_WIDTH)
        if values.get("name", cls.name) != cls.name:
            raise ValueError(f"name must be {cls.name}, got {values['name']}")
        return cls(**values)

    def built(self, *, like: "WordTable | None" = None, pretrained: bool = False) -> "WordTable":
        """Build the table with fresh vectors from torch's generator, of words yet unknown."""
        return WordTable(self)


class WordTable(BaseEncoder):
    """Vectors of words.

    Vectors begin as small numbers, evenly from (-1/2, 1/2) / D, as word2vec's do.

    Args:
        recipe: How many words, of how many letters, and how wide a vector is.

    Attributes:
        table: (V, D) the vectors.
        counts: (V,) int64, how often each word occurred in what was learned from.
    """

    recipe: TableRecipe
    layer_names = ("table",)
    counts: Tensor
    letters: Tensor

    def __init__(self, recipe: TableRecipe) -> None:
        super().__init__()
        self.recipe, self.dim = recipe, recipe.width
        self.table = nn.Embedding(recipe.words, recipe.width, sparse=True)
        nn.init.uniform_(self.table.weight, -0.5 / recipe.width, 0.5 / recipe.width)
        self._words: list[str] = []  # read from the letters when they are first asked for
        self._number: dict[str, int] = {}
        self.register_load_state_dict_post_hook(_forget)
        self.register_buffer("counts", torch.ones(recipe.words, dtype=torch.int64))
        self._begun: WordTable | None = None
        self.register_buffer("letters", torch.zeros(recipe.letters, dtype=torch.uint8))

    def name_words(self, words: Sequence[str], counts: Tensor) -> None:
        """Tell the table its words, and how often each occurs.

        Raises:
            ValueError: If they are not as many, or not of as many letters, as the recipe says.
        """
        if TableRecipe.of(words, self.dim) != self.recipe:
            raise ValueError(f"words must be {self.recipe.words}, got {len(words)}, or others")
        self.letters.copy_(
            torch.frombuffer(bytearray(BREAK.join(words).encode()), dtype=torch.uint8)
        )
        self.counts.copy_(counts)
        _forget(self)
        if self._begun is not None:
            known = [word for word in self.words if word in self._begun.number]
            here = torch.tensor([self.number[word] for word in known], dtype=torch.int64)
            there = torch.tensor([self._begun.number[word] for word in known], dtype=torch.int64)
            self.vectors[here] = self._begun.vectors[there]
            self._begun = None

    def inherit(self, other: "WordTable") -> None:
        """Begin with another table's vectors of the words that both know, once they are named."""
        self._begun = other

    @property
    def words(self) -> list[str]:
        """The words, in the order of their numbers."""
        if not self._words:
            letters = bytes(self.letters.cpu().numpy())
            self._words = letters.decode("utf-8", "replace").split(BREAK)
        return self._words

    @property
    def number(self) -> dict[str, int]:
        """Every word's number."""
        if not self._number:
            self._number = {word: number for number, word in enumerate(self.words)}
        return self._number

    @property
    def vectors(self) -> Tensor:
        """All vectors: (V, D)."""
        return self.table.weight.detach()

    def forward(self, inputs: Tensor) -> Tensor:
        """Look words up: numbers (...) int64 -> vectors (..., D)."""
        return self.table(inputs)

    def layers(self, inputs: Tensor) -> dict[str, Tensor]:
        """Look words up: numbers (B,) int64 -> maps (B, D, 1, 1)."""
        return {"table": self(inputs)[..., None, None]}


def _forget(table: nn.Module, *_: object) -> None:
    """Forget words as they were read before others were loaded."""
    assert isinstance(table, WordTable)
    table._words, table._number = [], {}  # pyright: ignore[reportPrivateUsage] -- a hook of its own


def of_words(encoder: BaseEncoder) -> WordTable:
    """Take an encoder as one of words.

    Raises:
        UsageError: If it is of something else.
    """
    if not isinstance(encoder, WordTable):
        raise UsageError(
            f"this is asked of vectors of words, and {encoder.recipe.name} is of "
            f"{encoder.recipe.kind}; give a run of --task word2vec-skipgram or word2vec-cbow"
        )
    return encoder
