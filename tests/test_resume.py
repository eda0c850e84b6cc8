"""Resuming: whatever stops a run, it goes on to the same weights, to the bit."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from safetensors.torch import load_file

import selfsight
from selfsight.errors import SelfsightError, Stopped
from selfsight.run import Run
from selfsight.tasks import TASKS, load_task
from selfsight.train import Training

pytestmark = pytest.mark.slow  # whole trainings, in processes of their own

KILLS = 10
SETTINGS = {"encoder": "small", "size": 16, "batch": 8, "precision": "f32", "save_every": 0.0}


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


@pytest.mark.parametrize("failing", [3, 11])
def test_a_run_that_broke_off_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    pretrain(tmp_path / "whole", samples=96)
    with power_going(monkeypatch, failing):
        pretrain(tmp_path / "broken", samples=96)
    resumed = selfsight.pretrain(resume=str(tmp_path / "broken"))

    assert same_weights(tmp_path / "whole", tmp_path / "broken")
    assert [row["step"] for row in resumed.metrics()] == list(range(1, 13))


def keeps_more_than_weights(name: str) -> bool:
    """Tell whether a task has a queue, a bank, a teacher or clusters."""
    return hasattr(load_task(name), "after_step") or hasattr(load_task(name), "before_epoch")


@pytest.mark.parametrize("failing", [3, 5])  # within an epoch, and between two
@pytest.mark.parametrize("task", [name for name in TASKS if keeps_more_than_weights(name)])
def test_what_a_task_keeps_besides_weights_comes_back(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    asked = {**SETTINGS, "limit": 40, "samples": 64, "encoder": "small", "size": 24}
    selfsight.pretrain("digits", task, out=str(tmp_path / "whole"), **asked)
    with power_going(monkeypatch, failing):
        selfsight.pretrain("digits", task, out=str(tmp_path / "broken"), **asked)
    selfsight.pretrain(resume=str(tmp_path / "broken"))

    assert same_weights(tmp_path / "whole", tmp_path / "broken")


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

    with pytest.raises(SelfsightError, match=r"other pictures than when .* began"):
        selfsight.pretrain(resume=str(tmp_path / "run"))


def test_starting_from_a_run_takes_its_weights(tmp_path: Path) -> None:
    first = pretrain(tmp_path / "first", samples=16)
    second = pretrain(tmp_path / "second", samples=8, start=str(first.path), rate=1e-12, decay=0.0)

    old, new = first.encoder().model.state_dict(), second.encoder().model.state_dict()
    assert all(old[k].allclose(new[k]) for k in old if not k.endswith(("mean", "var", "tracked")))


def command(words: list[str]) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "selfsight", "pretrain", *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def killed_at(words: list[str], run: Path, step: int) -> None:
    """Start a run, and kill it as soon as it has logged a step past `step`."""
    process = command(words)
    try:
        while process.poll() is None:
            rows = Run(run).metrics() if run.exists() else []
            if rows and rows[-1]["step"] > step:
                break
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()


@pytest.mark.learn
@pytest.mark.parametrize(
    ("precision", "length"),
    [
        ("f32", ["--samples", "1280"]),
        ("bf16", ["--samples", "1280"]),
        ("f32", ["--minutes", "0.2"]),
    ],
)
def test_ten_kills_at_random_steps_change_no_bit(
    tmp_path: Path, precision: str, length: list[str]
) -> None:
    words = ["digits", "--task", "rotation", "--batch", "8", "--size", "16"]
    words += ["--precision", precision, "--save-every", "0", *length]
    run = tmp_path / "killed"
    chance = random.Random(0)
    killed_at([*words, "--out", str(run)], run, 0)
    steps = Run(run).settings["plan"]["steps"]
    for step in sorted(chance.sample(range(1, steps - 1), KILLS - 1)):
        killed_at(["--resume", str(run)], run, step)
    assert command(["--resume", str(run)]).wait() == 0

    # the same number of steps without a kill; --minutes would measure anew
    whole = [word for word in words if word not in length] + ["--samples", str(8 * steps)]
    assert command([*whole, "--out", str(tmp_path / "whole")]).wait() == 0
    assert same_weights(run, tmp_path / "whole")


@pytest.mark.learn
def test_kills_change_no_bit_of_banks_queues_teachers_and_clusters(tmp_path: Path) -> None:
    words = ["digits", "--limit", "48", "--batch", "8", "--size", "24", "--precision", "f32"]
    for task in ("moco-v2", "instance-discrimination", "pirl", "deepcluster"):
        words += ["--task", task]
    words += ["--samples", "960", "--save-every", "0"]
    run = tmp_path / "killed"
    chance = random.Random(0)
    killed_at([*words, "--out", str(run)], run, 0)
    for step in sorted(chance.sample(range(1, 119), 4)):
        killed_at(["--resume", str(run)], run, step)
    assert command(["--resume", str(run)]).wait() == 0

    assert command([*words, "--out", str(tmp_path / "whole")]).wait() == 0
    assert same_weights(run, tmp_path / "whole")
