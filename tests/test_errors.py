"""Errors: an unknown name comes with close matches, lacking memory with what needs less."""

import errno
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
import torch

from selfsight.errors import UsageError, in_a_line, out_of_memory, unknown_name
from selfsight.settings import Apply, Demo, Embed, Pretrain, Probe


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
        "what was saved is intact. Give a smaller --batch, a smaller --size, a smaller --limit, "
        "--storage stream or another --encoder"
    )


def test_memory_of_a_gpu_is_told_as_that_of_a_processor() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    told = out_of_memory(error, Probe("run"))
    assert str(told) == (
        "memory ran out (tried to allocate 2.00 GiB); what was saved is intact. Give a smaller "
        "--size, a smaller --labels or a smaller network"
    )


@pytest.mark.parametrize("error", [ValueError("out of memory"), RuntimeError("shapes differ")])
def test_other_errors_are_none_of_memory(error: Exception) -> None:
    assert out_of_memory(error) is None


SAID = [
    RuntimeError("[enforce fail at alloc_cpu.cpp:125] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    pa.ArrowMemoryError("malloc of size 1099511627776 failed"),
    MemoryError(),
]


@pytest.mark.parametrize("error", SAID)
@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        (Demo(), "End other programs, or raise the limit of memory (ulimit -v)"),
        (Apply("run", files=("a",), out="b"), "Give smaller pictures or a smaller network"),
        (
            Embed("run", out="a.npz"),
            "Give a smaller --size, a smaller --limit or a smaller network",
        ),
        (
            Pretrain("digits", ("rotation",), storage="stream"),
            "Give a smaller --batch, a smaller --size, a smaller --limit or another --encoder",
        ),
        (
            Pretrain(resume="run"),
            "End other programs, since a resumed run keeps its settings; or start a new run from "
            "its weights, with --from and a smaller --batch",
        ),
    ],
)
def test_lacking_memory_names_only_what_the_verb_can_do(
    error: Exception, settings: object, remedy: str
) -> None:
    assert str(out_of_memory(error, settings)) == (
        f"memory ran out; what was saved is intact. {remedy}"
    )


def test_what_a_library_says_is_told_in_a_line_that_has_an_end() -> None:
    assert in_a_line(ValueError("no array\nmore of it")) == "no array"
    assert in_a_line(OSError(2, "No such file", "a.npz")) == "No such file"
    assert in_a_line(KeyError()) == "KeyError"
    assert in_a_line(ValueError("a " * 50_000)) == "a " * 150 + "..."


def test_lacking_threads_are_told_as_such() -> None:
    told = str(
        out_of_memory(RuntimeError("can't start new thread"), Pretrain("digits", ("jigsaw",)))
    )

    assert told.startswith("no further thread could be started")
    assert "ulimit -u" in told


def test_libraries_that_do_not_fit_in_memory_need_more_of_it() -> None:
    error = ImportError("libtorch_cpu.so: failed to map segment from shared object")

    assert str(out_of_memory(error, Pretrain("digits", ("rotation",)))) == (
        "memory ran out; what was saved is intact. End other programs, or raise the limit of "
        "memory (ulimit -v)"
    )
