"""The machine: its processors, memory and load, for choices and for records."""

import contextlib
import ctypes
import gc
import os
import platform
from pathlib import Path
from typing import Any

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None

# The control groups of this process (Linux), where their files are mounted, and the files that hold
# their memory limits in bytes (version 2: hard limit, throttling limit; version 1).
OWN_GROUPS, MOUNTS = Path("/proc/self/cgroup"), Path("/proc/self/mountinfo")
GROUP_LIMITS = ("memory.max", "memory.high", "memory.limit_in_bytes")
# A container's processor quota (versions 2 and 1): microseconds of use in each period.
CONTAINER_QUOTAS = (
    ("/sys/fs/cgroup/cpu.max",),
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)
# Hardware that multiplies bf16; elsewhere it is converted to f32 first, which costs more than it
# saves.
BF16_UNITS = ("avx512_bf16", "amx_bf16")
# Values of oneDNN's environment variable under which it does not use these units.
WITHOUT_BF16 = (
    "SSE41",
    "AVX",
    "AVX2",
    "AVX2_VNNI",
    "AVX2_VNNI_2",
    "AVX512_CORE",
    "AVX512_CORE_VNNI",
)
LEAST_TICKS = 50  # of all processors together: fewer are too coarse to measure a load
CACHE = "or name another folder with SELFSIGHT_CACHE"  # remedy if `cache_folder` is not writable
MEMORY_UNKNOWN = 8 << 30  # bytes; assumed where the system does not report its memory


def processors() -> int:
    """Count the processors this process may use, by its affinity and its container's quota."""
    count = len(_own()) or os.cpu_count() or 1
    for places in CONTAINER_QUOTAS:
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            quota, period = map(int, " ".join(Path(p).read_text() for p in places).split())
            if quota > 0:  # -1 is none
                count = min(count, max(1, quota // period))
    return count


def _own() -> set[int]:
    """Give the numbers of the processors this process may use; none if the system cannot tell."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def multiplies_bf16(device: str) -> bool:
    """Tell whether a device multiplies bf16 in hardware and the environment does not forbid it.

    Measured on interleaved steps of rotation, on an AMD EPYC with avx512_bf16 and no AMX: a step in
    bf16 takes 0.45 to 0.6 of the time in f32 with convolutional networks (`small`, `resnet18`,
    `resnet18_small`, `alexnet`) and 0.9 with a small transformer.

    Args:
        device: "cpu" or "cuda".
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capability = torch.backends.cpu.get_cpu_capability()  # ATEN_CPU_CAPABILITY lowers it
    most = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", ""))
    if "AVX512" not in capability or most.upper() in WITHOUT_BF16:
        return False
    known = torch.cpu.get_capabilities()
    return any(known.get(unit) for unit in BF16_UNITS)


class OtherPrograms:
    """Measures how busy other programs have been since this object was made (Linux).

    Args:
        count: Processes of this training on this machine, each assumed as busy as this one.
    """

    def __init__(self, count: int = 1) -> None:
        self._count = count
        self._begun = _ticks()
        self._own = sum(os.times()[:2])

    def busy(self) -> float | None:
        """Tell how many processors other programs kept busy; None if that cannot be known."""
        now = _ticks()
        if self._begun is None or now is None or now[0] - self._begun[0] < LEAST_TICKS:
            return None
        ticks, idle = now[0] - self._begun[0], now[1] - self._begun[1]
        own = (sum(os.times()[:2]) - self._own) * os.sysconf("SC_CLK_TCK") * self._count
        cores = len(_own())
        return min(max(0.0, (ticks - idle - own) / ticks), 1.0) * cores


def _ticks() -> tuple[int, int] | None:
    """Count clock ticks of this process's processors since boot: -> all, and the idle ones."""
    own = {f"cpu{number}" for number in _own()}
    try:
        lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    except OSError:
        return None
    # user, nice, system, idle, waiting for disks, interrupts of two kinds, taken by other guests
    rows = [[int(n) for n in line[1:9]] for line in lines if line and line[0] in own]
    return (sum(map(sum, rows)), sum(row[3] + row[4] for row in rows)) if rows else None


def memory() -> int:
    """Give the memory this process may use, in bytes.

    It is the least of: the machine's memory; the limits of the control groups this process is in
    (of a container, a job, and the groups around them); and the process's own limit (`ulimit -v`)
    less what is mapped already, which for libraries is much.
    """
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        whole = MEMORY_UNKNOWN
    return max(0, min([whole, *_limits_of_groups(OWN_GROUPS, MOUNTS), *_left_of_own_limits()]))


def _limits_of_groups(groups: Path, mounts: Path) -> list[int]:
    """Read the memory limits of a process's control groups and of the groups around them.

    Args:
        groups: Its /proc/PID/cgroup: lines of "number:controllers:path"; version 2 has number 0
            and no controllers.
        mounts: Its /proc/PID/mountinfo: where the groups' files are mounted, and from which group.
    """
    try:
        lines = [line.split(":", 2) for line in groups.read_text().splitlines()]
        mounted = [line.partition(" - ") for line in mounts.read_text().splitlines()]
    except (OSError, UnicodeDecodeError):
        return []
    paths = {
        "cgroup" if kinds else "cgroup2": path
        for _, kinds, path in lines
        if not kinds or "memory" in kinds.split(",")
    }
    found: list[int] = []
    for left, _, right in mounted:
        kind, *_, options = right.split(" ")
        if kind not in paths or (kind == "cgroup" and "memory" not in options.split(",")):
            continue
        root, top = left.split(" ")[3:5]
        inner = os.path.relpath(paths[kind], root)
        place = Path(top) if inner.startswith("..") else Path(top) / inner  # seen from outside
        for folder in (place, *place.parents):
            for name in GROUP_LIMITS:
                with contextlib.suppress(OSError, ValueError):  # not there, or "max"
                    found.append(int((folder / name).read_text()))
            if folder == Path(top):
                break
    return found


def _left_of_own_limits() -> list[int]:
    """Give what is left of this process's limits on address space and on data, in bytes."""
    if resource is None:
        return []
    taken: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        words = [line.split() for line in lines if line.startswith(("VmSize:", "VmData:"))]
        taken = {word[0]: int(word[1]) << 10 for word in words}  # in kB
    limits = {"VmSize:": resource.RLIMIT_AS, "VmData:": resource.RLIMIT_DATA}
    soft = {name: resource.getrlimit(limit)[0] for name, limit in limits.items()}
    return [
        most - taken.get(name, 0) for name, most in soft.items() if most != resource.RLIM_INFINITY
    ]


def give_back_memory() -> None:
    """Return memory that was freed but is still held by the C library to the system (glibc)."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def cache_folder() -> Path:
    """Name the cache folder: $SELFSIGHT_CACHE, else ~/.cache/selfsight."""
    place = os.environ.get("SELFSIGHT_CACHE")
    return Path(place) if place else Path.home() / ".cache" / "selfsight"


def size_in_words(count: float) -> str:
    """Write a number of bytes with a readable unit.

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
    """Name the processor's model if the system tells it, else its architecture."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
