"""Worker: a process that opens inputs one after the other, under limits, and is watched.

An audit hook sees what Python is about to do: connect, start a program, write outside the input's
own folder, or find a class for pickle. It notes that and refuses it.
"""

import contextlib
import faulthandler
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch

from fuzz.opening import KINDS, Fault, kind_of
from selfsight.data.pictures.reading_progress import say_once
from selfsight.system.escaping import printable

MOST_MEMORY = 1_500_000_000  # bytes of the process, at the most it ever had
RESERVED = 3_000_000_000  # bytes of addresses that an input may take besides what there are
MOST_SECONDS = 5.0  # of processor time, for one input
# What libjpeg prints itself while torchvision decodes, which offers no way to prevent it.
LIBJPEG = (
    "Corrupt JPEG data:",
    "Inconsistent progression",
    "Invalid SOS",
    "Premature end of JPEG",
    "Unknown Adobe color",
    "Warning: unknown JFIF",
)
FORBIDDEN = (
    "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind",
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork",
    "pickle.find_class",
)  # fmt: skip
CHANGING = (
    "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.link", "os.symlink",
    "os.chmod", "os.chown",
)  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Outcome(NamedTuple):
    """How an input ended.

    Attributes:
        number: Of the input.
        kind: Of the input.
        end: "read", "refused" or "fault".
        fault: What was wrong; else "".
        where: The line of ours in which that arose; else "".
        seconds: Of processor time.
        peak: Bytes of memory that the process had at most; 0 where the system does not tell.
    """

    number: int
    kind: str
    end: str
    fault: str = ""
    where: str = ""
    seconds: float = 0.0
    peak: int = 0


class Watch:
    """Sees, through an audit hook, what must not be done while an input is open.

    Args:
        allowed: The folders in which things may be written.
    """

    def __init__(self, *allowed: Path) -> None:
        self.allowed = tuple(f"{folder.resolve()}{os.sep}" for folder in allowed)
        self.watching = False
        self.seen: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take an event of Python's; see `sys.addaudithook`."""
        if not self.watching:
            return
        if event in FORBIDDEN:
            self._refuse(f"{event} {arguments[:2]!r}"[:300])
        elif (event == "open" and arguments[2] & WRITING) or event in CHANGING:
            for path in arguments[:2] if event in ("os.rename", "os.link") else arguments[:1]:
                if isinstance(path, str | bytes | os.PathLike) and not self._ours(path):
                    self._refuse(f"{event} {path!r}, outside its folder"[:300])

    def _ours(self, path: str | bytes | os.PathLike[str]) -> bool:
        name = os.path.join(os.path.realpath(os.path.dirname(os.fsdecode(path)) or "."), "")
        return name.startswith(self.allowed) or os.fsdecode(path) == os.devnull

    def _refuse(self, what: str) -> None:
        self.seen.append(what)
        raise PermissionError(what)


def work(home: Path, place: Path, asked: IO[str], answers: IO[str]) -> None:
    """Open the inputs whose numbers come in, a line each, and answer with their outcomes.

    Args:
        home: The templates.
        place: A folder of the worker's own; an input lies in it by its number.
        asked: Lines of "NUMBER SEED".
        answers: Takes a line of JSON for each.
    """
    said = place / "said.txt"
    into = os.open(said, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(into, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    faulthandler.enable()
    warnings.simplefilter("always")
    torch.set_num_threads(1)
    os.environ["SELFSIGHT_CACHE"] = tempfile.tempdir = str(place / "cache")
    os.chdir(place)
    (place / "cache").mkdir()
    watch = Watch(place, Path("/dev/shm"))
    _limit_addresses()
    for line in asked:
        number, seed = map(int, line.split())
        os.ftruncate(into, 0)
        outcome = tried(number, seed, home, place, said, watch)
        answers.write(json.dumps(outcome._asdict()) + "\n")
        answers.flush()


def tried(number: int, seed: int, home: Path, place: Path, said: Path, watch: Watch) -> Outcome:
    """Lay an input out, open it, and look at what came of it."""
    kind = kind_of(number)
    folder = place / str(number)
    folder.mkdir()
    draw = random.Random(f"{seed} {number}")
    target = KINDS[kind].make(home, folder, draw)
    say_once.cache_clear()
    beside = set(os.listdir(place))
    _forget_peak()
    begun = time.process_time()
    watch.seen, watch.watching = [], True
    end, fault, where = "fault", "", ""
    try:
        end = KINDS[kind].open(target, home, draw)
    except BaseException as error:
        fault, where = f"{type(error).__name__}: {error}", _line_of(error)
        if not isinstance(error, Fault):
            traceback.print_exc()
    finally:
        watch.watching = False
    seconds, peak = time.process_time() - begun, _peak()
    sys.stdout.flush()
    sys.stderr.flush()
    fault = fault or next((found for found in _otherwise(said, watch, seconds, peak)), "")
    if strangers := set(os.listdir(place)) - beside - {"cache"}:
        fault = fault or f"files outside its folder: {sorted(strangers)}"
    if not fault:
        _removed(folder)
    return Outcome(number, kind, "fault" if fault else end, fault[:2000], where, seconds, peak)


def _otherwise(said: Path, watch: Watch, seconds: float, peak: int) -> list[str]:
    """List what is wrong with how an input ended without an exception."""
    found = [f"did what it must not: {what}" for what in watch.seen]
    if seconds > MOST_SECONDS:
        found.append(f"took {seconds:.1f} s of processor time")
    if peak > MOST_MEMORY:
        found.append(f"took {peak / 1e9:.2f} GB of memory")
    text = said.read_bytes().decode(errors="backslashreplace")
    lines = [line for line in text.split("\n") if not line.startswith(LIBJPEG)]
    found += [
        f"printed what cannot be shown: {line!r}" for line in lines if printable(line) != line
    ]
    found += [f"a library said: {line!r}" for line in lines if "Warning: " in line]
    return found + [f"a traceback: {lines[-2:]}" for line in lines if "Traceback (most" in line]


def _line_of(error: BaseException) -> str:
    """Name the innermost line of ours that an exception went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "selfsight" in frame.filename] or frames
    last = ours[-1]
    return f"{'/'.join(Path(last.filename).parts[-2:])}:{last.lineno} {last.name}"


def _removed(folder: Path) -> None:
    for _ in range(2):
        shutil.rmtree(folder, ignore_errors=True)


def _limit_addresses() -> None:
    """Take no more than so much memory at all, whatever an input says."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + RESERVED
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Tell the most memory that the process had since its peak was forgotten, in bytes."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    return 0
