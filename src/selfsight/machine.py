"""The machine: what it has, for choices and for records."""

import contextlib
import ctypes
import gc
import os
import platform
from pathlib import Path
from typing import Any

import torch

# What a control group may use (Linux, versions 2 and 1).
CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
MEMORY_UNKNOWN = 8 << 30  # bytes; taken for the machine's where the system does not tell


def processors() -> int:
    """Count the processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> int:
    """Tell the memory this process may use, in bytes: the machine's, or its container's if less."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        whole = MEMORY_UNKNOWN
    for place in CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            whole = min(whole, int(Path(place).read_text()))
    return whole


def give_back_memory() -> None:
    """Hand what was freed, but is kept for later by the C library, back to the system (glibc)."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def cache_folder() -> Path:
    """Name the folder for what can be computed again: $SELFSIGHT_CACHE, else under the home."""
    place = os.environ.get("SELFSIGHT_CACHE")
    return Path(place) if place else Path.home() / ".cache" / "selfsight"


def size_in_words(count: float) -> str:
    """Write a number of bytes for people.

    >>> size_in_words(3_200_000_000)
    '3.2 GB'
    """
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count:.0f} bytes"


def described(device: str) -> dict[str, Any]:
    """Describe the machine, for records.

    Args:
        device: "cpu" or "cuda": what was computed on.
    """
    facts: dict[str, Any] = {
        "processor": _processor(),
        "system": platform.system(),
        "cores": processors(),
        "threads": torch.get_num_threads(),
    }
    if device == "cuda":
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def _processor() -> str:
    """Name the processor's model where the system tells, else its kind."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
