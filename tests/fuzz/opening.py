"""Opening: an input is opened as a user would, and what comes out is looked at.

Whatever is in the input, there are two ends: it is read, or it is refused in a sentence.
"""

import contextlib
import os
import random
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import torch

import selfsight
from fuzz import pictures, runs, shards, tables
from selfsight.cli import main
from selfsight.data.pictures import open_data, read, survey
from selfsight.data.pictures.source import PictureSource
from selfsight.data.source import Unreadable
from selfsight.errors import SelfsightError, Stopped, UsageError
from selfsight.probes.advice import Trained
from selfsight.probes.network import named_network
from selfsight.system.escaping import printable
from selfsight.training.run import Run

LONGEST = 10_000  # characters of a sentence: a file is named, not quoted whole
SEVERAL = 4  # pictures that are decoded, and that a batch has
SHORTLY = ("--task", "rotation", "--samples", "8", "--batch", "8", "--threads", "1")
TRAINED, AGAIN = 1.0, 0.2  # seconds after which a resumed training is asked to stop, and again


class Fault(Exception):
    """What must not come out."""


class Kind(NamedTuple):
    """A kind of input.

    Attributes:
        share: Of all inputs, in hundredths.
        make: Lays one out: the templates, its folder, chance -> what to open.
        open: Opens it: what to open, the templates, chance -> "read" or "refused".
    """

    share: int
    make: Callable[[Path, Path, random.Random], str]
    open: Callable[[str, Path, random.Random], str]


@contextlib.contextmanager
def sentences(ends: list[str]) -> Generator[None]:
    """Take a refusal that is a sentence; anything else goes through."""
    try:
        yield
        ends.append("read")
    except Stopped:
        ends.append("read")
    except (SelfsightError, UsageError, Unreadable) as error:
        check_sentence(str(error))
        ends.append("refused")


def check_sentence(text: str) -> None:
    """Look whether a refusal can be read."""
    if not text.strip() or "Traceback" in text or " at 0x" in text:
        raise Fault(f"a refusal that is no sentence: {text[:200]!r}")
    if len(printable(text)) > LONGEST:
        raise Fault(f"a refusal of {len(printable(text))} characters: {text[:200]!r}")


def check_shown(*names: str) -> None:
    """Look whether names are written out, as `names.shown` does."""
    for name in names:
        if any(
            printable(name[at : at + 1000]) != name[at : at + 1000]
            for at in range(0, len(name), 1000)
        ):
            raise Fault(f"a name that is not written out: {name!r}")


def end_of(ends: list[str]) -> str:
    """Tell whether all was read."""
    return "refused" if "refused" in ends else "read"


def open_pictures(place: str, home: Path, draw: random.Random) -> str:
    """Open data, read headers, decode some, and take a batch of a stream."""
    ends: list[str] = []
    with sentences(ends):
        parts = open_data(place)
        for source in filter(None, (parts.train, parts.test)):
            _looked_at(source, draw, ends)
    return end_of(ends)


def _looked_at(source: PictureSource, draw: random.Random, ends: list[str]) -> None:
    check_shown(*source.classes[:100])
    rows = sorted({0, len(source) - 1, *(draw.randrange(len(source)) for _ in range(SEVERAL - 2))})
    for row in rows:
        check_shown(source.title(row))
        _as_promised(source, row, ends)
    with sentences(ends):
        survey(source)
    with sentences(ends):
        whole = read(source, side=16, limit=64, storage="stream")
        images = whole.images[torch.arange(min(SEVERAL, len(whole)))]
        if images.shape[2:] != (16, 16) or whole.images.shape[0] != len(whole.titles):
            raise Fault(f"a batch {tuple(images.shape)} of {len(whole.titles)} titles")
        for one in whole.skipped:
            check_shown(one.title)
            check_sentence(one.reason)


def _as_promised(source: PictureSource, row: int, ends: list[str]) -> None:
    """Read a header and the pixels: these are what that promises."""
    header = pixels = None
    with sentences(ends):
        header = source.header(row)
    with sentences(ends):
        pixels = source.decode(row)
    if header is None or pixels is None:
        return
    found = (*pixels.shape, pixels.dtype.itemsize * 8)
    promised = (header.channels, header.height, header.width, header.bits)
    if found != promised:
        raise Fault(f"promised {promised}, gave {found}")


def open_run(place: str, home: Path, draw: random.Random) -> str:
    """Load a run, read all it keeps, and go on with it, or ask it by a verb."""
    ends: list[str] = []
    run = Run(place)
    steps: tuple[Callable[[], Any], ...] = (
        lambda: selfsight.load(place)(torch.zeros(2, 3, 16, 16)),
        lambda: (named_network(place), Trained.kept(place, run.settings)),
        run.metrics,
        run.load_checkpoint,
        lambda: run.result("pretrain"),
    )
    for step in steps:
        with sentences(ends):
            step()
    if draw.random() < 0.4:
        with sentences(ends), _stopped_in_time():
            selfsight.pretrain(resume=place)
    elif draw.random() < 0.2:
        ends.append(_asked(place, home, draw))
    return end_of(ends)


@contextlib.contextmanager
def _stopped_in_time() -> Generator[None]:
    """Stop a training as a polite kill does, once it hears that, should it be a long one."""

    def deaf(number: int, frame: object) -> None: ...

    def ask(number: int, frame: object) -> None:
        if signal.getsignal(signal.SIGTERM) is not deaf:
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, deaf), signal.signal(signal.SIGALRM, ask)
    signal.setitimer(signal.ITIMER_REAL, TRAINED, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGALRM, before[1])


def _asked(place: str, home: Path, draw: random.Random) -> str:
    """Ask a run by a verb of the command line."""
    data, out = str(home / runs.DATA), Path(place).parent / "out"
    words = draw.choice(
        (
            ["embed", place, data, "--out", f"{out}.npz"],
            ["embed", place, "--out", f"{out}.parquet"],
            ["pretrain", data, "--from", place, "--out", str(out), *SHORTLY],
        )
    )
    with _stopped_in_time():
        status = main(words)
    if status not in (0, 1, 2, 130):
        raise Fault(f"exit status {status} of {words[0]}")
    return "refused" if status in (1, 2) else "read"


def open_cache(place: str, home: Path, draw: random.Random) -> str:
    """Ask for what the cache keeps: what is damaged is made anew, or refused."""
    ends: list[str] = []
    before = os.environ["SELFSIGHT_CACHE"]
    os.environ["SELFSIGHT_CACHE"] = place
    try:
        with sentences(ends):
            runs.read_from_cache(home)
    finally:
        os.environ["SELFSIGHT_CACHE"] = before
    return end_of(ends)


def _of_data(make: Callable[[Path, random.Random], str]) -> Callable[..., str]:
    return lambda home, place, draw: make(place, draw)


KINDS = {
    "picture": Kind(40, _of_data(pictures.make), open_pictures),
    "table": Kind(24, _of_data(tables.make), open_pictures),
    "shard": Kind(12, _of_data(shards.make), open_pictures),
    "run": Kind(21, runs.make, open_run),
    "cache": Kind(3, runs.make_cache, open_cache),
}


def kind_of(number: int) -> str:
    """Tell the kind of an input: every hundred of them hold each kind's share."""
    order = [name for name, kind in KINDS.items() for _ in range(kind.share)]
    random.Random(0).shuffle(order)
    return order[number % len(order)]
