"""Errors: an unknown name comes with close matches, lacking memory with what needs less."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from selfsight.errors import UsageError, out_of_memory, unknown_name
from selfsight.settings import Pretrain, Probe


def test_an_unknown_name_lists_close_matches() -> None:
    error = unknown_name("task", "rotatoin", ["rotation", "supervised"])

    assert isinstance(error, ValueError)
    assert isinstance(error, UsageError)
    assert str(error) == "unknown task 'rotatoin'; did you mean rotation?"


def test_a_name_like_none_lists_the_table() -> None:
    error = unknown_name("task", "zzz", ["supervised", "rotation"])

    assert str(error) == "unknown task 'zzz'; known: rotation, supervised"


def _memory_of_torch() -> object:
    return torch.empty(1 << 55)


def _memory_of_numpy() -> object:
    return np.ones(1 << 55)


def _memory_of_python() -> object:
    return b"x" * (1 << 55)


@pytest.mark.parametrize("take", [_memory_of_torch, _memory_of_numpy, _memory_of_python])
def test_memory_that_ran_out_is_told_from_other_errors(take: Callable[[], object]) -> None:
    with pytest.raises((MemoryError, RuntimeError)) as ran_out:
        take()

    told = out_of_memory(ran_out.value, Pretrain("digits", ("rotation",)))
    assert str(told).startswith("memory ran out")
    assert str(told).endswith(
        "what was saved is intact. Give a smaller --batch, a smaller --size, a smaller --limit or "
        "another --encoder"
    )


def test_memory_of_a_gpu_is_told_as_that_of_a_processor() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    told = out_of_memory(error, Probe("run"))
    assert str(told) == (
        "memory ran out (tried to allocate 2.00 GiB); what was saved is intact. Give a smaller "
        "--size or a smaller network"
    )


@pytest.mark.parametrize("error", [ValueError("out of memory"), RuntimeError("shapes differ")])
def test_other_errors_are_none_of_memory(error: Exception) -> None:
    assert out_of_memory(error) is None
