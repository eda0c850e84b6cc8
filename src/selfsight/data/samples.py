"""Samples: what was read of a source, ready to be batched."""

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
    """What was read of a source, ready to be batched.

    Attributes:
        name: Where the samples come from.
        labels: (N,) int64 class numbers from 0, or None when unlabelled.
        classes: K class names; () when unlabelled.
        skipped: The samples that could not be read; these are not among the N.
        notes: What a user should know of them, a sentence each without a full stop.
        fingerprint: Hexadecimal hash of what a task can see of them: another one, other data.
        storage: Where they are kept.
        origins: (N,) int64, each sample's row in the source it was read from; None if not known.
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
        """Give what a frozen encoder takes of the samples of `rows` (B,) int64: -> (B, ...)."""

    def contents(self) -> Iterator[bytes]:
        """Hash each sample as it was read, in order."""
        for rows in torch.arange(len(self)).split(HASHED_AT_ONCE):
            for sample in self.seen(rows):
                yield hashlib.sha256(sample.contiguous().numpy().data).digest()

    def broken(self) -> dict[int, Skipped]:
        """List the samples that proved unreadable since, by their rows, if any can."""
        return {}

    def former_fingerprint(self) -> str:
        """Give the fingerprint as runs without an imprint have it."""
        return self.fingerprint

    def class_shares(self) -> tuple[float, ...]:
        """Tell which share of the samples each class has; () when unlabelled."""
        if self.labels is None:
            return ()
        counts = self.labels.bincount(minlength=len(self.classes))
        return tuple((counts.double() / len(self)).tolist())


def numbered_by_content(samples: Samples) -> Tensor:
    """Number samples (N,) int64 so that those of the same content have the same number."""
    found: dict[bytes, int] = {}
    numbers = [found.setdefault(content, len(found)) for content in samples.contents()]
    return torch.tensor(numbers, dtype=torch.int64)
