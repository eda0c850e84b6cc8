"""Stores of numbers: those of a text's words, in memory, or in a file where there are too many.

The file lies in the cache folder and has no name: it goes with the process that wrote it.
"""

import tempfile
import weakref
from abc import ABC, abstractmethod
from array import array

import numpy as np

from selfsight.data.file_array import filled
from selfsight.errors import SelfsightError
from selfsight.system import atomic, machine

BYTES = 4  # of a number
FOLDER = "words"  # of the cache


class Store(ABC):
    """Numbers one after the other, int32."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def add(self, numbers: np.ndarray) -> None:
        """Put numbers (M,) int32 at the end."""

    @abstractmethod
    def read(self, first: int, count: int) -> np.ndarray:
        """Read `count` numbers from place `first` on: -> (count,) int32."""

    @abstractmethod
    def write(self, first: int, numbers: np.ndarray) -> None:
        """Write numbers (M,) int32 over those from place `first` on."""

    @abstractmethod
    def shorten(self, count: int) -> None:
        """Keep the first `count` numbers."""


class InMemory(Store):
    """Numbers in memory."""

    def __init__(self) -> None:
        self._held = array("i")

    def __len__(self) -> int:
        return len(self._held)

    def add(self, numbers: np.ndarray) -> None:
        """Put numbers at the end."""
        self._held.frombytes(numbers.astype(np.int32).tobytes())

    def read(self, first: int, count: int) -> np.ndarray:
        """Read numbers from a place on."""
        return np.array(self._held[first : first + count], np.int32)

    def write(self, first: int, numbers: np.ndarray) -> None:
        """Write numbers over others."""
        self._held[first : first + len(numbers)] = array("i", numbers.astype(np.int32).tobytes())

    def shorten(self, count: int) -> None:
        """Keep the first numbers."""
        del self._held[count:]


class OnDisk(Store):
    """Numbers in a file of the cache folder.

    Raises:
        SelfsightError: If it cannot be written.
    """

    def __init__(self) -> None:
        self._place = atomic.folder(machine.cache_folder() / FOLDER, another=machine.CACHE)
        with atomic.blamed(self._place, machine.CACHE, what="cannot keep the numbers of words"):
            self._file = tempfile.TemporaryFile(dir=self._place, buffering=0)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, numbers: np.ndarray) -> None:
        """Put numbers at the end."""
        self.write(self._count, numbers)
        self._count += len(numbers)

    def read(self, first: int, count: int) -> np.ndarray:
        """Read numbers from a place on.

        Raises:
            SelfsightError: If the disk does not give them.
        """
        found = np.empty(count, np.int32)
        with atomic.blamed(self._place, machine.CACHE, what="cannot read the numbers of words"):
            whole = filled(self._file, found.data.cast("B"), first * BYTES)
        if not whole:
            raise SelfsightError(f"the numbers of words in {self._place} have become fewer")
        return found

    def write(self, first: int, numbers: np.ndarray) -> None:
        """Write numbers over others, or at the end.

        Raises:
            SelfsightError: If the disk is full.
        """
        left = memoryview(numbers.astype(np.int32).tobytes())
        with atomic.blamed(self._place, machine.CACHE, what="cannot keep the numbers of words"):
            self._file.seek(first * BYTES)
            while left:
                left = left[self._file.write(left) :]

    def shorten(self, count: int) -> None:
        """Keep the first numbers."""
        self._file.truncate(count * BYTES)
        self._count = count
