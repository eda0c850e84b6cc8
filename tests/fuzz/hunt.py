"""Hunt: thousands of inputs on several workers, what was found, and where it is kept.

A worker that dies is a finding, as is one that does not answer; another is started in its place.
What was done is written down as it comes: a hunt that was broken off goes on where it stopped.
"""

import argparse
import contextlib
import importlib
import itertools
import json
import os
import select
import shutil
import signal
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from fuzz import runs
from fuzz.opening import KINDS, kind_of
from fuzz.worker import MOST_SECONDS, Outcome, work
from selfsight.system.escaping import printable
from selfsight.system.progress import Bar

PLACE = Path("build") / "fuzz"
DONE, FINDINGS, TEMPLATES = "done.jsonl", "findings", "templates"
AT_MOST = 400  # inputs of a worker, then a fresh one takes over: what one leaves harms few others
GRACE = 1.0  # seconds of processor time past the limit, after which a worker is killed
SILENT = (
    30.0  # seconds without an answer, of which fewer are processor time: it waits for something
)
NAMED, LONGEST = 8, 300  # findings alike that are named, and characters told of one
KEPT = 1000  # characters of what a worker that died had said


class Worker:
    """A worker, forked from this process, in which everything is loaded and nothing computed.

    Args:
        home: The templates.
        place: A folder of its own.
        others: Workers that there are, whose pipes are none of its business.
    """

    def __init__(self, home: Path, place: Path, others: Iterable["Worker"] = ()) -> None:
        self.place, self.number, self.done = place, -1, 0
        self._begun = (0.0, 0.0)
        asked, ask = os.pipe()
        self.answers, answer = os.pipe()
        place.mkdir(parents=True, exist_ok=True)
        self.process = os.fork()
        if self.process == 0:
            for other in (self, *others):
                os.close(other.answers)
            for other in others:
                other._ask.close()
            os.close(ask)
            _be_a_worker(home, place, asked, answer)
        os.close(asked)
        os.close(answer)
        self._ask = os.fdopen(ask, "w")
        self._read = b""

    def ask(self, number: int, seed: int) -> None:
        """Have an input opened."""
        self.number, self._begun = number, (time.monotonic(), self._seconds())
        self._ask.write(f"{number} {seed}\n")
        self._ask.flush()

    def answer(self) -> Outcome | None:
        """Read the outcome that has come; None if the worker has died.

        To be called when there is something to read.
        """
        while not self._read.endswith(b"\n"):
            if not (read := os.read(self.answers, 65536)):
                return None
            self._read += read
        line, self._read = self._read, b""
        self.done += 1
        return Outcome(**json.loads(line))

    def hangs(self) -> str:
        """Say why it must be killed; "" if it need not."""
        waited, spent = time.monotonic() - self._begun[0], self._seconds() - self._begun[1]
        if spent > MOST_SECONDS + GRACE:
            return f"took over {MOST_SECONDS:.0f} s of processor time"
        return f"waited for {waited:.0f} s" if waited > SILENT + spent else ""

    def end(self) -> str:
        """Kill it: -> how it died if it had died already, and what it had said last."""
        ended, status = os.waitpid(self.process, os.WNOHANG)
        if not ended:
            os.kill(self.process, signal.SIGKILL)
            _, status = os.waitpid(self.process, 0)
        for close in (self._ask.close, lambda: os.close(self.answers)):
            with contextlib.suppress(OSError):
                close()
        code = os.waitstatus_to_exitcode(status)
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        said = (self.place / "said.txt").read_bytes()[:KEPT].decode(errors="backslashreplace")
        return f"{how}: {said}"

    def _seconds(self) -> float:
        """Tell the processor time that it took so far; 0 where the system does not tell."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            words = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
            return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
        return 0.0


def _be_a_worker(home: Path, place: Path, asked: int, answer: int) -> NoReturn:
    """Work until nobody asks any more; nothing goes back to what this process was forked from."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        work(home, place, os.fdopen(asked), os.fdopen(answer, "w"))
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(code)


class Hunt:
    """A hunt through the inputs of a seed.

    Args:
        place: Where findings are kept, and what was done.
        seed: Of all inputs.
        workers: How many there are at a time.
    """

    def __init__(self, place: Path, seed: int, workers: int) -> None:
        self.place, self.seed, self._count = place.resolve(), seed, workers
        self.home = self.place / TEMPLATES
        self.outcomes: dict[int, Outcome] = {}

    def begin(self) -> None:
        """Take up what was done, or begin anew, and make the templates."""
        _load_all()
        if (self.place / DONE).exists():
            for line in (self.place / DONE).read_text().splitlines():
                outcome = Outcome(**json.loads(line))
                self.outcomes[outcome.number] = outcome
        else:
            shutil.rmtree(self.place, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        _in_a_process(self.home, self.place / "templates.txt")

    def go(self, numbers: Iterable[int]) -> None:
        """Open the inputs of these numbers that are not done."""
        left = [number for number in numbers if number not in self.outcomes]
        waiting = iter(left)
        done = len(self.outcomes)
        with Bar("fuzzing", done + len(left), unit="inputs") as bar:
            bar.begin_at(done)
            outcomes = contextlib.closing(self._all(waiting))
            with (self.place / DONE).open("a") as log, outcomes as coming:
                for outcome in coming:
                    self.outcomes[outcome.number] = outcome
                    log.write(json.dumps(outcome._asdict()) + "\n")
                    log.flush()
                    faults = sum(one.end == "fault" for one in self.outcomes.values())
                    bar(len(self.outcomes), f"{faults} faults")

    def _all(self, waiting: Iterator[int]) -> Generator[Outcome]:
        """Keep the workers busy: -> outcomes as they come."""
        working: dict[int, Worker] = {}  # by their places
        try:
            for place in range(self._count):
                self._begin(place, working, waiting)
            while busy := {w.answers: place for place, w in working.items()}:
                ready, _, _ = select.select(list(busy), [], [], 0.2)
                for answers, place in busy.items():
                    outcome = self._outcome(working, place, answered=answers in ready)
                    if outcome is not None:
                        yield outcome
                        self._begin(place, working, waiting)
        finally:
            for worker in working.values():
                worker.end()

    def _begin(self, place: int, working: dict[int, Worker], waiting: Iterator[int]) -> None:
        """Give the worker of a place its next input; a fresh one where it died or is old."""
        number = next(waiting, None)
        if place in working and (number is None or working[place].done >= AT_MOST):
            working.pop(place).end()
        if number is None:
            return
        if place not in working:
            folder = self.place / f"worker-{place}"
            shutil.rmtree(folder, ignore_errors=True)
            working[place] = Worker(self.home, folder, working.values())
        working[place].ask(number, self.seed)

    def _outcome(self, working: dict[int, Worker], place: int, *, answered: bool) -> Outcome | None:
        """Take what became of a worker's input; None if it is still at it."""
        worker = working[place]
        why = "" if answered else worker.hangs()
        if not answered and not why:
            return None
        outcome = worker.answer() if answered else None
        if outcome is None:
            how = worker.end()
            fault = f"{why}, and was ended by {how}" if why else f"died of {how}"
            outcome = Outcome(worker.number, kind_of(worker.number), "fault", fault)
            del working[place]
        if outcome.end == "fault":
            self._keep(worker, outcome)
        return outcome

    def _keep(self, worker: Worker, outcome: Outcome) -> None:
        """Keep a finding: the input, what was wrong and what was said."""
        kept = self.place / FINDINGS / f"{outcome.number}-{outcome.kind}"
        kept.mkdir(parents=True, exist_ok=True)
        (kept / "what.txt").write_text(f"{printable(outcome.fault)}\n{outcome.where}\n")
        with contextlib.suppress(OSError):
            shutil.copyfile(worker.place / "said.txt", kept / "said.txt")
        with contextlib.suppress(OSError):  # what it wrote may not be moved
            shutil.move(worker.place / str(outcome.number), kept / "input")

    def report(self) -> Iterator[str]:
        """Say what came of all inputs, kind by kind, and what was found."""
        ends = Counter(one.end for one in self.outcomes.values())
        counted = ", ".join(f"{ends[end]:,} {end}" for end in ("read", "refused"))
        faults = [one for one in self.outcomes.values() if one.end == "fault"]
        yield f"{len(self.outcomes):,} inputs of seed {self.seed}: {counted}, {len(faults)} faults"
        for kind in KINDS:
            own = [one for one in self.outcomes.values() if one.kind == kind]
            if own:
                ends = Counter(one.end for one in own)
                slowest, most = max(one.seconds for one in own), max(one.peak for one in own)
                yield (
                    f"  {kind:8} {ends['read']:6,} read {ends['refused']:6,} refused "
                    f"{ends['fault']:4} faults; at most {slowest:.1f} s of processor time and "
                    f"{most / 1e9:.2f} GB of memory"
                )
        if faults:
            yield (
                f"each is kept in {self.place / FINDINGS}; one again: "
                f"python tests/fuzz --seed {self.seed} --only NUMBER"
            )
        alike: defaultdict[tuple[str, str], list[Outcome]] = defaultdict(list)
        for one in faults:
            alike[one.where, one.fault[:60]].append(one)
        for (where, _), several in sorted(alike.items(), key=lambda item: -len(item[1])):
            numbers = ", ".join(str(one.number) for one in several[:NAMED])
            fault = printable(several[0].fault)[:LONGEST]
            yield f"  {len(several)} times, {numbers}: {where}: {fault}"

    def end(self) -> None:
        """Forget what was done, so that the next hunt begins anew; findings stay until then."""
        (self.place / DONE).unlink()
        shutil.rmtree(self.home, ignore_errors=True)
        for place in self.place.glob("worker-*"):
            shutil.rmtree(place, ignore_errors=True)


def _load_all() -> None:
    """Load what verbs load on use, once for all workers."""
    for name in (
        "lightning_fabric",
        "matplotlib.backends.backend_agg",
        "selfsight.commands.probe",
        "selfsight.commands.demo",
    ):
        importlib.import_module(name)


def _in_a_process(home: Path, said: Path) -> None:
    """Make the templates in a process apart, so that this one, which is forked, has no threads."""
    process = os.fork()
    if process == 0:
        into = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(into, stream)
        code = 1
        try:
            runs.make_templates(home)
            code = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(code)
    _, status = os.waitpid(process, 0)
    if status:
        raise SystemExit(f"the templates could not be made:\n{said.read_text()}")


def main() -> int:
    """Hunt as the words ask for: -> 1 if something was found, else 0."""
    asked = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    asked.add_argument("count", type=int, nargs="?", default=10_000, help="inputs")
    asked.add_argument("--seed", type=int, default=0, help="of all inputs")
    asked.add_argument("--kind", nargs="+", default=list(KINDS), choices=list(KINDS))
    asked.add_argument("--only", type=int, nargs="+", help="numbers of inputs, opened again")
    asked.add_argument("--place", type=Path, default=PLACE, help="where findings are kept")
    asked.add_argument("--workers", type=int, default=2)
    words = asked.parse_args()
    place = words.place / (f"seed-{words.seed}" if words.only is None else "again")
    if words.only is not None:
        shutil.rmtree(place, ignore_errors=True)
    hunt = Hunt(place, words.seed, words.workers)
    try:
        hunt.begin()
        numbers = (n for n in itertools.count() if kind_of(n) in words.kind)
        hunt.go(words.only or itertools.islice(numbers, words.count))
    except KeyboardInterrupt:
        print(f"stopped after {len(hunt.outcomes):,} inputs; the same command goes on from there")
        return 130
    print("\n".join(hunt.report()))
    hunt.end()
    return int(any(one.end == "fault" for one in hunt.outcomes.values()))
