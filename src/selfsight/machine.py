"""The machine: what it has, for choices and for records."""

import contextlib
import os
import platform
from pathlib import Path
from typing import Any

import torch

MEMORY_UNKNOWN = 8 << 30  # bytes; taken for the machine's where the system does not tell


def processors() -> int:
    """Count the processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> int:
    """Tell the machine's memory in bytes."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return MEMORY_UNKNOWN


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
