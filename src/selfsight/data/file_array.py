"""File arrays: numbers that lie in a file one after the other, read by position.

They are not mapped into memory: of a mapped file that somebody cuts short, or that lies on a disk
which goes, the system gives no error but kills the process (SIGBUS).
"""

import math
import os
import weakref
from collections import OrderedDict
from io import FileIO
from pathlib import Path
from threading import Lock

import numpy as np

from selfsight.data.source import Lost, Unreadable, open_regular
from selfsight.errors import SelfsightError

PAGE = 4096  # bytes that the system reads at least, however few are asked for
HELD_BYTES = 32 << 20  # of the rows that are read at a time where a row lies scattered
BLOCKS_HELD = 2  # of such rows: those being read, and their neighbours

_moving = Lock()  # of files whose own place must be moved


class FileArray:
    """An array (N, ...) in a file.

    Args:
        path: The file.
        shape: Of the array, N rows first; none of its sides is 0.
        dtype: Of its numbers.
        start: Bytes of the file before them.
        fortran: Whether the first axis is the one that lies together, as in Fortran, so that each
            number of a row lies away from the next.

    Raises:
        SelfsightError: If the file is shorter than that, or no file that can be opened.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype,
        start: int,
        *,
        fortran: bool = False,
    ) -> None:
        self.path, self.shape, self.dtype = path, shape, dtype
        self._start, self._scattered = start, fortran and len(shape) > 1
        try:
            with open_regular(path) as file:
                self._file = open(os.dup(file.fileno()), "rb", buffering=0)  # noqa: SIM115
        except Unreadable as reason:
            raise SelfsightError(f"{path} cannot be read: it is {reason}") from reason
        except OSError as error:
            raise SelfsightError(f"{path} cannot be opened: {error.strerror or error}") from error
        weakref.finalize(self, self._file.close)
        self._lock = Lock()  # of blocks
        self._blocks: OrderedDict[int, np.ndarray] = OrderedDict()
        most = os.fstat(self._file.fileno()).st_size - start
        if self.nbytes > most:
            raise SelfsightError(cut_short(path, self.nbytes, most))

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes these take."""
        return self.size * self.dtype.itemsize

    def __getitem__(self, i: int) -> np.ndarray:
        """Read row i: -> of the shape without N.

        Raises:
            Lost: If the file has become shorter, or its disk gives an error.
        """
        if self._scattered:
            return self._gathered(i)
        each = self.nbytes // len(self)
        row = np.frombuffer(self._read(self._start + i * each, each), self.dtype)
        return row.reshape(self.shape[1:])

    def whole(self) -> np.ndarray:
        """Read all of it: -> of its shape.

        Raises:
            Lost: As of a row.
        """
        flat = np.frombuffer(self._read(self._start, self.nbytes), self.dtype)
        return flat.reshape(self.shape, order="F" if self._scattered else "C")

    def _gathered(self, i: int) -> np.ndarray:
        """Read row i with its neighbours, since each number has theirs beside it."""
        others = self.size // len(self)
        at_once = PAGE // self.dtype.itemsize
        at_once = max(1, min(at_once, HELD_BYTES // (others * self.dtype.itemsize)))
        block = i // at_once
        with self._lock:
            if block not in self._blocks:
                self._blocks[block] = self._block(block * at_once, at_once, others)
                if len(self._blocks) > BLOCKS_HELD:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end(block)
            rows = self._blocks[block]
        return rows[:, i - block * at_once].reshape(self.shape[1:], order="F")

    def _block(self, first: int, count: int, others: int) -> np.ndarray:
        """Read some rows: -> (numbers of a row, rows)."""
        item = self.dtype.itemsize
        count = min(count, len(self) - first)
        parts = (
            self._read(self._start + (k * len(self) + first) * item, count * item)
            for k in range(others)
        )
        return np.frombuffer(b"".join(parts), self.dtype).reshape(others, count)

    def _read(self, at: int, count: int) -> bytearray:
        """Read so many bytes from a place on."""
        found = bytearray(count)
        try:
            whole = filled(self._file, memoryview(found), at)
        except OSError as error:
            raise Lost(f"cannot be read: {error.strerror or error}") from error
        if not whole:
            raise Lost(f"{self.path.name} has become shorter")
        return found


def filled(file: FileIO, row: memoryview, at: int) -> bool:
    """Fill bytes with those of a file from a place on: -> whether there are as many.

    The file's own place is left alone where the system offers that: threads, and processes that
    fork, share it.
    """
    done = 0
    while done < len(row):  # 2 GB at a time at most
        count = _some(file, row[done:], at + done)
        if not count:
            return False
        done += count
    return True


def _some(file: FileIO, row: memoryview, at: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(file.fileno(), [row], at)
    with _moving:
        file.seek(at)
        return file.readinto(row)


def cut_short(path: Path, promised: int, found: int) -> str:
    """Say that a file holds less than its header promises, in bytes."""
    return (
        f"{path} is damaged or cut short: its header promises {promised} bytes, and it has at "
        f"most {found}. Fetch it anew."
    )
