"""Vocabulary: what counts as a word, and the number that each has.

Words are lower-cased runs of letters and digits, with apostrophes between them: "don't" is one,
"well-known" two, and a full stop is none. Nothing else is taken apart: of a corpus that writes a
tag behind each word, as in "The/at", the tags would be words too, so they are to be taken out
before; text of a language that puts no spaces between words is to be cut into words before.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

APOSTROPHE = "\u2019"  # as books are printed
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def words_in(text: str) -> list[str]:
    """Find the words of a text, in their order.

    >>> words_in("Don't panic: it is 42_times WELL-known.")
    ["don't", 'panic', 'it', 'is', '42', 'times', 'well', 'known']
    """
    return WORD.findall(text.lower().replace(APOSTROPHE, "'"))


class Vocabulary(NamedTuple):
    """The words that are learned, the most frequent first.

    Attributes:
        words: V words, each once.
        counts: (V,) int64, how often each occurs in the text.
    """

    words: Sequence[str]
    counts: np.ndarray


class Numbering(dict[str, int]):
    """Numbers words as they come, from 0."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number

    def of(self, words: Sequence[str]) -> np.ndarray:
        """Number words: -> int32, one each."""
        return np.fromiter(map(self.__getitem__, words), np.int32, len(words))


def chosen(numbers: Numbering, counts: np.ndarray, least: int) -> tuple[Vocabulary, np.ndarray]:
    """Choose the words that occur often enough.

    Args:
        numbers: Every word's number so far.
        counts: (M,) how often each occurs, by that number.
        least: How often a word must occur.

    Returns:
        The vocabulary, of equally frequent words the one that came first first; and (M,) int32, the
        number there of every word, -1 of one that is left out.
    """
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] >= least]
    known = list(numbers)
    numbered = np.full(len(counts), -1, np.int32)
    numbered[order] = np.arange(len(order), dtype=np.int32)
    return Vocabulary([known[i] for i in order.tolist()], counts[order]), numbered


def slices_of(count: int, most: int = 1 << 20) -> Iterator[slice]:
    """Part so many places into pieces of at most `most`, in their order."""
    for first in range(0, count, most):
        yield slice(first, min(first + most, count))
