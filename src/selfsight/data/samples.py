"""Samples: the samples that were read from a source, ready to be batched."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Storage = Literal["memory", "map", "stream"]
HASHED_AT_ONCE = 512


@dataclass(frozen=True)
class Skipped:
    """A sample that could not be read.

    Attributes:
        title: Its relative path, or its row.
        reason: Why, in words.
    """

    title: str
    reason: str


class Samples(ABC):
    """The samples that were read from a source, ready to be batched.

    Attributes:
        name: Where the samples come from.
        labels: (N,) int64 class numbers from 0, or None when unlabelled.
        classes: K class names; () when unlabelled.
        skipped: The samples that could not be read; these are not among the N.
        notes: What a user should know of them, sentences without a full stop.
        fingerprint: Hexadecimal hash of all that a task can see, which identifies the data.
        storage: Where they are stored.
        origins: (N,) int64, each sample's row in the source it was read from; None if unknown.
    """

    name: str
    labels: Tensor | None
    classes: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    fingerprint: str
    storage: Storage
    origins: Tensor | None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def seen(self, rows: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Give a frozen encoder's input for the samples of `rows` (B,) int64: -> (B, ...)."""

    def contents(self) -> Iterator[bytes]:
        """Hash each sample as it was read, in order."""
        for rows in torch.arange(len(self)).split(HASHED_AT_ONCE):
            for sample in self.seen(rows):
                yield hashlib.sha256(sample.contiguous().numpy().data).digest()

    def broken(self) -> dict[int, Skipped]:
        """Give the samples that proved unreadable after reading, by their rows."""
        return {}

    def former_fingerprint(self) -> str:
        """The fingerprint as in runs made before there was an imprint."""
        return self.fingerprint

    def class_shares(self) -> tuple[float, ...]:
        """Give each class's share of the samples; () when unlabelled."""
        if self.labels is None:
            return ()
        counts = self.labels.bincount(minlength=len(self.classes))
        return tuple((counts.double() / len(self)).tolist())


def numbered_by_content(samples: Samples) -> Tensor:
    """Number samples (N,) int64 so that samples with equal content get the same number."""
    found: dict[bytes, int] = {}
    numbers = [found.setdefault(content, len(found)) for content in samples.contents()]
    return torch.tensor(numbers, dtype=torch.int64)
