"""Source: the list of samples in a folder, a table or an archive, before they are read.

Every sample has a title, and perhaps a class. Each modality adds how its samples are read.
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

LISTED = 10  # most classes that a message names
MOST_CONTENT = 1 << 20  # bytes at the start of a file that are hashed to identify it
NOT_THERE = " is not there"  # ends the stamp of a file that is missing


class Unreadable(Exception):
    """A sample cannot be read and is skipped; the message is the reason."""


class Lost(Unreadable):
    """A sample's bytes are not available, or no longer: its file or its disk has gone."""


class Source(ABC):
    """Samples listed, not yet read.

    Attributes:
        name: Where they come from, as the user wrote it.
        classes: K class names in the order of their numbers; () when unlabelled.
        labels: (N,) int64 class numbers from 0, or None when unlabelled.
        unlabelled: Why existing labels cannot be used, in a sentence; else "".
        held: Whether the samples are in memory already, so that storing them gains nothing.
        by_file: Whether every sample is a separate file, which identifies it.
        notes: What a user should know of these samples, such as what was left out; sentences
            without a full stop, printed once when the samples are read.
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
        """Name sample i in messages: its escaped relative path, or its row."""

    def file(self, i: int) -> str | None:
        """Name the file of sample i; None if it shares one with other samples."""
        return None

    @abstractmethod
    def content(self, i: int) -> bytes:
        """Give bytes that identify the content of sample i; b"" if it cannot be read."""

    @abstractmethod
    def stamp(self) -> Iterator[str]:
        """Give texts that change when the data changes, without reading it: paths, sizes, times."""

    def identities(self) -> list[str]:
        """Give each sample a text that no other sample of any source has: its file or row."""
        stamps = list(self.stamp())
        if self.by_file:
            return stamps[-len(self) :]  # a list of pictures stamps itself first
        whole = hashlib.blake2b("\n".join(stamps).encode(), digest_size=16).hexdigest()
        return [f"{whole} {i}" for i in range(len(self))]

    def subset(self, rows: Tensor) -> "Source":
        """Keep the samples of `rows` (M,) int64, in that order."""
        labels = None if self.labels is None else self.labels[rows]
        return self.viewed(rows, self.classes, labels)

    def viewed(self, rows: Tensor, classes: tuple[str, ...], labels: Tensor | None) -> "Source":
        """Select some of the samples, perhaps with other class numbers, or none."""
        return View(self, rows, classes, labels, unlabelled=self.unlabelled)


S = TypeVar("S", bound=Source)


class View(Source):
    """A selection of another source's samples, perhaps with other class numbers, or none."""

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
        """Name the file of sample i, if it has one."""
        return self.base.file(self.index[i])

    def content(self, i: int) -> bytes:
        """Give bytes that identify the content of sample i."""
        return self.base.content(self.index[i])

    def identities(self) -> list[str]:
        """Give the base's identities of these samples."""
        known = self.base.identities()
        return [known[i] for i in self.index]

    def stamp(self) -> Iterator[str]:
        """Give the base's stamp, and which of its samples are selected."""
        yield from self.base.stamp()
        yield ",".join(map(str, self.index))


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading; pipes, which may block for ever, and devices are refused.

    Raises:
        Unreadable: If it is not a regular file.
        OSError: If it cannot be opened.
    """
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 -- the caller closes it
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise Unreadable("a pipe or a device, not a file")


def state_of(file: BinaryIO) -> tuple[int, int]:
    """Give what changes when an open file changes: -> size in bytes, time of change."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _without_waiting(path: str, flags: int) -> int:
    """Open a path without blocking on a pipe, where the system can."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def stamp_of(path: Path) -> str:
    """Make a file's stamp: its path, size in bytes and time of change."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # a list may hold impossible paths, such as one with a NUL
        return f"{os.path.abspath(path)}{NOT_THERE}"
    return f"{os.path.abspath(path)} {status.st_size} {status.st_mtime_ns}"


@dataclass(frozen=True)
class Parts(Generic[S]):
    """The parts of data: what to learn from, and what to test on if the data has such a part."""

    train: S
    test: S | None


def labels_of(source: Source, asker: str, otherwise: str) -> Tensor:
    """Give the labels of a source, or explain why there are none.

    Args:
        source: The samples.
        asker: Who needs labels, as a sentence begins: "--task supervised".
        otherwise: What else the user can do, as a sentence ends: "choose another --task".

    Returns:
        (N,) int64 class numbers, of two classes or more.

    Raises:
        SelfsightError: If there are no labels, none can be used, or all are of one class.
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
    """Number the classes of `test` as `train` numbers them; classes that `train` lacks come last.

    Learning without labels and embedding work with different classes; code that needs the same
    classes calls `require_same_classes`.
    """
    if train.labels is None or test.labels is None or train.classes == test.classes:
        return test
    occurring = [test.classes[k] for k in test.labels.unique().tolist()]
    number = {name: k for k, name in enumerate(dict.fromkeys((*train.classes, *occurring)))}
    renumber = torch.tensor([number.get(name, -1) for name in test.classes])
    return cast(S, test.viewed(torch.arange(len(test)), tuple(number), renumber[test.labels]))


def require_same_classes(train: Source, test: Source) -> None:
    """Refuse test samples of classes without training samples.

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
