"""File arrays: arrays in a file whose rows are read by position when they are needed.

They are not mapped into memory: if a mapped file is cut short or its disk fails, the system raises
no error but kills the process (SIGBUS).
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

PAGE = 4096  # least bytes that the system reads at a time
HELD_BYTES = 32 << 20  # most bytes of a block of rows that are read together where rows are strided
BLOCKS_HELD = 2  # such blocks kept: the one being read, and its neighbour

_moving = Lock()  # of file positions, where the system can read only at the position


class FileArray:
    """An array (N, ...) in a file.

    Args:
        path: The file.
        shape: Shape of the array, N rows first; none of its sides is 0.
        dtype: Type of its numbers.
        start: Bytes of the file before the array.
        fortran: Whether the array is in Fortran order, so that the numbers of a row are scattered
            over the file.

    Raises:
        SelfsightError: If the file is too short or cannot be opened.
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
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of numbers in the array."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of the array in bytes."""
        return self.size * self.dtype.itemsize

    def __getitem__(self, i: int) -> np.ndarray:
        """Read row i: -> an array of the shape without N.

        Raises:
            Lost: If the file has become shorter, or its disk reports an error.
        """
        if self._scattered:
            return self._gathered(i)
        each = self.nbytes // len(self)
        row = np.frombuffer(self._read(self._start + i * each, each), self.dtype)
        return row.reshape(self.shape[1:])

    def whole(self) -> np.ndarray:
        """Read the whole array.

        Raises:
            Lost: If the file has become shorter, or its disk reports an error.
        """
        flat = np.frombuffer(self._read(self._start, self.nbytes), self.dtype)
        return flat.reshape(self.shape, order="F" if self._scattered else "C")

    def _gathered(self, i: int) -> np.ndarray:
        """Read a scattered row i together with its neighbours, whose numbers lie beside its own."""
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
        """Read `count` bytes from position `at` on."""
        found = bytearray(count)
        try:
            whole = filled(self._file, memoryview(found), at)
        except OSError as error:
            raise Lost(f"cannot be read: {error.strerror or error}") from error
        if not whole:
            raise Lost(f"{self.path.name} has become shorter")
        return found


def filled(file: FileIO, row: memoryview, at: int) -> bool:
    """Fill a buffer from position `at` of a file on: -> whether there were enough bytes.

    The file's current position, which threads and forked processes share, is not used where the
    system allows that.
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
    """Word the error for a file that holds fewer bytes than its header promises."""
    return (
        f"{path} is damaged or cut short: its header promises {promised} bytes, and it has at "
        f"most {found}. Fetch it again."
    )
