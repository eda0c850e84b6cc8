"""Engine: devices and precision, by Lightning Fabric; nothing else in the house imports it."""

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
        raise SelfsightError("no CUDA device is here; leave --device out to train on the processor")
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return asked


def make_fabric(
    device: str, precision: Precision, *, devices: int = 1, nodes: int = 1, resting: bool = False
) -> Any:
    """Make Fabric, quietly; with several processes they are DDP's (gloo, or nccl on GPUs).

    Gradients are then averaged over processes.

    Args:
        device: "cpu" or "cuda".
        precision: "f32", or "bf16" for autocast with f32 weights.
        devices: Processes on each node.
        nodes: Machines.
        resting: Whether some parameters rest in a step, as heads do that take turns; DDP then looks
            for them in every step, which takes it some time.
    """
    from lightning_fabric import Fabric  # slow to load, and needed only to train
    from lightning_fabric.strategies.ddp import DDPStrategy

    several = devices * nodes > 1
    ddp = DDPStrategy(find_unused_parameters=resting, **_buffers_left()) if several else None
    with warnings.catch_warnings(), _quiet("lightning_fabric"):
        warnings.simplefilter("ignore")  # it remarks on a GPU that was not asked for
        return Fabric(
            accelerator=device,
            devices=devices,
            num_nodes=nodes,
            strategy=ddp or "auto",
            precision=cast(Any, _NAMES[precision]),
        )


def _buffers_left() -> dict[str, Any]:
    """Give the words by which DDP leaves buffers alone; releases of torch differ in them.

    Buffers are the same in all processes, since every process computes them of the joint batch:
    sending them around in every step would cost as much as the largest memory bank.
    """
    known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
    word = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    return {word: False}


def launch(fabric: Any) -> None:
    """Join the processes of `make_fabric`; the first to ask also starts them."""
    with warnings.catch_warnings(), _quiet("lightning_fabric"):
        warnings.simplefilter("ignore")  # it remarks on thread counts
        fabric.launch()


class Engine:
    """A device, and its like in other processes, at one precision.

    Args:
        device: "cpu" or "cuda".
        precision: "f32", or "bf16" for autocast with f32 weights.
        devices: Processes on each node; they must have been joined (`processes.joined`).
        nodes: Machines.
        compiled: Whether the task's encoders run through `torch.compile`.
        resting: Whether some parameters rest in a step, see `make_fabric`.
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
        # Parts that are trained at rates of their own, as a critic, are clipped each by itself.
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
            clip: Longest gradient allowed, as a Euclidean norm; None leaves it.
        """
        self._fabric.backward(loss)
        if clip is not None:
            for parameters in self._parts:
                nn.utils.clip_grad_norm_(parameters, clip)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def wait(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def compile_encoders(task: nn.Module) -> None:
    """Let a task's encoders run through `torch.compile`, in place: no name in the state changes.

    The rest of a task is left alone: its draws hash strings, which breaks the graph and would
    compile anew every epoch, and the encoder is where the time goes.
    """
    for part in task.modules():
        if isinstance(part, Encoder):
            part.compile()
            # Tasks that answer at every place call `layers`, which that does not reach.
            part.look = torch.compile(look_into)


def uncompile_encoders(task: nn.Module) -> None:
    """Take `compile_encoders` back: pictures of another shape would be compiled for anew."""
    for part in task.modules():
        if isinstance(part, Encoder):
            part._compiled_call_impl = None  # pyright: ignore[reportPrivateUsage] -- no public way
            part.look = look_into


def fault_of_compiling(
    task: nn.Module, batch: Any, device: torch.device | str, precision: Precision
) -> str | None:
    """Try a compiled step, forward and backward, on a copy: -> None if it worked, else why not.

    Args:
        task: Its weights, statistics and gradients stay as they are.
        batch: What it would be trained on, on the device.
        device: Where to compute.
        precision: To compute in.
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
    except RuntimeError as error:  # no compiler, or one that fails: its errors have this base alone
        return in_a_line(error)
    return None


def bf16_is_sound(task: nn.Module, batch: Any, device: torch.device | str) -> bool:
    """Tell whether gradients in bf16 can be trusted, from a pass forward on a copy.

    On a processor, where a convolution of stride 2 or more sees maps of a single value, as the last
    one of tiles of 8 pixels, its weights beside the middle meet padding alone and their gradient
    is 0. In bf16 oneDNN leaves it as it found the memory, up to 1e29 (seen with torch 2.14 on AMX).
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
