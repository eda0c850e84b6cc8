"""Classes: converts labels of any kind to class numbers, or says why they cannot be used.

A task without labels can learn from pictures whose labels are unusable. So what is wrong with them
is kept as a reason, and `source.labels_of`, which tasks that need labels call, raises it.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from selfsight.errors import SelfsightError
from selfsight.system.escaping import escaped

MOST_GRADES = 20  # most different decimals that count as classes; more are measurements
SHOWN = 60  # most characters of a value in a message


class Labels(NamedTuple):
    """Labels, or why they cannot be used.

    Attributes:
        classes: K class names in the order of their numbers; () when unlabelled.
        numbers: (N,) int64 class numbers from 0, or None when unlabelled.
        reason: Why existing labels cannot be used, in a sentence; else "".
    """

    classes: tuple[str, ...]
    numbers: Tensor | None
    reason: str = ""


NO_LABELS = Labels((), None)


def unusable(reason: str) -> Labels:
    """Make `Labels` that cannot be used, for a reason."""
    return Labels((), None, reason)


def labels_or_reason(read: Callable[[], Labels]) -> Labels:
    """Read labels; an error becomes the reason why they cannot be used."""
    try:
        return read()
    except SelfsightError as error:
        return unusable(str(error))


def classes_of(values: Sequence[object], what: str) -> Labels:
    """Number the classes of values of any kind.

    Args:
        values: (N,) one for each picture: whole numbers, words, truth values, or decimals that are
            whole or few. None and NaN mean no label; if all are missing there are no labels.
        what: What holds them, for the reason: "`labels` of x.npz".

    Returns:
        The classes, or the reason why they cannot be used: a missing label, several labels for a
        picture, pictures, measurements, numbers mixed with words.

    >>> classes_of([7, 3, 7], "x").classes
    ('3', '7')
    >>> classes_of([1.0, 0.0], "x").classes
    ('0', '1')
    >>> classes_of([1, None], "column x").reason
    'column x has no label in row 1; fill it in, or leave these pictures out'
    """
    missing = [row for row, value in enumerate(values) if _is_missing(value)]
    if missing:
        if len(missing) == len(values):
            return NO_LABELS
        more = f" and in {len(missing) - 1:,} more" if len(missing) > 1 else ""
        return unusable(
            f"{what} has no label in row {missing[0]}{more}; fill it in, or leave these pictures "
            "out"
        )
    kinds = {type(value) for value in values}
    if kinds <= {int, float}:
        reason = _measured([float(str(value)) for value in values], what)
        return unusable(reason) if reason else Labels(*numbered_words([*map(_written, values)]))
    if kinds == {str}:
        words = [str(value) for value in values]
        numbers = [number for number in map(_number, words) if number is not None]
        reason = _measured(numbers, what) if len(numbers) == len(words) else ""
        return unusable(reason) if reason else Labels(*numbered_words(words))
    if kinds == {bool}:
        return Labels(*numbered_words([str(value).lower() for value in values]))
    return unusable(_odd(values, what))


def several_a_picture(shape: Sequence[int], count: int, what: str) -> str:
    """Say why an array of this shape does not hold one label for each picture; "" if it does.

    Args:
        shape: Shape of the array.
        count: Number of pictures.
        what: What holds the labels.
    """
    size = tuple(shape)
    if size in ((count,), (count, 1)):
        return ""
    if not size or size[0] != count:
        return f"{what} is {size}, and there are {count:,} pictures; give one label a picture"
    if len(size) > 2:
        return (
            f"{what} is {size}: pictures as labels, such as masks, are not read; give one class a "
            f"picture, ({count},)"
        )
    return (
        f"{what} is {size}: several labels a picture are not read; give one class a picture, "
        f"({count},), such as one of the columns, labels[:, 0], or labels.argmax(1) where one "
        "column of each row is 1"
    )


def numbered_words(words: Sequence[str]) -> tuple[tuple[str, ...], Tensor]:
    """Number the classes that occur, sorted; words that are all whole numbers sort as numbers.

    Args:
        words: (N,) the class name of each picture.

    Returns:
        K names, escaped where they cannot be shown, and (N,) int64 numbers.

    >>> numbered_words(["10", "9", "10"])[0]
    ('9', '10')
    >>> numbered_words(["10", "9", "cat"])[0]
    ('10', '9', 'cat')
    """
    found = sorted(set(words))
    if all(_is_whole(word) for word in found):
        found.sort(key=int)
    number = {word: k for k, word in enumerate(found)}
    numbers = torch.tensor([number[word] for word in words], dtype=torch.int64)
    return tuple(map(escaped, found)), numbers


def _is_whole(word: str) -> bool:
    return word.removeprefix("-").isdecimal() and word.isascii() and len(word) < 20


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _written(value: object) -> str:
    """Write a number without a needless point, as tables with missing values have: 3.0 -> "3"."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _number(word: str) -> float | None:
    """Read a word that is a finite number; None for any other word."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _measured(numbers: Sequence[float], what: str) -> str:
    """Say why numbers are measurements, having too many different decimals; "" if they are not."""
    different = sorted(set(numbers))
    decimals = [number for number in different if not number.is_integer()]
    if not decimals or len(different) <= min(MOST_GRADES, len(numbers) // 2):
        return ""
    return (
        f"{what} holds decimals of {len(different):,} different values, such as {decimals[0]:g}, "
        "which look like measurements and not like classes; give whole numbers or words, such as "
        "the range that each lies in"
    )


def _odd(values: Sequence[object], what: str) -> str:
    """Say which value is neither a number nor a word, or that kinds are mixed."""
    row = next((k for k, v in enumerate(values) if not isinstance(v, int | float | str)), None)
    if row is None:
        kinds = " and ".join(sorted({type(value).__name__ for value in values}))
        return f"{what} holds values of kinds {kinds}; write all as words, or all as whole numbers"
    value = values[row]
    rule = "a label is"
    if isinstance(value, list | tuple):
        rule = "several labels a picture are not read; give"
    elif isinstance(value, dict | bytes):
        rule = "pictures as labels are not read; give"
    shown = repr(value)
    shown = shown if len(shown) <= SHOWN else f"{shown[: SHOWN - 1]}\u2026"
    return f"{what} has {shown} in row {row}: {rule} one whole number or one word a picture"
