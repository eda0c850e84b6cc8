"""Part names: which part of the data a name means, with the same words for every form of data.

The words are those of the splits in Hugging Face's `datasets`, in any letter case, and MNIST's
`t10k`. A folder is a part if its name says nothing else (`Training`, `test_set`, `val2017`); in a
file's name one such word suffices (`cifar-train-00000-of-00002.parquet`).
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from selfsight.errors import SelfsightError

TRAIN, VAL, TEST = "train", "val", "test"
WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VAL),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "t10k"), TEST),
}
# Words that may accompany such a word in a folder's name.
NEUTRAL = {"set", "data", "dataset", "split", "part", "images", "image", "imgs", "img", "pictures"}
WORD = re.compile(r"t10k|[a-z]+")

T = TypeVar("T")


def part_of_word(word: str) -> str:
    """Give the part that a word means: -> "train", "val" or "test"; "" for none.

    >>> part_of_word("Testing"), part_of_word("trainset"), part_of_word("trains")
    ('test', 'train', '')
    """
    word = word.strip().lower()
    return WORDS.get(word) or WORDS.get(word.removesuffix("set"), "")


def part_of_folder(name: str) -> str:
    """Give the part that a folder's name means, if it says nothing else; "" for none.

    >>> part_of_folder("Training"), part_of_folder("test_set"), part_of_folder("val2017")
    ('train', 'test', 'val')
    >>> part_of_folder("train station"), part_of_folder("bus")
    ('', '')
    """
    told = [word for word in WORD.findall(name.lower()) if word not in NEUTRAL]
    return part_of_word(told[0]) if len(told) == 1 else ""


def part_in_name(name: str) -> str:
    """Find the part that a word in a file's name means; "" for none.

    >>> part_in_name("train-00000-of-00002"), part_in_name("ImageNet_validation_7")
    ('train', 'val')

    Raises:
        SelfsightError: If the name means several parts.
    """
    found = {part_of_word(word) for word in WORD.findall(name.lower())} - {""}
    if len(found) > 1:
        raise SelfsightError(
            f"a file's name must name at most one part; {name} names "
            f"{' and '.join(sorted(found))}. Rename it."
        )
    return found.pop() if found else ""


def in_parts(name: str, paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Sort files into parts by their names: -> part to files.

    If no name names a part, or all name the same one, all files are under "train".

    Args:
        name: Where they lie, for messages.
        paths: At least one file.

    Raises:
        SelfsightError: If only some names name a part, or none of several parts is for training.
    """
    parts: dict[str, list[Path]] = {}
    for path in paths:
        parts.setdefault(part_in_name(path.stem), []).append(path)
    if len(parts) == 1:
        return {TRAIN: next(iter(parts.values()))}
    if "" in parts:
        told = next(path for path in paths if path not in parts[""])
        raise SelfsightError(
            f"every file's name must name its part, or none may; in {name}, {told.name} does and "
            f"{parts[''][0].name} does not. Put train, val or test into its name, or move it."
        )
    if TRAIN not in parts:
        raise SelfsightError(
            f"one of several parts must be called train; the files in {name} are called "
            f"{' and '.join(sorted(parts))}. Rename some to train, or keep only one part."
        )
    return parts


def tested_part(parts: Iterable[str]) -> str | None:
    """Choose the part to test on: test if it exists, else validation, else None."""
    there = set(parts)
    return next((part for part in (TEST, VAL) if part in there), None)


def told_of_unused(name: str, what: str, parts: Iterable[str]) -> tuple[str, ...]:
    """Say that the validation part is not used if there is a test part too.

    Args:
        name: Name of the data.
        what: Size of the validation part: "12 pictures", "3 files".
        parts: The existing parts.
    """
    if {VAL, TEST} <= set(parts):
        return (f"{name}: testing uses the test part; the validation part, {what}, is not used",)
    return ()
