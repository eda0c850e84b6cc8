"""Classes: words become numbers, in the same order whichever form of data they stand in."""

from collections.abc import Sequence

import torch
from torch import Tensor


def numbered_words(words: Sequence[str]) -> tuple[tuple[str, ...], Tensor]:
    """Number the classes that occur, sorted; words that are all whole numbers sort as numbers.

    Args:
        words: (N,) a class name a picture.

    Returns:
        K names as they were written, and (N,) int64 numbers.

    >>> numbered_words(["10", "9", "10"])[0]
    ('9', '10')
    >>> numbered_words(["10", "9", "cat"])[0]
    ('10', '9', 'cat')
    """
    found = sorted(set(words))
    if all(_is_whole(word) for word in found):
        found.sort(key=int)
    number = {word: k for k, word in enumerate(found)}
    return tuple(found), torch.tensor([number[word] for word in words], dtype=torch.int64)


def _is_whole(word: str) -> bool:
    return word.removeprefix("-").isdecimal() and word.isascii() and len(word) < 20
