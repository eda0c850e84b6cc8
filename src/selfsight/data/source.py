"""Source: samples listed, not yet read; whatever is learned from comes as one.

A folder, a table, an archive: so many samples, each with a title, and perhaps a class. Each
modality adds how one of its samples is read.
"""

import hashlib
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar, cast

import torch
from torch import Tensor

from selfsight.errors import SelfsightError

LISTED = 10  # classes that a sentence names
MOST_CONTENT = 1 << 20  # bytes of a file that tell it from another
NOT_THERE = " is not there"  # ends the stamp of a file that is missing


class Unreadable(Exception):
    """A sample that is skipped; the message is the reason, in words."""


class Lost(Unreadable):
    """A sample whose bytes the system does not give, or no longer: its file, or its disk."""


class Source(ABC):
    """Samples listed, not yet read.

    Attributes:
        name: Where they come from, as the user wrote it.
        classes: K class names in the order of their numbers; () when unlabelled.
        labels: (N,) int64 class numbers from 0, or None when unlabelled.
        unlabelled: Why there are labels and none can be used, in a sentence; else "".
        held: Whether the samples are in memory already, so that nothing is won by storing them.
        by_file: Whether every sample is a file of its own, by which `identities` tells it.
        notes: What a user should know of these samples, such as what was left out, a sentence
            each without a full stop; they are printed once when the samples are read.
    """

    name: str
    classes: tuple[str, ...] = ()
    labels: Tensor | None = None
    unlabelled: str = ""
    held: bool = False
    by_file: bool = False
    notes: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def title(self, i: int) -> str:
        """Name sample i for people: its relative path as `shown` writes it, or its row."""

    def file(self, i: int) -> str | None:
        """Name the file that sample i has to itself; None where it shares one with others."""
        return None

    @abstractmethod
    def content(self, i: int) -> bytes:
        """Give what tells sample i from another of its name; b"" where it cannot be read."""

    @abstractmethod
    def stamp(self) -> Iterator[str]:
        """Tell this data from other or changed data without reading it: paths, sizes, times."""

    def identities(self) -> list[str]:
        """Tell each sample from all others, of this source and of any: by its file, or its row."""
        stamps = list(self.stamp())
        if self.by_file:
            return stamps[-len(self) :]  # those of a list come after that of the list itself
        whole = hashlib.blake2b("\n".join(stamps).encode(), digest_size=16).hexdigest()
        return [f"{whole} {i}" for i in range(len(self))]

    def subset(self, rows: Tensor) -> "Source":
        """Keep the samples of `rows` (M,) int64, in that order."""
        labels = None if self.labels is None else self.labels[rows]
        return self.viewed(rows, self.classes, labels)

    def viewed(self, rows: Tensor, classes: tuple[str, ...], labels: Tensor | None) -> "Source":
        """Give some of the samples, perhaps with their classes renumbered, or left out."""
        return View(self, rows, classes, labels, unlabelled=self.unlabelled)


S = TypeVar("S", bound=Source)


class View(Source):
    """Some samples of another source, perhaps with their classes renumbered, or left out."""

    def __init__(
        self,
        base: Source,
        rows: Tensor,
        classes: tuple[str, ...],
        labels: Tensor | None,
        *,
        unlabelled: str = "",
    ) -> None:
        self.base = base
        self.index: list[int] = rows.tolist()
        self.name = base.name
        self.classes = classes
        self.labels = labels
        self.unlabelled = unlabelled
        self.held = base.held
        self.by_file = base.by_file
        self.notes = base.notes

    def __len__(self) -> int:
        return len(self.index)

    def title(self, i: int) -> str:
        """Name sample i for messages."""
        return self.base.title(self.index[i])

    def file(self, i: int) -> str | None:
        """Name the file that sample i has to itself."""
        return self.base.file(self.index[i])

    def content(self, i: int) -> bytes:
        """Give what tells sample i from another of its name."""
        return self.base.content(self.index[i])

    def identities(self) -> list[str]:
        """Tell each sample from all others, as the base does."""
        known = self.base.identities()
        return [known[i] for i in self.index]

    def stamp(self) -> Iterator[str]:
        """Stamp the base, and which of its samples are here."""
        yield from self.base.stamp()
        yield ",".join(map(str, self.index))


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading, but no pipe, which may never say anything, and no device.

    Raises:
        Unreadable: If it is no regular file.
        OSError: If it cannot be opened.
    """
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 -- whoever asked closes it
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise Unreadable("a pipe or a device, not a file")


def state_of(file: BinaryIO) -> tuple[int, int]:
    """Tell an open file from itself once it is changed: -> bytes, time of change."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _without_waiting(path: str, flags: int) -> int:
    """Open, where the system can, without waiting for who writes into a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def stamp_of(path: Path) -> str:
    """Stamp a file: its path, size in bytes and time of change."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # a list may name what no path can be, such as one with a NUL
        return f"{os.path.abspath(path)}{NOT_THERE}"
    return f"{os.path.abspath(path)} {status.st_size} {status.st_mtime_ns}"


@dataclass(frozen=True)
class Parts(Generic[S]):
    """Data as it comes: what to learn from, and what is kept for testing if it says so."""

    train: S
    test: S | None


def labels_of(source: Source, asker: str, otherwise: str) -> Tensor:
    """Give the labels of a source to whoever cannot do without.

    Args:
        source: The samples.
        asker: Who needs labels, as a sentence begins: "--task supervised".
        otherwise: What else the user can do, as a sentence ends: "choose another --task".

    Returns:
        (N,) int64 class numbers, of two classes or more.

    Raises:
        SelfsightError: If there are none, none that can be used, or all are of one class.
    """
    if source.unlabelled:
        raise SelfsightError(
            f"{asker} needs labels, and those of {source.name} cannot be used: "
            f"{source.unlabelled}; or {otherwise}"
        )
    if source.labels is None:
        raise SelfsightError(
            f"{asker} needs labels, and {source.name} has none; sort its files into one folder "
            f"a class, or {otherwise}"
        )
    if len(source.classes) < 2:
        raise SelfsightError(
            f"{asker} needs two classes or more, and everything in {source.name} is of class "
            f"{' and '.join(source.classes)!r}; add some of another class, or {otherwise}"
        )
    return source.labels


def same_classes(train: Source, test: S) -> S:
    """Number the classes of `test` as `train` numbers them; those that `train` lacks come last.

    Who needs them to be the same asks `require_same_classes`: learning without labels, and
    embedding, go well with classes that differ.
    """
    if train.labels is None or test.labels is None or train.classes == test.classes:
        return test
    occurring = [test.classes[k] for k in test.labels.unique().tolist()]
    number = {name: k for k, name in enumerate(dict.fromkeys((*train.classes, *occurring)))}
    renumber = torch.tensor([number.get(name, -1) for name in test.classes])
    return cast(S, test.viewed(torch.arange(len(test)), tuple(number), renumber[test.labels]))


def require_same_classes(train: Source, test: Source) -> None:
    """Refuse test samples of classes that there is nothing to learn of.

    Raises:
        SelfsightError: If `test`, numbered by `same_classes`, has a class that `train` lacks.
    """
    unknown = test.classes[len(train.classes) :]
    if train.labels is None or not unknown:
        return
    more = f" and {len(unknown) - LISTED} more" if len(unknown) > LISTED else ""
    raise SelfsightError(
        f"every class of the test part must occur in the training part; {test.name} also has "
        f"{', '.join(unknown[:LISTED])}{more}. Rename or remove these, add training samples of "
        "them, or name other labelled data."
    )
