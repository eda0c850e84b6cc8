"""Faults: what real commands do when the machine, the disk or the data is against them.

Every fault is put to a command in a process of its own (`trials.py` has the kinds and cases), and
a table says how many of each kind were put and how many survived. A trial is a row, kept as soon as
it is there; what has its row is not tried again, until a file of the library or of the trials
changes.

    python tests/faults.py --work FOLDER [--only KIND:CASE:SEED ...] [--at-once N]

KIND, CASE and SEED may each be left empty, for all of them. What is named by --only is tried again.
Exits with 1 if anything did not survive.
"""

import argparse
import contextlib
import csv
import hashlib
import multiprocessing.connection
import os
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from apart import FORKS
from belongings import HOME
from trials import KINDS, Broken, Trial

HANGS = 300.0  # seconds: a trial takes a few
STATE = re.compile(r"state-[0-9a-f]{16}")
COLUMNS: tuple[str, ...] = ("kind", "case", "seed", "survived", "put", "why", "seconds")


class Fault(NamedTuple):
    """Which fault: a kind, a case of it, and the seed of what is drawn."""

    kind: str
    case: str
    seed: int

    @property
    def named(self) -> str:
        """How it is asked for again."""
        return f"{self.kind}:{self.case}:{self.seed}"


def every() -> list[Fault]:
    """List all faults, the first seed of every case first."""
    most = max(kind.seeds for kind in KINDS.values())
    return [
        Fault(name, case, seed)
        for seed in range(most)
        for name, kind in KINDS.items()
        for case in kind.cases
        if seed < kind.seeds
    ]


def tried(faults: Sequence[Fault], work: Path, *, at_once: int = 1) -> Iterator[dict[str, str]]:
    """Put faults to commands, each trial in a process of its own: -> a row each, as it ends."""
    waiting, going = list(faults), dict[Connection, tuple[Fault, object, float]]()
    while waiting or going:
        while waiting and len(going) < at_once:
            fault = waiting.pop(0)
            ours, theirs = FORKS.Pipe()
            process = FORKS.Process(target=_tried, args=(fault, work, theirs))
            process.start()
            theirs.close()
            going[ours] = fault, process, time.monotonic()
        ready = multiprocessing.connection.wait(list(going), timeout=1.0)
        for connection, (fault, process, began) in list(going.items()):
            hangs = time.monotonic() - began > HANGS
            if connection not in ready and not hangs:
                continue
            row = {"survived": "no", "why": "it hangs" if hangs else "the trial ended unasked"}
            if connection in ready:
                with contextlib.suppress(EOFError):
                    row = connection.recv()
            _ended(process)
            del going[connection]
            told = {"kind": fault.kind, "case": fault.case, "seed": str(fault.seed), "put": ""}
            yield {**told, "seconds": f"{time.monotonic() - began:.1f}", **row}


def _ended(process) -> None:
    """See to it that nothing of a trial goes on."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
    process.join()


def _tried(fault: Fault, work: Path, answer: Connection) -> None:
    """Do a trial, and say how it ended."""
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # as at a terminal: who tries in
        signal.signal(number, signal.SIG_DFL)  # the background may have been told to ignore them
    signal.signal(signal.SIGINT, signal.default_int_handler)
    place = work / "trials" / fault.named.replace(" ", "-").replace(":", "_").replace("'", "")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    os.chdir(place)
    trial = Trial(fault.case, fault.seed, work, place / HOME)
    why = ""
    try:
        KINDS[fault.kind].put(trial)
    except Broken as broken:
        why = str(broken)
    except Exception:
        why = f"the trial itself failed: {traceback.format_exc()}"
    answer.send({"survived": "no" if why else "yes", "put": trial.put, "why": why})
    answer.close()
    if not why:
        os.chdir(work)
        shutil.rmtree(place, ignore_errors=True)
    os._exit(0)


def _asked(words: Sequence[str]) -> list[Fault]:
    """Find the faults that are named, all where none is.

    Raises:
        SystemExit: If a name fits none.
    """
    if not words:
        return every()
    found: list[Fault] = []
    for word in words:
        kind, case, seed = (*word.split(":"), "", "")[:3]
        fitting = [
            fault
            for fault in every()
            if kind in ("", fault.kind)
            and case in ("", fault.case)
            and seed in ("", str(fault.seed))
        ]
        if not fitting:
            raise SystemExit(f"there is no fault {word}; kinds are {', '.join(KINDS)}")
        found += fitting
    return found


def table(rows: Sequence[dict[str, str]]) -> str:
    """Say how many faults of each kind were put and survived, and which were not."""
    lines = [f"{'kind of fault':16} {'put':>5} {'survived':>9}"]
    for kind in KINDS:
        of = [row for row in rows if row["kind"] == kind]
        if of:
            well = sum(row["survived"] == "yes" for row in of)
            lines.append(f"{kind:16} {len(of):5} {well:9}")
    for row in rows:
        if row["survived"] != "yes":
            again = f"{row['kind']}:{row['case']}:{row['seed']}"
            lines += ["", f"{again}", f"  put: {row['put']}", f"  {row['why']}"]
    return "\n".join(lines)


def _state() -> str:
    """Name what is tried: a digest of the library's files and those of the trials."""
    digest, tests = hashlib.blake2b(digest_size=8), Path(__file__).parent
    for path in sorted([*(tests.parent / "src").rglob("*.py"), *tests.glob("*.py")]):
        if not path.name.startswith("test_"):
            digest.update(path.read_bytes())
    return f"state-{digest.hexdigest()}"


def _keep(rows: Sequence[dict[str, str]], place: Path) -> None:
    """Keep the rows, in the place of those that were there."""
    with place.with_suffix(".part").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(COLUMNS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    place.with_suffix(".part").replace(place)


def main() -> int:
    """Put the faults that have no row yet, and print the table: -> 1 if any did not survive."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for rows and trials")
    parser.add_argument("--only", action="append", metavar="KIND:CASE:SEED", help="these, anew")
    parser.add_argument("--at-once", type=int, default=min(2, os.cpu_count() or 1))
    asked = parser.parse_args()
    work = asked.work.resolve() / _state()
    work.mkdir(parents=True, exist_ok=True)
    for older in work.parent.iterdir():
        if older != work and STATE.fullmatch(older.name):
            shutil.rmtree(older)
    place = work / "faults.csv"
    rows: list[dict[str, str]] = []
    if place.exists():
        with place.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    named = _asked(asked.only or ())
    again = {fault.named for fault in named} if asked.only else set[str]()
    rows = [row for row in rows if _name(row) not in again]
    there = {_name(row) for row in rows}
    for row in tried(
        [fault for fault in named if fault.named not in there], work, at_once=asked.at_once
    ):
        rows.append(row)
        _keep(rows, place)
        print(f"{_name(row)}: {'survived' if row['survived'] == 'yes' else row['why']}", flush=True)
    told = [row for row in rows if not asked.only or _name(row) in again]
    print(f"\n{table(told)}")
    return int(any(row["survived"] != "yes" for row in told))


def _name(row: dict[str, str]) -> str:
    return f"{row['kind']}:{row['case']}:{row['seed']}"


if __name__ == "__main__":
    sys.exit(main())
