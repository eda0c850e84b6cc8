"""Steady: the same command with the same seed gives the same bits, whatever else is at work."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import selfsight
from selfsight.errors import UsageError
from selfsight.settings import Pretrain
from selfsight.system import machine
from selfsight.training import pace
from selfsight.training.run import Run

SHORT: dict[str, Any] = {"encoder": "test_resnet", "size": 16, "batch": 16, "samples": 64}


@contextmanager
def busy_loop() -> Generator[None]:
    """Keep a processor busy from another process."""
    program = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        program.kill()
        program.wait()


def trained(out: Path, **options: Any) -> Run:
    return selfsight.pretrain("digits", "rotation", out=str(out), **{**SHORT, **options})


@pytest.mark.slow
def test_a_busy_machine_trains_to_the_same_bits(tmp_path: Path) -> None:
    """Precision and threads are the machine's own, but for at most two threads."""
    options = {"threads": min(2, machine.processors()), "device": "cpu", "samples": 32}
    idle = trained(tmp_path / "idle", **options)
    with busy_loop():
        beside = trained(tmp_path / "beside", **options)

    first, second = idle.load_checkpoint(), beside.load_checkpoint()
    assert first is not None
    assert second is not None
    assert all(torch.equal(value, second["task"][key]) for key, value in first["task"].items())
    plans = [run.settings["plan"] for run in (idle, beside)]
    assert [plan["threads"] for plan in plans] == [options["threads"]] * 2
    assert plans[0]["precision"] == plans[1]["precision"]


@pytest.mark.parametrize("length", [{"samples": 64}, {"samples": None, "epochs": 1, "limit": 64}])
def test_no_clock_is_asked_for_where_the_length_is_no_time(
    length: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(pace, "time", None)

    plan = trained(tmp_path / "run", **length).settings["plan"]

    assert (plan["steps"], plan["seconds_a_step"]) == (4, None)
    assert "; how long that takes shows from the first steps on" in capsys.readouterr().err
    with pytest.raises(AttributeError, match="perf_counter"):
        trained(tmp_path / "timed", samples=None, minutes=0.01)


def test_a_length_in_time_is_measured_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = trained(tmp_path / "run", samples=None, minutes=0.001).settings["plan"]

    assert plan["seconds_a_step"] > 0
    assert plan["steps"] == max(1, round(0.06 / plan["seconds_a_step"]))
    assert "measuring a step" in capsys.readouterr().err


def test_precision_and_threads_are_those_asked_for(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    asked = trained(tmp_path / "run", precision="f32", threads=3).settings["plan"]
    by_rule = trained(tmp_path / "rule", device="cpu", encoder="small").settings["plan"]

    assert (asked["precision"], asked["threads"]) == ("f32", 3)
    wanted = "bf16" if machine.multiplies_bf16("cpu") else "f32"
    assert (by_rule["precision"], by_rule["threads"]) == (wanted, min(before, machine.processors()))
    assert torch.get_num_threads() == before


def test_no_threads_are_refused() -> None:
    with pytest.raises(UsageError, match="threads must be at least 1, got 0"):
        Pretrain(data="digits", task=("rotation",), threads=0)
