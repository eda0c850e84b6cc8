"""Trials: one fault put to one real command, and what must hold afterwards.

A trial has a kind, a case and a seed, and everything in it follows from these: which moment, which
byte, which bit. It begins in an empty folder, puts the fault to the case's command, and then does
what its user would do: goes on with the run, or gives the command again. What lies in the folder
then must be what the command leaves that nothing befell, file by file and bit by bit, and nothing
besides. A case's undisturbed command is run once, and kept beside the trials.
"""

import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from belongings import belongings, differences
from small_disk import mount, own_mounts
from undisturbed import CASES, FORMS, Whole, begun, prepared, stopped, typed, whole

FLIPPED = 10  # bits
PAGE = 4096  # bytes
DRAWS = 4  # of a moment, each earlier than the one before, until the command has not ended by then
PATIENCE = 120  # seconds after which a command is said to hang
# Of a full disk: what the system says of one, or what was seen of it beforehand.
TRUE_OF_FULL = re.compile(r"No space left|File too large|\bare free\b|\bis free\b")
ENDED_AS_ASKED = (0, 130)


class Broken(Exception):
    """A promise that did not hold; its text says how."""


class Trial:
    """A fault put to a case.

    Args:
        name: Of the case.
        seed: Of all that is drawn.
        work: Where pictures and undisturbed outcomes are kept.
        home: The folder that it happens in.
    """

    def __init__(self, name: str, seed: int, work: Path, home: Path) -> None:
        self.name, self.seed, self.work, self.home = name, seed, work, home
        self.chance = random.Random(f"{name} {seed}")
        self.put = ""  # what was done, in words

    @property
    def said(self) -> str:
        """What the last command said."""
        return (self.home.parent / "said").read_text(errors="replace")

    @property
    def whole(self) -> Whole:
        """What the undisturbed command leaves."""
        return whole(self.name, self.work)

    def holds(self, true: bool, otherwise: str) -> None:
        """Require something.

        Raises:
            Broken: If it is not so.
        """
        if not true:
            words = [line for line in self.said.splitlines() if line.strip()]
            raise Broken(f"{otherwise}; it said: {' / '.join(words[-3:])[-400:]}")

    def begun(self, words: list[str] | None = None, *, first: str = "", **more: Any):
        """Begin the case's command, or another in its folder."""
        return begun(
            words or typed(self.name, self.work, self.home),
            self.home,
            first=f"{CASES[self.name].first if self.name in CASES else ''}\n{first}",
            **more,
        )

    def moment(self, share: float, deed: str, *arguments: object, way: str = "calls") -> str:
        """Name a moment by its share of the command's life: -> Python that does the deed then."""
        number = 1 + int(share * getattr(self.whole, way))
        self.put = f"{deed} {arguments} at {number} of its {getattr(self.whole, way)} {way}"
        told = ", ".join(map(repr, (way, number, deed, *arguments)))
        return f"import striking\nstriking.strike({told})"

    def struck(
        self, put: Callable[[float], int], hit: Callable[[int], bool] = lambda status: status != 0
    ) -> int:
        """Put a fault at a moment drawn, at an earlier one where the command had ended by then.

        Every time it is put to the same state. What was put says in the end whether it hit.

        Args:
            put: Puts it to the command at a share of its life: -> the command's exit status.
            hit: Whether it did, by that status.

        Returns:
            The exit status.
        """
        before, share, status = self.home.parent / "before", 1.0, 0
        shutil.copytree(self.home, before)
        for draw in range(DRAWS):
            if draw:
                shutil.rmtree(self.home)
                shutil.copytree(before, self.home)
            share *= self.chance.random()
            status = put(share)
            if hit(status):
                break
        self.put += f": {'it hit' if hit(status) else f'it never hit in {DRAWS} draws'}"
        shutil.rmtree(before)
        return status

    def ended_in_a_sentence(self, status: int, *, allowed: tuple[int, ...] = (0, 1)) -> None:
        """Require that a command ended as documented: by a status of these, and in words."""
        self.holds(status in allowed, f"the command ended with {status}")
        self.holds("Traceback" not in self.said, "there was a traceback")
        if status:
            self.holds(
                "\nselfsight: " in f"\n{self.said}", f"it ended with {status} and no sentence"
            )

    def on(self, case: str = "") -> list[str]:
        """Give the words by which one goes on: with the run, or by the same command."""
        case, run = case or self.name, self.home / "run"
        if CASES[case].words[0] == "pretrain" and (run / "settings.json").exists():
            return ["pretrain", "--resume", str(run)]
        return typed(case, self.work, self.home)

    def goes_on(self) -> None:
        """Go on, and require the undisturbed outcome, and nothing besides."""
        words = self.on()
        status = self.begun(words, anew=self.name == "two processes").wait()
        self.holds(status == 0, f"going on by {words[:2]} ended with {status}")
        self.outcome()

    def outcome(self, expected: dict[str, str] | None = None, *, but: str = "") -> None:
        """Require what the undisturbed command leaves.

        Args:
            expected: What lies there then, if it is not the case's.
            but: A name that does not matter.
        """
        wrong = differences(expected or self.whole.held, belongings(self.home))
        wrong = [one for one in wrong if not but or not one.startswith(but)]
        self.holds(not wrong, f"not as undisturbed: {', '.join(wrong)[:300]}")


def killed(trial: Trial) -> None:
    """Kill -9 at a moment of the whole life; sometimes the one that goes on is killed as well."""
    prepared(trial.name, trial.work, trial.home)
    puts: list[str] = []
    by_clock = trial.name == "two processes" or trial.seed % 3 == 2
    for _ in range(1 + (trial.seed % 4 == 3)):
        words = trial.on() if puts else None
        trial.struck(lambda share, words=words: _killed_at(trial, share, words, by_clock=by_clock))
        puts.append(trial.put)
    trial.put = ", then ".join(puts)
    trial.goes_on()


def _killed_at(trial: Trial, share: float, words: list[str] | None, *, by_clock: bool) -> int:
    """Kill a command at a share of its life: -> its exit status, 0 if it had ended before."""
    if by_clock:
        after = share * trial.whole.seconds
        trial.put = f"killed after {after:.2f} s of {trial.whole.seconds:.2f}"
        process = trial.begun(words, anew=trial.name == "two processes")
        until = time.monotonic() + after
        while time.monotonic() < until and not process.ended:
            time.sleep(0.002)
        process.kill()
        status = process.wait()
    else:
        first = trial.moment(share, "signal", 9, way=("calls", "files")[trial.seed % 3])
        status = trial.begun(words, first=first).wait()
    trial.holds(status in (0, -9), f"to be killed, it ended with {status}")
    return status


def full(trial: Trial) -> None:
    """A disk that has no byte or file more at a moment: a true sentence, nothing lost or half."""
    try:
        own_mounts()
    except OSError as forbidden:
        _limited(trial, str(forbidden))
        return
    trial.home.mkdir(parents=True, exist_ok=True)
    mount(trial.home)
    prepared(trial.name, trial.work, trial.home)
    way, first = ("at a moment", "of bytes", "of files")[trial.seed % 3], ""
    began = os.statvfs(trial.home)
    taken = (began.f_blocks - began.f_bfree) * began.f_frsize
    if way == "at a moment":
        share = trial.chance.random()
        first = trial.moment(share, "fill", str(trial.home), "filler", way="files")
    elif way == "of bytes":
        size = taken + trial.chance.randint(PAGE, max(PAGE, trial.whole.of_files - taken))
        trial.put = f"a disk of {size:,} bytes, of which {taken:,} were taken"
        mount(trial.home, size=size, again=True)
    else:
        there = sum(1 for _ in trial.home.rglob("*")) + 1
        more = trial.chance.randint(0, len(trial.whole.held) - there + 2)
        trial.put = f"a disk of {more} more files and folders"
        mount(trial.home, files=there + more, again=True)
    status = trial.begun(first=first).wait()
    (trial.home / "filler").unlink(missing_ok=True)
    mount(trial.home, again=True)
    _after_full(trial, status)


def _limited(trial: Trial, why: str) -> None:
    """Put a limit to every file, where nobody may have a disk of its own."""
    prepared(trial.name, trial.work, trial.home)
    largest = max(one.stat().st_size for one in trial.whole.home.rglob("*") if one.is_file())
    limit = trial.chance.randint(1, largest)
    trial.put = f"no file larger than {limit:,} bytes, for want of a disk of its own ({why})"
    _after_full(trial, trial.begun(largest_file=limit).wait())


def _after_full(trial: Trial, status: int) -> None:
    trial.ended_in_a_sentence(status)
    if status:
        trial.holds(bool(TRUE_OF_FULL.search(trial.said)), "the reason told is not the true one")
    for name, held in belongings(trial.home).items():
        trial.holds(not name.endswith(".part"), f"{name} was left")
        trial.holds(not held.startswith("unreadable"), f"{name} is {held}")
    trial.goes_on()


class Flip(NamedTuple):
    """A file whose bits are flipped.

    Attributes:
        case: What is asked after that; "resume" goes on with the stopped run of moco-v2.
        lying: The case whose outcome lies there, "stopped" for that run.
        file: The file, as a pattern.
    """

    case: str
    lying: str
    file: str


FLIPS = {
    "checkpoint": Flip("resume", "stopped", "run/checkpoint.pt"),
    "metrics": Flip("resume", "stopped", "run/metrics.csv"),
    "settings": Flip("resume", "stopped", "run/settings.json"),
    "encoder": Flip("embed npz", "rotation", "run/encoder.safetensors"),
    "encoder's recipe": Flip("embed npz", "rotation", "run/encoder.json"),
    "settings of a whole run": Flip("embed npz", "rotation", "run/settings.json"),
    "result": Flip("result", "rotation", "run/results/pretrain.json"),
    "cached answers": Flip("probe", "probe", "cache/baselines/*.npz"),
    "cached dictionary": Flip("probe", "probe", "cache/dictionaries/*.safetensors"),
    "cached dictionary's recipe": Flip("probe", "probe", "cache/dictionaries/*.json"),
    "map": Flip("mapped", "mapped", "cache/maps/*/images"),
    "map's list": Flip("mapped", "mapped", "cache/maps/*/about.npz"),
    "permutations": Flip("many permutations", "many permutations", "cache/permutations/*.npy"),
}


def flipped(trial: Trial) -> None:
    """Ten bits flipped: refused by name or of no consequence, and what helps then, helps."""
    flip, home, work = FLIPS[trial.name], trial.home, trial.work
    lying = stopped(work) if flip.lying == "stopped" else whole(flip.lying, work).home
    shutil.copytree(lying, home)
    case, words = {
        "resume": ("moco-v2", ["pretrain", "--resume", str(home / "run"), "--json"]),
        "result": ("rotation", ["pretrain", "--resume", str(home / "run"), "--json"]),
    }.get(flip.case, (flip.case, []))
    if not words:
        words = typed(case, work, home)
        if words[0] == "pretrain":  # made anew, with what lies in the cache
            shutil.rmtree(home / "run")
    for record in (home / "run").glob("results/linear*"):  # it is not replaced by another run's
        record.unlink()
    place = trial.chance.choice(sorted(home.glob(flip.file)))
    sound, name = place.read_bytes(), place.relative_to(home).as_posix()
    bits = sorted(trial.chance.sample(range(8 * len(sound)), FLIPPED))
    place.write_bytes(_with_flipped(sound, bits))
    trial.put = f"bits {bits} of {name}"
    before, expected = belongings(home), whole(case, work).held
    status = trial.begun(words).wait()
    trial.ended_in_a_sentence(status)
    if status == 0:
        trial.outcome(expected, but=name)
        return
    trial.holds(place.name in trial.said, f"{place.name} is not named")
    if name.startswith("cache"):  # met while a run is on its way: that goes on, the cache is mended
        words = [] if words[0] == "probe" else trial.on(case)
    else:
        wrong = [one for one in differences(before, belongings(home)) if not one.startswith(name)]
        trial.holds(not wrong, f"refused, and yet changed: {wrong}")
        if name == "run/checkpoint.pt":
            place.with_name("checkpoint-before.pt").replace(place)
        else:
            place.write_bytes(sound)
    status = trial.begun(words or typed(case, work, home)).wait()
    trial.holds(status == 0, f"after the remedy it ended with {status}")
    # A run that goes on takes a map only where memory does not hold the pictures.
    trial.outcome(expected, but="cache/maps" if name.startswith("cache/maps") else "")


def _with_flipped(content: bytes, bits: list[int]) -> bytes:
    changed = bytearray(content)
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def twice(trial: Trial) -> None:
    """Two at once: one ends well, the other does too or is refused by naming the first."""
    if trial.name == "one map":
        _two_with_one_map(trial)
    elif trial.name == "probe beside training":
        _probe_beside_training(trial)
    else:
        _two_of_one_place(trial)


# What two do at once: the two cases, and what lies there before they begin.
PAIRS = {
    "one run": ("rotation", "short"),
    "one run resumed": ("moco-v2", "moco-v2"),
    "one run begun and resumed": ("rotation", "resume"),
    "one file of embeddings": ("embed npz", "embed npz"),
    "one table of embeddings": ("embed parquet", "embed parquet"),
    "one demo": ("demo", "demo"),
    "one map": ("mapped", "mapped"),
    "probe beside training": ("rotation", "probe"),
}


def _two_of_one_place(trial: Trial) -> None:
    one, other = PAIRS[trial.name]
    resumed = ["pretrain", "--resume", str(trial.home / "run")]
    if trial.name == "one run resumed":
        shutil.copytree(stopped(trial.work), trial.home)
        words = [resumed, resumed]
    else:
        prepared(one, trial.work, trial.home)
        first = typed(one, trial.work, trial.home)
        words = [first, resumed if other == "resume" else typed(other, trial.work, trial.home)]
    process = [begun(words[0], trial.home, first=CASES[one].first, said="first")]
    _let_pass(trial, whole(one, trial.work).seconds / 2)
    if other == "resume":
        _await(trial.home / "run" / "settings.json")
    already = process[0].ended
    process.append(begun(words[1], trial.home, first=CASES[one].first))
    statuses = [each.wait() for each in process]
    trial.put += f": ended with {statuses}"
    texts = [(trial.home.parent / name).read_text() for name in ("first", "said")]
    trial.holds(0 in statuses and set(statuses) <= {0, 1}, f"they ended with {statuses}")
    trial.holds("Traceback" not in "".join(texts), f"there was a traceback: {texts}")
    if 1 in statuses and not already:
        lost = statuses.index(1)
        named = f"process {process[1 - lost].number}"
        trial.holds(named in texts[lost], f"the first is not named: {texts[lost][-300:]}")
    cases = [one, one if other == "resume" else other]
    trial.outcome(whole(cases[statuses.index(0)], trial.work).held)


def _two_with_one_map(trial: Trial) -> None:
    prepared("mapped", trial.work, trial.home)
    words = typed("mapped", trial.work, trial.home)
    second = [word.replace(f"{trial.home}/run", f"{trial.home}/other") for word in words]
    process = begun(words, trial.home, said="first")
    _let_pass(trial, 0.5)
    beside = begun(second, trial.home)
    statuses = [process.wait(), beside.wait()]
    trial.holds(statuses == [0, 0], f"they ended with {statuses}")
    runs = [
        trial.home / "run" / "encoder.safetensors",
        trial.home / "other" / "encoder.safetensors",
    ]
    trial.holds(runs[0].read_bytes() == runs[1].read_bytes(), "the two runs differ")
    shutil.rmtree(trial.home / "other")
    trial.outcome(whole("mapped", trial.work).held)


def _probe_beside_training(trial: Trial) -> None:
    prepared("rotation", trial.work, trial.home)
    process = begun(typed("rotation", trial.work, trial.home), trial.home, said="first")
    _await(trial.home / "run" / "settings.json")
    _let_pass(trial, 0.5)
    status = trial.begun(typed("probe", trial.work, trial.home)).wait()
    trial.ended_in_a_sentence(status)
    trained = process.wait()
    trial.holds(trained == 0, f"the training ended with {trained}")
    shutil.rmtree(trial.home / "cache", ignore_errors=True)
    (trial.home / "run" / "results" / "linear.json").unlink(missing_ok=True)
    trial.outcome(whole("rotation", trial.work).held)


def _let_pass(trial: Trial, most: float) -> None:
    seconds = trial.chance.random() * most
    trial.put += f"the second {seconds:.2f} s after the first"
    time.sleep(seconds)


def _await(place: Path) -> None:
    until = time.monotonic() + PATIENCE
    while not place.exists() and time.monotonic() < until:
        time.sleep(0.002)


STREAMS = {
    f"{('output', 'error')[number - 1]} {how} of {case}": (number, how, case)
    for number, how, case in itertools.product(
        (1, 2), ("closed", "full", "gone"), ("rotation", "embed npz", "probe")
    )
}


def lost(trial: Trial) -> None:
    """Standard output or error closed, full or without a reader: what is asked is done."""
    number, how, trial.name = STREAMS[trial.name]
    prepared(trial.name, trial.work, trial.home)
    trial.put = f"standard {('output', 'error')[number - 1]} {how}"
    status = trial.begun(first=f"import striking\nstriking.lose({number}, {how!r})").wait()
    allowed = (0, 1) if (number, how) == (1, "full") else (0,)
    trial.holds(status in allowed, f"it ended with {status}")
    trial.holds("Traceback" not in trial.said, "there was a traceback")
    trial.outcome()


def asked_to_end(trial: Trial) -> None:
    """Ctrl-C, a polite kill, a closed terminal at a moment: it ends as documented, and goes on."""
    prepared(trial.name, trial.work, trial.home)
    number = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[trial.seed % 3]

    def put(share: float) -> int:
        status = trial.begun(first=trial.moment(share, "signal", int(number))).wait()
        trial.ended_in_a_sentence(status, allowed=ENDED_AS_ASKED)
        return status

    trial.struck(put)
    for name, held in belongings(trial.home).items():
        trial.holds(not held.startswith("unreadable"), f"{name} is {held}")
        trial.holds(not name.endswith(".part"), f"{name} was left")
    trial.goes_on()


def data_lost(trial: Trial) -> None:
    """Pictures cut short or removed while a command reads them: a sentence, or they are skipped."""
    case, home = CASES[trial.name], trial.home
    prepared(trial.name, trial.work, home)
    place = home / f"pictures{FORMS[case.form]}"
    kept = home.parent / "kept"
    copy = shutil.copytree if place.is_dir() else shutil.copy2
    copy(place, kept)
    deed, more = ("cut", (trial.chance.random(),)) if trial.seed % 2 else ("remove", ())

    def put(share: float) -> int:
        status = trial.begun(first=trial.moment(share, deed, str(place), *more)).wait()
        trial.ended_in_a_sentence(status)
        return status

    trial.struck(put, hit=lambda status: _size(place) < _size(kept))
    skipped = _fewer(trial.said)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    copy(kept, place)
    status = trial.begun(trial.on()).wait()
    if status != 0 and skipped:  # it was begun on fewer pictures than there are now
        trial.ended_in_a_sentence(status)
        return
    trial.holds(status == 0, f"with the pictures back it ended with {status}")
    if not skipped and not _fewer(trial.said):
        trial.outcome()


def _fewer(said: str) -> bool:
    """Tell whether a command said that it did not have all pictures."""
    return "skipped" in said or "damaged or cut short" in said


def _size(place: Path) -> int:
    """Count the bytes of a file, or of all in a folder; 0 if there is none."""
    files = [place] if place.is_file() else place.rglob("*")
    return sum(one.stat().st_size for one in files if one.is_file())


class Kind(NamedTuple):
    """A kind of fault.

    Attributes:
        put: Does a trial of it.
        cases: What it is put to.
        seeds: How often to each.
    """

    put: Callable[[Trial], None]
    cases: tuple[str, ...]
    seeds: int


OF_DATA = tuple(name for name, case in CASES.items() if case.form)
WRITING = ("rotation", "moco-v2", "fitted", "mapped", "probed on the way", "probe", "embed npz",
           "embed parquet", "look", "apply", "demo")  # fmt: skip
KINDS = {
    "kill -9": Kind(
        killed, tuple(name for name in CASES if name not in (*OF_DATA, "short")), seeds=4
    ),
    "full disk": Kind(full, WRITING, seeds=4),
    "flipped bits": Kind(flipped, tuple(FLIPS), seeds=3),
    "two at once": Kind(twice, tuple(PAIRS), seeds=2),
    "a stream lost": Kind(lost, tuple(STREAMS), seeds=1),
    "asked to end": Kind(
        asked_to_end, ("four in turns", "fitted", "mapped", "probe", "embed npz", "demo"), seeds=3
    ),
    "data lost": Kind(data_lost, OF_DATA, seeds=2),
}
