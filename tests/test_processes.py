"""Processes: two train as one would; one's failure ends both with one message."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import selfsight
from selfsight.cli import main
from selfsight.errors import SelfsightError, UsageError
from selfsight.plan import shared_batch
from selfsight.processes import ALONE, Processes, joined
from selfsight.run import Run
from selfsight.settings import Pretrain

# Two tasks that take turns: in every step one of the heads rests, in both processes.
SHORT = ["digits", "--task", "rotation", "--task", "supervised", "--encoder", "test_vit"]
SHORT += ["--samples", "160"]
SHORT += ["--batch", "16", "--size", "16", "--precision", "f32", "--compile", "off"]


def test_shares_of_a_batch_are_its_parts_in_turn() -> None:
    rows = torch.arange(12) * 10

    shares = [Processes(rank, 3).share(rows).tolist() for rank in range(3)]

    assert shares == [[0, 10, 20, 30], [40, 50, 60, 70], [80, 90, 100, 110]]


def test_one_process_alone_asks_nobody() -> None:
    value = torch.tensor([1.0, 2.0])

    assert ALONE.mean(value) is value
    assert ALONE.largest(1.0, 3.0) == [1.0, 3.0]
    assert ALONE.told("here") == "here"
    assert ALONE.gathered(value).tolist() == [[1.0, 2.0]]
    assert ALONE.placed("cuda") == "cuda"


def test_a_batch_is_lowered_to_a_multiple_of_the_processes() -> None:
    assert shared_batch(64, 4) == (64, ())
    note = "the batch of 30 is lowered to 28, a multiple of 4 processes"
    assert shared_batch(30, 4) == (28, (note,))
    with pytest.raises(UsageError, match="give each of 4 processes a picture, got 3"):
        shared_batch(3, 4)


def test_several_processes_from_python_are_refused() -> None:
    with pytest.raises(UsageError, match=r"works for `selfsight pretrain`.*torchrun"):
        selfsight.pretrain("digits", "rotation", devices=2, device="cpu")


def test_a_torchrun_of_another_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "4")

    with pytest.raises(UsageError, match="the 4 processes that torchrun started, got 2"):
        joined(2, 1, "cpu").__enter__()


@pytest.mark.skipif(torch.cuda.device_count() > 63, reason="so many GPUs are here")
def test_more_gpus_than_are_here_are_refused() -> None:
    with pytest.raises(SelfsightError, match="--devices 64 needs as many GPUs, and"):
        joined(64, 1, "cuda").__enter__()


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed"])
def test_strategies_that_part_the_weights_are_refused_by_name(strategy: str) -> None:
    with pytest.raises(UsageError, match=f"must be ddp, got {strategy}: .*resumes exactly"):
        Pretrain(data="digits", task=("rotation",), strategy=strategy)


def command(words: list[str]) -> "subprocess.CompletedProcess[str]":
    hidden = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "MASTER_ADDR", "NODE_RANK")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "selfsight", "pretrain", *words],
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str, str]:
    """A run of one process and the same of two, with what the two said."""
    home = tmp_path_factory.mktemp("pair")
    assert main(["pretrain", *SHORT, "--out", str(home / "one")]) == 0
    done = command([*SHORT, "--devices", "2", "--device", "cpu", "--out", str(home / "two")])
    assert done.returncode == 0, done.stderr
    return home / "one", home / "two", done.stdout, done.stderr


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(pair: tuple[Path, Path, str, str]) -> None:
    one, two = (load_file(path / "encoder.safetensors") for path in pair[:2])

    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=5e-6)


@pytest.mark.slow
def test_two_processes_log_the_means_of_both(pair: tuple[Path, Path, str, str]) -> None:
    one, two = (Run(path).metrics() for path in pair[:2])

    assert [row["step"] for row in two] == [row["step"] for row in one] == list(range(1, 11))
    for step, rows in enumerate(zip(one, two, strict=True)):
        for name in ("loss", f"{('rotation', 'supervised')[step % 2]}.accuracy", "samples"):
            assert rows[1][name] == pytest.approx(rows[0][name], rel=1e-4)


@pytest.mark.slow
def test_two_processes_speak_once(pair: tuple[Path, Path, str, str]) -> None:
    _, two, out, err = pair

    assert out == f"next: selfsight probe {two} LABELLED_PICTURES\n"
    assert "in each of 2 processes" in err
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == len(set(lines))
    assert sorted(path.name for path in two.parent.iterdir()) == ["one", "two"]


@pytest.mark.slow
def test_two_processes_go_on_to_the_same_bits(pair: tuple[Path, Path, str, str]) -> None:
    """A run that is cut in the middle and resumed has the weights of the whole one."""
    whole, cut = pair[1], pair[1].parent.parent / "cut"
    words = [*SHORT, "--devices", "2", "--device", "cpu", "--out", str(cut)]
    breaking = (
        "import sys; from selfsight import train, cli\n"
        "advance = train.Training._advance\n"
        "def broken(training):\n"
        "    if training.step == 5 and training.processes.rank == 1: raise OSError('no power')\n"
        "    advance(training)\n"
        "train.Training._advance = broken\n"
    )
    done = patched(breaking, [*words, "--save-every", "0"], cut.parent)
    assert done.returncode == 1
    assert done.stderr.count("OSError: no power\n") == 1
    assert Run(cut).metrics()[-1]["step"] < 10

    resumed = command(["--resume", str(cut)])
    assert resumed.returncode == 0, resumed.stderr
    first, second = (load_file(path / "encoder.safetensors") for path in (whole, cut))
    assert all(first[key].equal(second[key]) for key in first)


def patched(code: str, words: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command `selfsight` from a file that changes something first."""
    script = folder / "selfsight"  # no .py: it must not be imported for the package
    script.write_text(f"{code}\nsys.exit(cli.main())\n")
    own = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "WORLD_SIZE")}
    return subprocess.run(
        [sys.executable, str(script), "pretrain", *words],
        env={**own, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "failing", "status", "said"),
    [
        (0, "raise errors.SelfsightError('the tape tore')", 1, "selfsight: the tape tore"),
        (1, "raise errors.UsageError('not like this')", 2, "selfsight: not like this"),
        (1, "os.kill(os.getpid(), 9)", 1, "another process of this training ended without a word"),
    ],
)
def test_a_process_that_fails_ends_both_with_one_message(
    tmp_path: Path, rank: int, failing: str, status: int, said: str
) -> None:
    breaking = (
        "import os, sys; from selfsight import cli, errors, train\n"
        "advance = train.Training._advance\n"
        "def broken(training):\n"
        f"    if training.step == 2 and training.processes.rank == {rank}: {failing}\n"
        "    advance(training)\n"
        "train.Training._advance = broken\n"
    )
    words = [*SHORT, "--devices", "2", "--device", "cpu", "--out", str(tmp_path / "run")]
    words += ["--save-every", "1000"]
    done = patched(breaking, words, tmp_path)

    assert done.returncode == status, done.stderr
    assert done.stderr.count(said) == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
