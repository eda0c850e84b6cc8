"""Memory budget: how much memory pictures may take while they are decoded.

One thread a core decodes pictures. Small pictures are not counted; large ones wait until there is
room, and one that unpacks to far more than its file is decoded alone. So a folder of huge pictures
takes longer but does not use up the memory.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property

from selfsight.data.pictures.files.header import UNREMARKABLE, is_bomb
from selfsight.data.source import Unreadable
from selfsight.errors import out_of_memory
from selfsight.system import machine

SHARE = 8  # the budget is this part of the machine's memory, or what any picture may take
SMALL = 4 << 20  # bytes up to which a picture is not counted
LARGE = 64 << 20  # bytes past which a lack of memory is blamed on the picture


class MemoryBudget:
    """The memory that pictures being decoded take together.

    Args:
        most: Bytes; by default a share of this machine's memory.
    """

    def __init__(self, most: int | None = None) -> None:
        self._asked = most
        self._free = threading.Condition()
        self._taken = 0
        self._mine = threading.local()

    @cached_property
    def most(self) -> int:
        """Bytes that may be in use at once."""
        if self._asked is not None:
            return self._asked
        return min(max(UNREMARKABLE, machine.memory() // SHARE), machine.memory() // 4)

    @contextmanager
    def turn(self) -> Generator[None]:
        """Count what this thread takes within the block, and release it at the end.

        Raises:
            Unreadable: If memory runs out on a large picture.
        """
        if getattr(self._mine, "taken", None) is not None:
            yield  # within another turn of this thread
            return
        self._mine.taken = 0
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if self._mine.taken < LARGE or not out_of_memory(error):
                raise
            raise Unreadable("takes more memory than there is") from error
        finally:
            taken, self._mine.taken = self._mine.taken, None
            if taken:
                with self._free:
                    self._taken -= taken
                    self._free.notify_all()

    def take(self, needed: int, decoded: int, packed: int) -> None:
        """Wait until there is room for a picture, within a `turn` of this thread.

        Args:
            needed: Bytes that it takes while it is decoded.
            decoded: Bytes that it takes afterwards.
            packed: Bytes of its file.
        """
        mine = getattr(self._mine, "taken", None)
        if mine is None or needed < SMALL:
            return
        if is_bomb(needed, decoded, packed, LARGE - 1):
            needed = max(needed, self.most)
        with self._free:
            # A thread that holds some already does not wait, which could be a deadlock.
            self._free.wait_for(
                lambda: mine or not self._taken or self._taken + needed <= self.most
            )
            self._taken += needed
        self._mine.taken = mine + needed


BUDGET = MemoryBudget()
