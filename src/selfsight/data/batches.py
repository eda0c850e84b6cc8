"""Batches: which samples each step sees, and batches made ahead in a thread.

The order of epoch e is drawn from the seed and e alone, so the number of a step determines its
batch: a resumed run needs no state to continue.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from selfsight.draws import Draws
from selfsight.errors import UsageError

T = TypeVar("T")


class Batch(Protocol):
    """What a task receives: some samples, and their randomness."""

    @property
    def index(self) -> Tensor:
        """(B,) int64, each sample's place in the data."""
        ...

    @property
    def draws(self) -> Draws:
        """This batch's randomness."""
        ...

    @classmethod
    def from_rows(
        cls,
        samples: Any,
        rows: Tensor,
        *,
        seed: int,
        epoch: int,
        device: torch.device | str = "cpu",
    ) -> "Batch":
        """Make a batch of some samples.

        Args:
            samples: What was read; of this batch's modality.
            rows: (B,) int64, which of them.
            seed: The run's seed, for the batch's draws.
            epoch: How often the data has been gone through, for the batch's draws.
            device: Where the batch is to be.
        """
        ...


class Order:
    """The samples of every step; keeps the current epoch's order so that a step costs nothing.

    Args:
        count: Number of samples.
        batch: Samples in a step, 1 to `count`.
        seed: The run's seed.

    Raises:
        UsageError: If `batch` is outside its range.
    """

    def __init__(self, count: int, batch: int, seed: int) -> None:
        if not 1 <= batch <= count:
            raise UsageError(
                f"batch must be between 1 and the {count} samples there are, got {batch}"
            )
        self.count = count
        self.batch = batch
        self.seed = seed
        self.steps_per_epoch = count // batch
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def at(self, step: int) -> tuple[int, Tensor]:
        """Give the epoch of a step and its samples: -> epoch, (batch,) int64.

        Samples left over after the last full batch are not seen in that epoch.
        """
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._order = Draws(self.seed, epoch, torch.arange(self.count)).order("order")
            self._epoch = epoch
        return epoch, self._order[place * self.batch : (place + 1) * self.batch]


def some_rows(count: int, most: int) -> Tensor:
    """Choose random rows, the same every time: -> (at most `most`,) int64 in random order.

    The first rows would not do: data is often sorted by class.
    """
    return Draws(0, 0, torch.arange(count)).order("some rows")[:most]


def chosen_rows(count: int, limit: int | None) -> Tensor:
    """Choose rows, sorted: all, or `limit` of them drawn with a fixed seed.

    Not the first ones: pictures lie sorted by class.
    """
    every = torch.arange(count)
    if limit is None or limit >= count:
        return every
    return Draws(0, 0, every).order("limit")[:limit].sort().values


class Ahead(Generic[T]):
    """Makes the next few batches in a thread of its own before they are needed.

    Args:
        make: Makes the batch of a step, always the same one.
        steps: Number of batches to make ahead.
    """

    def __init__(self, make: Callable[[int], T], steps: int = 3) -> None:
        self._make, self._steps = make, steps
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._waiting: dict[int, Future[T]] = {}

    def __call__(self, step: int) -> T:
        """Give the batch of a step."""
        asked = range(step, step + 1 + self._steps)
        for other in self._waiting.keys() - set(asked):
            self._waiting.pop(other).cancel()
        for other in asked:
            if other not in self._waiting:
                self._waiting[other] = self._thread.submit(self._make, other)
        return self._waiting.pop(step).result()

    def close(self) -> None:
        """Stop making batches."""
        self._thread.shutdown(wait=True, cancel_futures=True)
