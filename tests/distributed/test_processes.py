"""Processes: two train as one would; one's failure ends both with one message."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import selfsight
from apart import Apart
from selfsight.cli import main
from selfsight.distributed.processes import ALONE, Processes, joined
from selfsight.errors import SelfsightError, UsageError
from selfsight.settings import Pretrain
from selfsight.training.plan import shared_batch
from selfsight.training.run import Run

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
    assert ALONE.from_first("here") == "here"
    assert ALONE.gathered(value).tolist() == [[1.0, 2.0]]
    assert ALONE.placed("cuda") == "cuda"


def test_a_batch_is_lowered_to_a_multiple_of_the_processes() -> None:
    assert shared_batch(64, 4) == (64, ())
    note = "the batch of 30 is lowered to 28, a multiple of 4 processes"
    assert shared_batch(30, 4) == (28, (note,))
    with pytest.raises(UsageError, match="give each of 4 processes a sample, got 3"):
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
    with pytest.raises(UsageError, match=f"must be ddp, got {strategy}: .*resumed exactly"):
        Pretrain(data="digits", task=("rotation",), strategy=strategy)


def command(
    words: list[str], *, program: Sequence[str] = ("-W", "error", "-m", "selfsight")
) -> "subprocess.CompletedProcess[str]":
    """Run the command, or a program in its place, which starts the second process itself."""
    hidden = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "MASTER_ADDR", "NODE_RANK")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    return subprocess.run(
        [sys.executable, *program, "pretrain", *words],
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

    assert out == f"The pictures have labels: ask every layer.\nnext: selfsight probe {two}\n"
    assert "in each of 2 processes" in err
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == len(set(lines))
    assert sorted(path.name for path in two.parent.iterdir()) == ["one", "two"]


def both(words: list[str], folder: Path, *, first: str = "") -> tuple[int, str]:
    """Run the command in two processes that are there, as torchrun starts them.

    Returns:
        The exit status of the first, and what the two said.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"TORCHELASTIC_RUN_ID": "both", "GROUP_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    commands = [
        Apart(
            ["pretrain", *words],
            said=folder / f"said{rank}",
            environment={k: str(v) for k, v in {**told, "RANK": rank, "LOCAL_RANK": rank}.items()},
            first=first,
        )
        for rank in range(2)
    ]
    status, _ = (command.wait() for command in commands)
    return status, "".join((folder / f"said{rank}").read_text() for rank in range(2))


def breaking(rank: int, step: int, failing: str) -> str:
    """Write Python after which a training fails in one process before a step."""
    return (
        "import os\n"
        "from selfsight import errors\n"
        "from selfsight.training import loop\n"
        "advance = loop.Training._advance\n"
        "def broken(training):\n"
        f"    if training.step == {step} and training.processes.rank == {rank}: {failing}\n"
        "    advance(training)\n"
        "loop.Training._advance = broken\n"
    )


@pytest.mark.slow
def test_two_processes_go_on_to_the_same_bits(
    pair: tuple[Path, Path, str, str], tmp_path: Path
) -> None:
    """A run that is cut in the middle and resumed has the weights of the whole one."""
    whole, cut = pair[1], tmp_path / "cut"
    words = [*SHORT, "--devices", "2", "--device", "cpu", "--save-every", "0", "--out", str(cut)]
    status, said = both(words, tmp_path, first=breaking(1, 5, "raise OSError('no power')"))
    assert status == 1
    assert said.count("OSError: no power\n") == 1
    assert Run(cut).metrics()[-1]["step"] < 10

    status, said = both(["--resume", str(cut)], tmp_path)
    assert status == 0, said
    first, second = (load_file(path / "encoder.safetensors") for path in (whole, cut))
    assert all(first[key].equal(second[key]) for key in first)


FAILING = [*SHORT, "--devices", "2", "--device", "cpu", "--save-every", "1000", "--out"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "failing", "status", "said"),
    [
        (0, "raise errors.SelfsightError('the tape tore')", 1, "selfsight: the tape tore"),
        (1, "raise errors.UsageError('not like this')", 2, "selfsight: not like this"),
    ],
)
def test_a_process_that_fails_ends_both_with_one_message(
    tmp_path: Path, rank: int, failing: str, status: int, said: str
) -> None:
    words = [*FAILING, str(tmp_path / "run")]

    ended, told = both(words, tmp_path, first=breaking(rank, 2, failing))

    assert ended == status, told
    assert told.count(said) == 1
    assert "Traceback" not in told


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_one_that_started_it(tmp_path: Path) -> None:
    script = tmp_path / "selfsight"  # no .py: it must not be imported for the package
    change = breaking(1, 2, "os.kill(os.getpid(), 9)")
    script.write_text(f"{change}\nimport sys\nfrom selfsight import cli\nsys.exit(cli.main())\n")

    done = command([*FAILING, str(tmp_path / "run")], program=[str(script)])

    assert done.returncode == 1, done.stderr
    assert done.stderr.count("another process of this training ended without a message") == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def of_group(number: int) -> list[int]:
    """List the processes of a group that live, as Linux has them."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            state, _, group = path.read_text().rpartition(") ")[2].split()[:3]
            if int(group) == number and state != "Z":
                found.append(int(path.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_first_process_that_is_killed_leaves_no_other_that_waits_for_it(tmp_path: Path) -> None:
    words = ["pretrain", *FAILING, str(tmp_path / "run")]
    nowhere = subprocess.DEVNULL
    first = subprocess.Popen(
        [sys.executable, "-m", "selfsight", *words],
        stdout=nowhere, stderr=nowhere, start_new_session=True,
    )  # fmt: skip
    while len(of_group(first.pid)) < 2 and first.poll() is None:
        time.sleep(0.02)
    first.kill()  # while the other is being loaded
    first.wait()
    until = time.monotonic() + 60
    while of_group(first.pid) and time.monotonic() < until:
        time.sleep(0.1)
    left = of_group(first.pid)
    for number in left:
        os.kill(number, signal.SIGKILL)

    assert left == []
    assert first.returncode == -signal.SIGKILL
