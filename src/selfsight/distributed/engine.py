"""Engine: device, precision and the optimiser's step, through Lightning Fabric.

No other module imports Fabric.
"""

import contextlib
import copy
import inspect
import logging
import warnings
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from selfsight.encoders import Encoder
from selfsight.encoders.encoder import look_into
from selfsight.errors import SelfsightError, in_a_line

if TYPE_CHECKING:
    from selfsight.tasks.base import Score

Precision = Literal["f32", "bf16"]
_NAMES = {"f32": "32-true", "bf16": "bf16-mixed"}


def resolve_device(asked: str) -> str:
    """Decide between processor and GPU: "auto" takes a GPU where there is one.

    Raises:
        SelfsightError: If a GPU was asked for and there is none.
    """
    if asked == "cuda" and not torch.cuda.is_available():
        raise SelfsightError(
            "no CUDA device was found; leave --device out to train on the processor"
        )
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return asked


def make_fabric(
    device: str, precision: Precision, *, devices: int = 1, nodes: int = 1, resting: bool = False
) -> Any:
    """Make Fabric, without its remarks; several processes use DDP (gloo, or nccl on GPUs).

    DDP averages gradients over processes.

    Args:
        device: "cpu" or "cuda".
        precision: "f32", or "bf16" for autocast with f32 weights.
        devices: Processes on each node.
        nodes: Machines.
        resting: Whether a step may leave some parameters unused, such as heads that take turns; DDP
            then searches for them in every step, which takes some time.
    """
    from lightning_fabric import Fabric  # slow to load, and needed only to train
    from lightning_fabric.strategies.ddp import DDPStrategy

    several = devices * nodes > 1
    ddp = DDPStrategy(find_unused_parameters=resting, **_buffers_left()) if several else None
    with warnings.catch_warnings(), _quiet("lightning_fabric"):
        warnings.simplefilter("ignore")  # it warns of a GPU that is not used
        return Fabric(
            accelerator=device,
            devices=devices,
            num_nodes=nodes,
            strategy=ddp or "auto",
            precision=cast(Any, _NAMES[precision]),
        )


def _buffers_left() -> dict[str, Any]:
    """Give the argument that stops DDP from sending buffers; its name depends on torch's release.

    Every process computes its buffers from the joint batch, so they are equal already. Sending them
    in every step would mean to send the whole memory bank.
    """
    known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
    word = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    return {word: False}


def launch(fabric: Any) -> None:
    """Join the processes of `make_fabric`; the first process also starts the others."""
    with warnings.catch_warnings(), _quiet("lightning_fabric"):
        warnings.simplefilter("ignore")  # it warns of thread counts
        fabric.launch()


class Engine:
    """Runs a task's forward passes and optimiser steps on a device at one precision.

    Args:
        device: "cpu" or "cuda".
        precision: "f32", or "bf16" for autocast with f32 weights.
        devices: Processes on each node; they must have been joined (`processes.joined`).
        nodes: Machines.
        compiled: Whether the task's encoders run through `torch.compile`.
        resting: Whether a step may leave some parameters unused, see `make_fabric`.
    """

    def __init__(
        self,
        device: str,
        precision: Precision,
        *,
        devices: int = 1,
        nodes: int = 1,
        compiled: bool = False,
        resting: bool = False,
    ) -> None:
        self._fabric = make_fabric(device, precision, devices=devices, nodes=nodes, resting=resting)
        if devices * nodes > 1:
            launch(self._fabric)
        self._compiled = compiled
        self.device = cast(torch.device, self._fabric.device)

    def prepare(self, task: nn.Module, optimizer: Optimizer) -> None:
        """Move a task to the device and wrap it; its parameters stay the same objects."""
        task.to(self.device)
        task.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] -- as documented
        if self._compiled:
            compile_encoders(task)
        self._task, self._optimizer = self._fabric.setup(task, optimizer, move_to_device=False)
        # Parts with their own learning rates, such as a critic, are clipped separately.
        parts: dict[float, list[nn.Parameter]] = {}
        for group in optimizer.param_groups:
            parts.setdefault(group.get("factor", 1.0), []).extend(group["params"])
        self._parts = list(parts.values())

    def score(self, batch: Any) -> "Score":
        """Run the task forward at the engine's precision."""
        return cast("Score", self._task(batch))

    def update(self, loss: Tensor, *, clip: float | None) -> None:
        """Take one optimiser step down the loss's gradient.

        Args:
            loss: Scalar.
            clip: Greatest Euclidean norm of the gradient; None does not clip.
        """
        self._fabric.backward(loss)
        if clip is not None:
            for parameters in self._parts:
                nn.utils.clip_grad_norm_(parameters, clip)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def wait(self) -> None:
        """Wait until the device has finished its queued work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def compile_encoders(task: nn.Module) -> None:
    """Compile a task's encoders by `torch.compile`, in place: no name in the state changes.

    The rest of a task stays uncompiled: its draws hash strings, which breaks the graph and would
    cause recompilation in every epoch, and most time is spent in the encoder anyway.
    """
    for part in task.modules():
        if isinstance(part, Encoder):
            part.compile()
            # `part.compile()` does not cover `layers`, which dense tasks call.
            part.look = torch.compile(look_into)


def uncompile_encoders(task: nn.Module) -> None:
    """Undo `compile_encoders`: pictures of another shape would be compiled for again."""
    for part in task.modules():
        if isinstance(part, Encoder):
            part._compiled_call_impl = None  # pyright: ignore[reportPrivateUsage] -- no public way
            part.look = look_into


def fault_of_compiling(
    task: nn.Module, batch: Any, device: torch.device | str, precision: Precision
) -> str | None:
    """Try a compiled forward and backward pass on a copy: -> None if it worked, else why not.

    Args:
        task: Its weights, statistics and gradients stay as they are.
        batch: A batch for the task, on the device.
        device: Where to compute.
        precision: Of the computation.
    """
    twin = copy.deepcopy(task).train().to(device)
    twin.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] -- as documented
    compile_encoders(twin)
    kind = torch.device(device).type
    try:
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's remarks on this machine
            with torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16"):
                loss = cast("Score", twin(batch)).loss
            loss.backward()
    except RuntimeError as error:  # base of all errors of a missing or failing compiler
        return in_a_line(error)
    return None


def bf16_is_sound(task: nn.Module, batch: Any, device: torch.device | str) -> bool:
    """Tell whether gradients in bf16 can be trusted, from a forward pass on a copy.

    They cannot on a processor if a convolution of stride 2 or more gets maps of a single value, as
    the last one does for tiles of 8 pixels. All its weights but the middle one then see only
    padding, so their gradient is 0; but in bf16 oneDNN leaves uninitialised memory there, with
    values up to 1e29 (seen with torch 2.14 on AMX).
    """
    if torch.device(device).type != "cpu":
        return True
    twin = copy.deepcopy(task).train()
    lone: list[bool] = []

    def look(convolution: nn.Module, given: tuple[Tensor, ...]) -> None:
        stride = max(cast(nn.Conv2d, convolution).stride)
        lone.append(stride > 1 and given[0].shape[-1] * given[0].shape[-2] == 1)

    for part in twin.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_pre_hook(look)
    with torch.random.fork_rng(), torch.no_grad():
        twin(batch)
    return not any(lone)


@contextlib.contextmanager
def _quiet(name: str) -> Generator[None]:
    """Silence a library's remarks, which the printed plan makes needless."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def threads(count: int) -> Generator[None]:
    """Set the number of processor threads for tensor operations, for the length of a block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
