"""Resuming: whatever stops a run, it goes on to the same weights and metrics, to the bit."""

import contextlib
import csv
import os
import random
import signal
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import selfsight
from apart import Apart
from making import PICTURE_TASKS, needs_of, photographs
from selfsight.errors import SelfsightError, Stopped
from selfsight.tasks.table import TASKS
from selfsight.training.loop import Training
from selfsight.training.plan import Plan
from selfsight.training.run import Run
from selfsight.training.weights import built

pytestmark = pytest.mark.slow  # whole trainings, and processes of their own

SETTINGS = {"encoder": "test_resnet", "size": 16, "batch": 8, "precision": "f32", "save_every": 0.0}
PICTURES, STEPS = 40, 8  # of the runs of every task: an epoch has five steps
BROKEN_AT = (3, 6)  # within the first epoch, and within the second
TRAINED = {name: (name,) for name in PICTURE_TASKS if TASKS[name].way == "trained"}
TRAINED |= {"in turns": ("moco-v2", "deepcluster"), "summed": ("pirl", "exemplar")}
MIX = {"in turns": "alternate", "summed": "sum"}
TRAINED |= {"probed": ("rotation",)}
PROBED = {"probed": 2.0}
ROWS = 4  # of metrics: the first break comes between two of them
TIMED = ("seconds", "samples_per_second", "waiting")  # columns that hold a stopwatch's numbers


def pretrain(out: Path, **settings: object) -> Run:
    return selfsight.pretrain("digits", "rotation", out=str(out), **{**SETTINGS, **settings})


def same_weights(a: Path, b: Path) -> bool:
    first, second = load_file(a / "encoder.safetensors"), load_file(b / "encoder.safetensors")
    heads = [Run(path).load_checkpoint() for path in (a, b)]
    assert heads[0] is not None
    assert heads[1] is not None
    return all(first[key].equal(second[key]) for key in first) and all(
        value.equal(heads[1]["task"][key]) for key, value in heads[0]["task"].items()
    )


def untimed_metrics(run: Path) -> list[list[str]]:
    """Read the cells of metrics.csv as they are spelt, without what a stopwatch told."""
    lines = list(csv.reader((run / "metrics.csv").read_text().splitlines()))
    kept = [place for place, name in enumerate(lines[0]) if name not in TIMED]
    return [[line[place] for place in kept] for line in lines]


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a row of metrics be the mean of two steps."""
    monkeypatch.setattr("selfsight.training.plan.ROWS_LOGGED", ROWS)


@contextlib.contextmanager
def power_going(monkeypatch: pytest.MonkeyPatch, failing: int) -> Generator[None]:
    """Break every training off before a step, without a word to it."""
    advance = Training._advance

    def breaking(training: Training) -> None:
        if training.step == failing:
            raise OSError("the power went")
        advance(training)

    with monkeypatch.context() as patched:
        patched.setattr(Training, "_advance", breaking)
        with pytest.raises(OSError, match="the power went"):
            yield


def begun(names: tuple[str, ...], out: Path, data: Path, **settings: object) -> Run:
    """Train tasks for a few steps on a few pictures, with networks as small as they come."""
    side = max(24, *(needs_of(name).least_side for name in names))
    given = {**SETTINGS, "size": side, "samples": 8 * STEPS, **settings}
    return selfsight.pretrain(str(data), names, out=str(out), **given)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of a photograph, large enough for every task, in two classes."""
    place = tmp_path_factory.mktemp("pictures") / "tiles.npz"
    tiles = photographs("relative-position", PICTURES // 2)  # gives each of them twice over
    images = torch.cat([tiles, tiles.flip(3)]).permute(0, 2, 3, 1).numpy()
    np.savez(place, images=images[:PICTURES], labels=np.arange(PICTURES) % 2)
    return place


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Callable[[str], Path]:
    """Gives the run of a case that nothing stopped, made when it is first asked for."""
    home = tmp_path_factory.mktemp("whole")

    def made(case: str) -> Path:
        if not (home / case).exists():
            options = {"mix": MIX.get(case), "probe_every": PROBED.get(case)}
            begun(TRAINED[case], home / case, pictures, **options)
        return home / case

    return made


def broken_twice(case: str, out: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a case, break it off and go on with it, twice."""
    with power_going(monkeypatch, BROKEN_AT[0]):
        begun(TRAINED[case], out, data, mix=MIX.get(case), probe_every=PROBED.get(case))
    with power_going(monkeypatch, BROKEN_AT[1]):
        selfsight.pretrain(resume=str(out))
    selfsight.pretrain(resume=str(out))


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("case", TRAINED)
def test_a_run_that_broke_off_twice_goes_on_to_the_same_bits_and_metrics(
    whole: Callable[[str], Path],
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
) -> None:
    expected = whole(case)
    broken_twice(case, tmp_path / "broken", pictures, monkeypatch)

    assert same_weights(expected, tmp_path / "broken")
    assert len(untimed_metrics(expected)) == 1 + ROWS + (case in PROBED)  # names, rows, and step 0
    assert untimed_metrics(tmp_path / "broken") == untimed_metrics(expected)


def _forgotten(key: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Make a mistake: what a checkpoint holds of the task under a name is not taken up."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        load = Run.load_checkpoint

        def forgetful(run: Run) -> dict[str, Any] | None:
            state = load(run)
            if state is not None:
                state["task"] |= {
                    name: torch.zeros_like(value)
                    for name, value in state["task"].items()
                    if name.startswith(key)
                }
            return state

        patch.setattr(Run, "load_checkpoint", forgetful)

    return plant


def _momentum_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(torch.optim.SGD, "load_state_dict", lambda optimizer, state: None)


def _a_step_taken_twice(patch: pytest.MonkeyPatch) -> None:
    load = Run.load_checkpoint

    def behind(run: Run) -> dict[str, Any] | None:
        state = load(run)
        return state and state | {"step": state["step"] - 1}

    patch.setattr(Run, "load_checkpoint", behind)


MISTAKES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a queue forgotten": _forgotten("queue"),
    "a teacher forgotten": _forgotten("key."),
    "momentum forgotten": _momentum_forgotten,
    "a step taken twice": _a_step_taken_twice,
}


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_resuming_is_found(
    whole: Callable[[str], Path],
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mistake: str,
) -> None:
    expected = whole("moco-v2")
    with power_going(monkeypatch, BROKEN_AT[0]):
        begun(("moco-v2",), tmp_path / "broken", pictures)
    with monkeypatch.context() as patch:
        MISTAKES[mistake](patch)
        selfsight.pretrain(resume=str(tmp_path / "broken"))

    assert not same_weights(expected, tmp_path / "broken")


def unmoved(run: Path) -> list[str]:
    """Name the filters of a run's encoder that are as they were before its first step.

    Factors and shifts of normalisations are left out: what moves a 1 by so little is rounded away.
    """
    began = built(Plan.from_json(Run(run).settings["plan"]))[0].get_submodule("encoder")
    now = load_file(run / "encoder.safetensors")
    return [
        key.removeprefix("model.")
        for key, value in began.named_parameters()
        if value.ndim > 1 and value.equal(now[key.removeprefix("model.")])
    ]


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("case", TRAINED)
def test_training_moves_every_filter_of_the_encoder(
    whole: Callable[[str], Path], case: str
) -> None:
    assert unmoved(whole(case)) == []


def test_a_frozen_encoder_is_found(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = selfsight.training.loop.make_optimizer

    def without_the_encoder(task: Any, plan: Plan) -> torch.optim.Optimizer:
        task.encoder.requires_grad_(False)
        return make(task, plan)

    monkeypatch.setattr("selfsight.training.loop.make_optimizer", without_the_encoder)
    begun(("rotation",), tmp_path / "frozen", pictures)

    assert unmoved(tmp_path / "frozen") != []


def test_the_seed_alone_decides(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        pretrain(tmp_path / name, samples=24, seed=seed)

    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


def test_interrupting_saves_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = Training._advance

    def interrupted(training: Training) -> None:
        if training.step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        advance(training)

    with monkeypatch.context() as patched:
        patched.setattr(Training, "_advance", interrupted)
        with pytest.raises(Stopped, match=r"stopped at step 5 of 12, and saved; go on with: .*run"):
            pretrain(tmp_path / "run", samples=96, save_every=1000.0)
    checkpoint = Run(tmp_path / "run").load_checkpoint()

    assert checkpoint is not None
    assert checkpoint["step"] == 5


def test_a_finished_run_says_so_and_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain(tmp_path / "run", samples=16)
    before = (tmp_path / "run/checkpoint.pt").read_bytes()
    selfsight.pretrain(resume=str(tmp_path / "run"))

    assert "is finished" in capsys.readouterr().err
    assert (tmp_path / "run/checkpoint.pt").read_bytes() == before


def test_other_data_cannot_be_resumed_on(tmp_path: Path) -> None:
    run = pretrain(tmp_path / "run", samples=16)
    kept = run.settings
    kept["plan"]["fingerprint"] = "0" * 32
    run.write_settings(kept)
    (tmp_path / "run/results/pretrain.json").unlink()  # of a finished run nothing is asked

    with pytest.raises(SelfsightError, match=r"other pictures than when .* began"):
        selfsight.pretrain(resume=str(tmp_path / "run"))


def test_starting_from_a_run_takes_its_weights(tmp_path: Path) -> None:
    first = pretrain(tmp_path / "first", samples=16)
    second = pretrain(tmp_path / "second", samples=8, start=str(first.path), rate=1e-12, decay=0.0)

    old, new = first.encoder().body.state_dict(), second.encoder().body.state_dict()
    assert all(old[k].allclose(new[k]) for k in old if not k.endswith(("mean", "var", "tracked")))


def killed_at(words: list[str], run: Path, step: int) -> None:
    """Start a run, and kill it as soon as it has logged a step past `step`."""
    process = Apart(["pretrain", *words])
    try:
        while not process.ended:
            rows = Run(run).metrics() if run.exists() else []
            if rows and rows[-1]["step"] > step:
                break
            time.sleep(0.005)
    finally:
        process.kill()


def test_kills_at_random_steps_of_a_run_for_minutes_change_no_bit(tmp_path: Path) -> None:
    words = ["digits", "--batch", "8", "--size", "24", "--task", "rotation", "--precision", "f32"]
    run, chance = tmp_path / "killed", random.Random(0)
    killed_at([*words, "--minutes", "0.05", "--save-every", "0", "--out", str(run)], run, 0)
    steps = Run(run).settings["plan"]["steps"]
    for step in sorted(chance.sample(range(1, steps - 1), 2)):
        killed_at(["--resume", str(run)], run, step)
    assert Apart(["pretrain", "--resume", str(run)]).wait() == 0

    # the same number of steps without a kill: --minutes would measure anew
    whole = [*words, "--samples", str(8 * steps), "--out", str(tmp_path / "whole")]
    assert Apart(["pretrain", *whole]).wait() == 0
    assert same_weights(run, tmp_path / "whole")
