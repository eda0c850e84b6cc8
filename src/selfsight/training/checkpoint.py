"""Checkpoint: everything for an exact resume, kept twice and checked when it is read.

    checkpoint.pt          the last one, complete at every moment
    checkpoint-before.pt   the one before it, in case the last one is corrupted on the disk

A checkpoint is a zip file that torch writes, with a checksum of every record. Reading verifies the
checksums and checks the content; nothing in it is executed. The two take twice the space of one,
also while a new one is written, since the older one is removed first.
"""

import io
import math
import os
import pickle
import secrets
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from selfsight.encoders.finite import first_non_finite
from selfsight.encoders.saved import compare
from selfsight.errors import SelfsightError, in_a_line, out_of_memory
from selfsight.system import atomic
from selfsight.system.escaping import shell_quoted
from selfsight.system.locks import is_taken
from selfsight.system.validation import Damaged, check_value, check_within, shortened

LAST, BEFORE = "checkpoint.pt", "checkpoint-before.pt"
# Optional entries of a checkpoint that are not tensors.
_KINDS: dict[str, Any] = {"step": int, "seconds": float, "waited": float, "counts": dict[str, int]}
_ALWAYS = ("step", "seconds", "waited", "task")  # further ones are of a training with gradients
# Errors of reading bytes that are not a checkpoint.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    pickle.UnpicklingError,
    EOFError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
)


def save(run: Path, state: Mapping[str, Any], *, another: str = atomic.ANOTHER) -> None:
    """Write a checkpoint, and keep the former one as the one before.

    Raises:
        SelfsightError: If it cannot be written; the last one is intact, and `another` is a further
            remedy, see `atomic`.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    _put_aside(run, another)
    atomic.write_bytes(run / LAST, buffer.getvalue(), another=another)


def _put_aside(run: Path, another: str) -> None:
    """Give the last checkpoint the second name of the one before, by a hard link.

    So the last one stays in its place until the next is renamed over it.
    """
    last, before = run / LAST, run / BEFORE
    if not last.is_file() or last.is_symlink():
        return
    if before.is_file() and before.samefile(last):
        return  # the next one could not be written; of two names of one file none is renamed
    part = run / f"{BEFORE}.{secrets.token_hex(8)}.part"  # as `atomic` names what it may tidy up
    with atomic.blamed(before, another=another), last.open("rb") as file:
        is_taken(file.fileno(), wait=True)  # so that `tidy` leaves the second name alone
        try:
            os.link(last, part)
        except OSError:  # a file system without second names
            before.unlink(missing_ok=True)
            atomic.write_bytes(before, file.read(), another=another)
        else:
            part.replace(before)


def load(run: Path, *, steps: int | None = None) -> dict[str, Any] | None:
    """Read a run's last checkpoint.

    Args:
        run: The run's directory.
        steps: Of its plan, if known: the most that a checkpoint may have taken.

    Returns:
        What was saved; None if nothing was saved yet.

    Raises:
        SelfsightError: If it is damaged, or is missing while the one before exists. If the one
            before is sound, the message offers it, with its step.
    """
    path = run / LAST
    if not os.path.lexists(path):
        if os.path.lexists(run / BEFORE):
            raise SelfsightError(f"{path} is missing; {_remedy(run, steps)}")
        return None
    return read(path, steps=steps, run=run)


def read(path: Path, *, steps: int | None = None, run: Path | None = None) -> dict[str, Any]:
    """Read a checkpoint and check it.

    Args:
        path: The file.
        steps: The most that it may have taken, if known.
        run: The run whose last checkpoint it is, to say what helps; None for any other file.

    Raises:
        SelfsightError: If it is damaged or cannot be read.
    """
    try:
        state = _content(path)
        check(state, steps)
        return state
    except OSError as error:
        raise SelfsightError(f"{path} could not be read: {error.strerror or error}") from error
    except _DAMAGE as error:
        if out_of_memory(error):
            raise
        remedy = "take another one" if run is None else _remedy(run, steps)
        raise Damaged(path, in_a_line(error), remedy) from error


def _remedy(run: Path, steps: int | None) -> str:
    """Say what to do if the last checkpoint cannot be used."""
    place, last, before = (shell_quoted(p) for p in (run, run / LAST, run / BEFORE))
    fresh = f"start a new run from its encoder with --from {place}"
    if not os.path.lexists(run / BEFORE):
        return f"no earlier one is kept, so {fresh}, or begin it again after rm {last}"
    try:
        step = read(run / BEFORE, steps=steps)["step"]
    except SelfsightError:
        return f"the one before it, {before}, is damaged too, so {fresh}"
    return (
        f"the one before it, of step {step:,}, is sound: mv {before} {last}, then selfsight "
        f"pretrain --resume {place}"
    )


def _content(path: Path) -> dict[str, Any]:
    """Read a checkpoint whose checksums are right.

    Raises:
        ValueError: If they are wrong, as the end of a sentence.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it must be a file, and is not")
    with path.open("rb") as file:
        with zipfile.ZipFile(file) as records:
            if any(one.compress_type != zipfile.ZIP_STORED for one in records.infolist()):
                raise ValueError("a record is compressed, which torch never does")
            wrong = records.testzip()
        if wrong is not None:
            raise ValueError(f"the checksum of record {shortened(wrong)} is wrong")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


def check(state: Any, steps: int | None) -> None:
    """Check the content of a checkpoint, as far as possible without a task.

    Raises:
        ValueError: With the first fault.
    """
    if not isinstance(state, dict):
        raise ValueError(f"it must hold a dictionary, and holds {shortened(state)}")
    state = cast(dict[str, Any], state)
    for key in _ALWAYS:
        if key not in state:
            raise ValueError(f"{key} is missing")
    for key, kind in _KINDS.items():
        if key in state:
            check_value(state[key], kind, key)
    check_within("step", state["step"], 0, math.inf if steps is None else steps)
    for key in ("seconds", "waited"):
        check_within(key, state[key], 0, math.inf)
    tensors = {
        f"{key} {name}": value for key in ("task", "sums") for name, value in _named(state, key)
    }
    for name, value in tensors.items():
        check_tensor(value, name)
    if name := first_non_finite(tensors):
        raise ValueError(f"{name} must be finite, and holds NaN or infinity")
    counts = cast(dict[str, int], state.get("counts", {}))
    if "counts" in state and counts.keys() != state["sums"].keys():
        raise ValueError("counts and sums must be of the same metrics")
    for name, count in counts.items():
        check_within(f"the count of {name}", count, 1, math.inf)


def _named(state: dict[str, Any], key: str) -> list[tuple[str, Any]]:
    """List the entries of a dictionary in a checkpoint; empty if a fit has none."""
    found = state.get(key, {})
    if not isinstance(found, dict):
        raise ValueError(f"{key} must hold tensors by name, and is {shortened(found)}")
    return list(cast(dict[str, Any], found).items())


def check_tensor(value: Any, name: str) -> None:
    """Refuse anything but a plain tensor that is stored completely.

    Raises:
        ValueError: If it is of another kind, or claims more numbers than the file holds.
    """
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
        raise ValueError(f"{name} must be a tensor, and is {shortened(value)}")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise ValueError(f"{name} must hold all of its {value.numel():,} numbers, and does not")


def take_up(task: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Load the weights of a checkpoint into a task.

    Raises:
        SelfsightError: If they belong to another task or encoder.
    """
    try:
        compare(task.state_dict(), state["task"])
        task.load_state_dict(state["task"])
    except (ValueError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        raise other(path, error) from error


def take_up_optimizer(
    optimizer: torch.optim.Optimizer, state: Mapping[str, Any], path: Path
) -> None:
    """Load the state of a checkpoint into an optimiser.

    Raises:
        SelfsightError: If the state belongs to another plan, or to other weights.
    """
    try:
        _check_optimizer(optimizer, state.get("optimizer"))
        optimizer.load_state_dict(state["optimizer"])
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        raise other(path, error) from error


def _check_optimizer(optimizer: torch.optim.Optimizer, found: Any) -> None:
    """Compare an optimiser's state with the optimiser that will load it.

    A group's values, except its rate, must follow from the plan, and a weight's state must have the
    weight's shape or be a single number.
    """
    check_value(found, dict, "optimizer")
    check_value(found.get("state"), dict, "the optimiser's state")
    check_value(found.get("param_groups"), list[dict], "the optimiser's groups")
    own = optimizer.state_dict()["param_groups"]
    if len(own) != len(found["param_groups"]):
        raise ValueError(f"{len(own)} groups of weights are trained, and it has others")
    for mine, its in zip(own, found["param_groups"], strict=True):
        for key in mine.keys() & its.keys() - {"lr"}:
            if _plain(mine[key]) != _plain(its[key]):
                raise ValueError(
                    f"{key} of a group of weights must be {shortened(mine[key])}, and is "
                    f"{shortened(its[key])}"
                )
        check_value(its.get("lr"), float, "the rate of a group of weights")
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for number, kept in found["state"].items():
        if type(number) is not int or not 0 <= number < len(weights) or not isinstance(kept, dict):
            raise ValueError(
                f"the optimiser's state has {shortened(number)}, which is not a weight"
            )
        for name, value in cast(dict[str, Any], kept).items():
            if value is None:
                continue
            place = f"the optimiser's {name} of weight {number}"
            check_tensor(value, place)
            if value.numel() != 1 and value.shape != weights[number].shape:
                raise ValueError(f"{place} must be of the weight's shape, and is not")
            if first_non_finite({place: value}):
                raise ValueError(f"{place} must be finite, and holds NaN or infinity")


def tensors_of(optimizer: Mapping[str, Any]) -> dict[str, Tensor]:
    """List the tensors of an optimiser's state dict by name."""
    return {
        f"{name} of weight {number}": value
        for number, kept in optimizer["state"].items()
        for name, value in kept.items()
        if isinstance(value, Tensor)
    }


def _plain(value: Any) -> Any:
    """Convert tuples to lists, so that equal ones compare equal."""
    return list(cast(tuple[Any], value)) if isinstance(value, tuple) else value


def check_generators(states: Any, own: Tensor, count: int, path: Path) -> None:
    """Refuse states of random generators if there is not one for each process.

    Args:
        states: As the checkpoint has them.
        own: This process's state, for its length.
        count: Processes.
        path: The checkpoint.

    Raises:
        SelfsightError: If they are of another length or kind.
    """
    wanted = count * own.numel()
    if not isinstance(states, Tensor) or states.dtype != own.dtype or states.numel() != wanted:
        found = f"{states.numel():,}" if isinstance(states, Tensor) else shortened(states)
        raise other(
            path, ValueError(f"generators' states must be {wanted:,} bytes, and are {found}")
        )


def check_sums(sums: Mapping[str, Tensor], count: int, path: Path) -> None:
    """Refuse sums that are neither one number for each process nor one for all.

    Raises:
        SelfsightError: Names the first one.
    """
    for name, value in sums.items():
        if value.ndim > 1 or value.numel() not in (1, count):
            raise other(path, ValueError(f"the sum of {name} is of shape {tuple(value.shape)}"))


def other(path: Path, error: Exception) -> Damaged:
    """Build the error for a checkpoint of another run."""
    return Damaged(
        path,
        f"it must be of this run, and is not: {in_a_line(error)}",
        "put back the run's own settings.json and checkpoint, or start a new run from its encoder "
        f"with --from {shell_quoted(path.parent)}",
    )
