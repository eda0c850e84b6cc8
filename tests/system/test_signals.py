"""Signals: a request to end is obeyed once at any moment, and a message says what was kept."""

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from apart import Apart
from making import PRETRAIN
from selfsight.cli import main
from selfsight.system import signals
from selfsight.system.signals import AS_ONE, ENDING, Interruption
from selfsight.training.run import Run


def ask(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def _handlers_are_restored() -> Generator[None]:
    before = [signal.getsignal(number) for number in ENDING]
    yield
    assert [signal.getsignal(number) for number in ENDING] == before


@pytest.mark.parametrize("number", ENDING)
def test_an_interruption_is_noted_and_its_echo_is_the_same_one(number: int) -> None:
    with Interruption() as interruption:
        assert not interruption.asked
        ask(number)
        ask(number)  # as `timeout` does: to the process, and to its group
        assert interruption.asked


@pytest.mark.parametrize("number", ENDING)
def test_a_second_interruption_raises(number: int) -> None:
    with Interruption():
        ask(number)
        time.sleep(1.1 * AS_ONE)
        with pytest.raises(KeyboardInterrupt):
            ask(number)


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    try:
        with Interruption() as interruption, signals.raised():
            ask(signal.SIGHUP)
            assert not interruption.asked
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_thread_beside_the_main_one_handles_no_signal() -> None:
    found: list[object] = []

    def look() -> None:
        with Interruption(), signals.raised():
            found.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [before]


@pytest.mark.parametrize("broken", [False, True])
def test_what_must_not_be_left_in_its_middle_is_left_at_its_end(broken: bool) -> None:
    reached: list[int] = []

    def load() -> None:
        with signals.raised(), signals.after():
            ask()
            reached.append(1)
            if broken:
                raise ImportError("half loaded")

    with pytest.raises(KeyboardInterrupt):
        load()
    assert reached == [1]


def asking(patch: pytest.MonkeyPatch, place: str, number: int) -> None:
    """Make a function of the library request the end whenever it is called, and then run."""
    module, _, name = place.rpartition(".")
    called: Callable[..., object] = getattr(__import__(module, fromlist=[name]), name)

    def asked_before(*given: object, **more: object) -> object:
        ask(number)
        return called(*given, **more)

    patch.setattr(place, asked_before)


BEFORE = (
    "selfsight.data.pictures.reading_progress.read",
    "selfsight.training.prepare.batches_of",
    "selfsight.commands.pretrain._circumstances",
    "selfsight.commands.pretrain._training",
    "selfsight.commands.pretrain._curve_probe",
)


@pytest.mark.parametrize(("place", "number"), [*zip(BEFORE, itertools.cycle(ENDING), strict=False)])
def test_before_the_first_step_nothing_is_left(
    place: str,
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asking(monkeypatch, place, number)

    assert main([*PRETRAIN, "--out", str(tmp_path / "run")]) == 130

    assert capsys.readouterr().err.endswith("selfsight: interrupted; nothing is left half-made\n")
    assert list(tmp_path.iterdir()) == []


def test_after_the_training_the_run_can_be_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        asking(patch, "selfsight.commands.pretrain._judged", signal.SIGTERM)
        assert main([*PRETRAIN, "--out", str(out)]) == 130
    said = capsys.readouterr().err
    assert "stopped at once; what was saved before is intact" in said
    assert said.endswith(f"go on with: selfsight pretrain --resume {out}\n")

    assert main(["pretrain", "--resume", str(out)]) == 0
    assert Run(out).result("pretrain") is not None
    assert not list(out.rglob("*.part"))


WRITING = {
    "probe": (["--quick", "--labels", "40"], "selfsight.commands.probe._place"),
    "embed": (["--out", "embedded/features.parquet"], "selfsight.commands.embed._rows"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "run"
    assert main([*PRETRAIN, "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("verb", WRITING)
def test_other_verbs_leave_nothing_half_made(
    verb: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))
    words, place = WRITING[verb]
    asking(monkeypatch, place, signal.SIGTERM)

    assert main([verb, str(run), *words]) == 130

    assert capsys.readouterr().err.endswith("selfsight: interrupted; nothing is left half-made\n")
    left = [p for folder in (tmp_path, run) for p in folder.rglob("*") if p.is_file()]
    assert [p for p in left if "features" in p.name or p.suffix == ".part"] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_training_that_is_ended_from_outside_saves_and_goes_on(
    number: int, tmp_path: Path
) -> None:
    out, said = tmp_path / "run", tmp_path / "said"
    words = [*PRETRAIN, "--save-every", "0", "--out", str(out)]
    words[words.index("32")] = "80000"
    process = Apart(words, said=said)
    while not (out / "checkpoint.pt").exists() and not process.ended:
        time.sleep(0.01)
    process.send(number)

    assert process.wait() == 130
    assert "and saved; go on with: selfsight pretrain --resume" in said.read_text()


@pytest.mark.slow
def test_asked_twice_it_ends_at_once(tmp_path: Path) -> None:
    first = (
        f"import os, time, selfsight.training.prepare; os.chdir({str(tmp_path)!r})\n"
        "def deaf(*given, **more):\n"
        "    open('begun', 'w').close()\n"
        "    while True:\n"
        "        try: time.sleep(60)\n"
        "        except KeyboardInterrupt: open('heard', 'w').close()\n"
        "selfsight.data.pictures.reading_progress.read = deaf\n"
    )
    process = Apart([*PRETRAIN, "--out", "run"], first=first)
    for sign in ("begun", "heard"):
        while not (tmp_path / sign).exists() and not process.ended:
            time.sleep(0.01)
        if sign == "begun":
            process.send(signal.SIGTERM)
    time.sleep(1.1 * AS_ONE)
    process.send(signal.SIGTERM)

    assert process.wait() == 130
