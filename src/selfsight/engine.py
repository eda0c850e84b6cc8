"""Engine: devices and precision, by Lightning Fabric; nothing else in the house imports it."""

import contextlib
import logging
import warnings
from collections.abc import Generator
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from selfsight.errors import SelfsightError
from selfsight.score import Score

Precision = Literal["f32", "bf16"]
_NAMES = {"f32": "32-true", "bf16": "bf16-mixed"}


def resolve_device(asked: str) -> str:
    """Decide between processor and GPU: "auto" takes a GPU where there is one.

    Raises:
        SelfsightError: If a GPU was asked for and there is none.
    """
    if asked == "cuda" and not torch.cuda.is_available():
        raise SelfsightError("no CUDA device is here; leave --device out to train on the processor")
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return asked


class Engine:
    """One device at one precision.

    Args:
        device: "cpu" or "cuda".
        precision: "f32", or "bf16" for autocast with f32 weights.
    """

    def __init__(self, device: str, precision: Precision) -> None:
        from lightning_fabric import Fabric  # slow to load, and needed only to train

        with warnings.catch_warnings(), _quiet("lightning_fabric"):
            warnings.simplefilter("ignore")  # it remarks on a GPU that was not asked for
            self._fabric = Fabric(
                accelerator=device, devices=1, precision=cast(Any, _NAMES[precision])
            )
        self.device = self._fabric.device

    def prepare(self, task: nn.Module, optimizer: Optimizer) -> None:
        """Move a task to the device and wrap it; its parameters stay the same objects."""
        task.to(self.device)
        task.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] -- as documented
        self._task, self._optimizer = self._fabric.setup(task, optimizer, move_to_device=False)
        self._parameters = list(task.parameters())

    def score(self, batch: Any) -> Score:
        """Run the task forward at the engine's precision."""
        return cast(Score, self._task(batch))

    def update(self, loss: Tensor, *, clip: float | None) -> None:
        """Take one optimiser step down the loss's gradient.

        Args:
            loss: Scalar.
            clip: Longest gradient allowed, as a Euclidean norm; None leaves it.
        """
        self._fabric.backward(loss)
        if clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, clip)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def wait(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@contextlib.contextmanager
def _quiet(name: str) -> Generator[None]:
    """Keep a library's remarks to itself: the plan says what it would say."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def threads(count: int) -> Generator[None]:
    """Let tensor operations use so many processor threads, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
