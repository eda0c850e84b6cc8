"""Processes: several devices train one task together, with one process for each.

The first process leads: only it writes files, shows progress and prints. Each process takes its
share of every batch; draws belong to samples, so together they see what one process would. An error
in one process ends all of them, with one message that the first prints.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from selfsight.distributed.engine import launch, make_fabric
from selfsight.errors import SelfsightError, Stopped, UsageError, out_of_memory
from selfsight.settings import Pretrain
from selfsight.system.escaping import printable

T = TypeVar("T")

FIRST = "SELFSIGHT_FIRST_PROCESS"  # environment variable with the number of the first process
SECONDS_BETWEEN_LOOKS = 0.5
FAULT = "selfsight/fault"  # key under which a process leaves its error for the first to print
GRACE = 5.0  # seconds that the first process has to notice by itself that another ended
STATUS = {"usage": 2, "stopped": 130, "interrupted": 130}  # exit statuses; others are 1


@dataclass(frozen=True)
class Processes:
    """All processes of a training, this one among them.

    Attributes:
        rank: Number of this process, from 0.
        count: How many there are.
        device: Where this process computes.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 -- a constant

    @property
    def leads(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def placed(self, device: str) -> torch.device | str:
        """Give this process's own device among several of a kind."""
        return device if self.count == 1 else self.device

    def share(self, rows: Tensor) -> Tensor:
        """Take this process's part of a batch's rows (B,): -> (B / count,), the rank-th part."""
        part = len(rows) // self.count
        return rows[self.rank * part : (self.rank + 1) * part]

    def mean(self, values: Tensor) -> Tensor:
        """Average a tensor over processes: -> the same in all of them."""
        if self.count == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.count

    def largest(self, *values: float) -> list[float]:
        """Take the largest of each value over processes: -> the same in all of them."""
        if self.count == 1:
            return list(values)
        most = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(most, dist.ReduceOp.MAX)
        return most.tolist()

    def from_first(self, value: T) -> T:
        """Send the first process's value to all: -> the same in all of them."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gathered(self, value: Tensor) -> Tensor:
        """Stack the CPU tensors (...) of all processes: -> (count, ...)."""
        if self.count == 1:
            return value[None]
        parts: list[Any] = [None] * self.count
        dist.all_gather_object(parts, value)
        return torch.stack(parts)

    def wait(self) -> None:
        """Wait until all processes have called this."""
        self.largest(0.0)


ALONE = Processes()


@contextlib.contextmanager
def joined(devices: int, nodes: int, device: str) -> Generator[Processes]:
    """Start the missing processes and join them, for the length of a block.

    Under torchrun or SLURM the processes run already. Otherwise the command is run once more for
    every further device.

    Args:
        devices: Processes on each node.
        nodes: Machines.
        device: "cpu" or "cuda".

    Raises:
        UsageError: If this program cannot be run again for further processes, or torchrun started
            another number of them.
        SelfsightError: If there are too few GPUs, or another process failed.
        SystemExit: In every process but the first, if one failed.
    """
    _check_started(devices * nodes)
    if devices * nodes == 1:
        yield ALONE
        return
    fabric = _checked(devices, nodes, device)
    watch = _Watch(fabric.strategy.launcher)
    with _ending_with_the_first():
        launch(fabric)
    here = Processes(dist.get_rank(), dist.get_world_size(), fabric.device)
    with _quiet_but_first(here):
        try:
            yield here
            here.wait()
        except BaseException as error:
            if here.leads:
                lost = (_told_fault() or _lost()) if _is_lost_peer(error) else None
                watch.end(patience=0.0)  # the others have nothing left to write
                if lost is None:
                    raise
                raise lost from None
            _leave_fault(here, error)
            raise SystemExit(_status(_kind(error))) from error
    dist.destroy_process_group()
    watch.end(patience=GRACE)


@contextlib.contextmanager
def _ending_with_the_first() -> Generator[None]:
    """Make the processes that the first one starts in the block end when it ends.

    If it were killed while they start and connect, they would wait for half an hour.
    """
    if (first := os.environ.get(FIRST)) is not None:  # this process was started by the first
        threading.Thread(target=_end_after, args=(int(first),), daemon=True).start()
        yield
        return
    os.environ[FIRST] = str(os.getpid())
    try:
        yield
    finally:
        del os.environ[FIRST]


def _end_after(parent: int) -> None:
    """End this process once it is no longer the child of its parent."""
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)


def _check_started(count: int) -> None:
    """Refuse a number of processes other than torchrun started."""
    if "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) != count:
        raise UsageError(
            f"--devices times --nodes must be the {os.environ['WORLD_SIZE']} processes that "
            f"torchrun started, got {count}"
        )


def _checked(devices: int, nodes: int, device: str) -> Any:
    """Make Fabric for several processes, after checking that they can be started."""
    if device == "cuda" and devices > torch.cuda.device_count():
        raise SelfsightError(
            f"--devices {devices} needs as many GPUs, and there are {torch.cuda.device_count()}"
        )
    fabric = make_fabric(device, "f32", devices=devices, nodes=nodes)
    external = fabric.strategy.cluster_environment.creates_processes_externally
    if not external and not _can_run_again():
        raise UsageError(
            f"{devices * nodes} processes are started by running the command again, which works "
            "for `selfsight pretrain` but not from Python or a notebook; use the command, or start "
            f"the script with torchrun --nproc-per-node {devices}"
        )
    return fabric


def _can_run_again() -> bool:
    """Tell whether this program is the command `selfsight pretrain`."""
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    by_module = main is not None and main.name in ("selfsight", "selfsight.__main__")
    by_name = main is None and Path(sys.argv[0]).stem == "selfsight"
    return (by_module or by_name) and sys.argv[1:2] == ["pretrain"]


class _Watch:
    """Ends the first process when another one has ended, which could leave it waiting for ever.

    With gloo a lost peer breaks the connection at once, with an error; nccl can wait for half an
    hour.

    Args:
        launcher: Fabric's; in the first process it starts the others, elsewhere none. They are
            taken out of its own watch, which would kill this process without a message.
    """

    def __init__(self, launcher: Any) -> None:
        self._launcher = launcher
        self._children: list[subprocess.Popen[bytes]] = []
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _takes_over(self) -> None:
        while self._launcher.procs:
            self._children.append(self._launcher.procs.pop())

    def end(self, *, patience: float) -> None:
        """Stop watching, and kill the processes that have not ended after `patience` seconds."""
        self._over.set()
        self._takes_over()
        for child in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(patience)
            if child.poll() is None:
                child.kill()
                child.wait()

    def _watch(self) -> None:
        while not self._over.wait(SECONDS_BETWEEN_LOOKS):
            self._takes_over()
            if any(child.poll() for child in self._children) and not self._over.wait(GRACE):
                fault = _told_fault() or _lost()
                print(printable(f"selfsight: {fault}"), file=sys.stderr, flush=True)
                self.end(patience=0.0)
                os._exit(_status(_kind(fault)))


@contextlib.contextmanager
def _quiet_but_first(here: Processes) -> Generator[None]:
    """Silence the output of all processes but the first."""
    if here.leads:
        yield
        return
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


Kind = Literal["usage", "stopped", "fault", "interrupted", "bug"]


def _kind(error: BaseException) -> Kind:
    if isinstance(error, UsageError):
        return "usage"
    if isinstance(error, Stopped):
        return "stopped"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return "fault" if isinstance(error, SelfsightError) else "bug"


def _status(kind: Kind) -> int:
    return STATUS.get(kind, 1)


def _is_lost_peer(error: BaseException) -> bool:
    """Tell whether an error means that another process has ended."""
    if isinstance(error, dist.DistError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        word in text for word in ("gloo", "connection", "timed out", "nccl")
    )


def _lost() -> SelfsightError:
    return SelfsightError(
        "another process of this training ended without a message, perhaps killed for lack of "
        "memory; what was saved is intact: continue with --resume, or start a new run with fewer "
        "--devices or a smaller --batch"
    )


def _leave_fault(here: Processes, error: BaseException) -> None:
    """Leave an error where the first process finds it; only the first error is kept."""
    if _is_lost_peer(error):
        return
    error = out_of_memory(error, Pretrain) or error
    text = str(error) or "interrupted"
    if _kind(error) == "bug":
        text = f"process {here.rank} failed:\n{''.join(traceback.format_exception(error))}"
    with contextlib.suppress(Exception):  # the first process has ended: it reported its own error
        _store().compare_set(FAULT, "", json.dumps([_kind(error), text]))


def _told_fault() -> BaseException | None:
    """Read the error that another process left; None if there is none."""
    with contextlib.suppress(Exception):
        if _store().check([FAULT]):
            kind, text = json.loads(_store().get(FAULT))
            kinds: dict[str, type[BaseException]] = {
                "usage": UsageError,
                "stopped": Stopped,
                "interrupted": KeyboardInterrupt,
                "bug": RuntimeError,
            }
            return kinds.get(kind, SelfsightError)(text)
    return None


def _store() -> Any:
    """Give the key-value store that the processes share."""
    store = cast(Any, dist.distributed_c10d)._get_default_store()
    store.set_timeout(timedelta(seconds=GRACE))
    return store
