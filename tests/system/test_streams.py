"""Streams: closed pipes and full disks stop no work, and the exit status tells of lost answers."""

import errno
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import selfsight
from apart import Apart
from making import PRETRAIN
from selfsight.cli import main
from selfsight.system.progress import console
from selfsight.system.streams import SafeStream

FULL = Path("/dev/full")
on_linux = pytest.mark.skipif(not FULL.exists(), reason="only Linux has a disk that is always full")


class Failing(io.TextIOBase):
    """A stream to which nothing can be written, for a reason."""

    def __init__(self, reason: Exception) -> None:
        self.reason = reason

    def write(self, text: str) -> int:
        raise self.reason

    def flush(self) -> None:
        raise self.reason


GONE = (BrokenPipeError(errno.EPIPE, "gone"), OSError(errno.EIO, "gone"))
CUT = (OSError(errno.ENOSPC, "full"), OSError(errno.EFBIG, "large"), ValueError("closed file"))


@pytest.mark.parametrize("reason", [*GONE, *CUT])
def test_writing_never_fails_and_the_first_reason_is_kept(reason: Exception) -> None:
    failing = Failing(reason)
    stream = SafeStream(failing)

    assert stream.lost is None
    assert stream.write("text") == 4
    failing.reason = OSError("another")
    stream.writelines(["more"])
    stream.flush()

    assert stream.lost is reason
    assert stream.cut is (None if reason in GONE else reason)


def test_a_broken_disk_under_a_file_cuts_what_a_closed_terminal_only_lost(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        stream = SafeStream(file)
        stream.lost = GONE[1]
        assert stream.cut is GONE[1]


@pytest.mark.parametrize("encoding", ["ascii", "cp1251"])
def test_letters_that_a_stream_has_not_are_spelt_out(encoding: str) -> None:
    below = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)

    SafeStream(below).write("caf\xe9\n")

    assert below.buffer.getvalue() == b"caf\\xe9\n"  # pyright: ignore[reportAttributeAccessIssue]


def test_a_console_goes_on_without_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (Failing(GONE[0]), Failing(CUT[0]), None):
        monkeypatch.setattr(sys, "stderr", stream)
        console().print("a sentence")


def test_training_from_python_goes_on_without_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Failing(CUT[0]))
    run = selfsight.pretrain(
        "digits", "rotation", encoder="test_resnet", samples=32, limit=40, size=16, batch=8,
        out=str(tmp_path / "run"),
    )  # fmt: skip
    assert run.result("pretrain") is not None


def test_files_never_get_the_numbers_of_closed_streams() -> None:
    program = "from selfsight.system.streams import open_closed_streams; open_closed_streams()\n"
    program += "import sys; sys.exit(open('/dev/null').fileno())"
    closing = 'exec "$0" -c "$1" <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", closing, sys.executable, program], check=False)
    assert done.returncode > 2


HEARD = {
    "a reader that leaves after a line": ("| head -1", 0),
    "a reader that never reads": ("| true", 0),
    "no standard output": (">&-", 0),
    "neither stream": (">&- 2>&-", 0),
    "a full disk": ("> /dev/full", 1),
    "a full disk for both": ("> /dev/full 2>&1", 1),
}


@on_linux
@pytest.mark.parametrize("case", HEARD)
@pytest.mark.parametrize("words", ["--help", "tasks --help"])
def test_an_answer_that_nobody_waits_for_is_done_and_one_that_was_cut_is_not(
    case: str, words: str
) -> None:
    listening, status = HEARD[case]
    line = f'set -o pipefail; "$0" -W error -m selfsight {words} {listening}'

    done = subprocess.run(["bash", "-c", line, sys.executable], capture_output=True, text=True)

    assert done.returncode == status
    told = "selfsight: the answer could not be written to standard output: No space left on device"
    assert [line.partition(";")[0] for line in done.stderr.splitlines()] == (
        [told] if case == "a full disk" else []
    )


@on_linux
@pytest.mark.slow
@pytest.mark.parametrize("words", [["tasks"], ["tasks", "--json"], ["encoders", "small"]])
def test_a_listing_on_a_full_disk_is_no_success(words: list[str], tmp_path: Path) -> None:
    onto = "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1)"
    assert Apart(words, said=tmp_path / "said", first=onto).wait() == 1
    assert (tmp_path / "said").read_text().count("\n") == 1


def _full() -> int:
    return os.open(FULL, os.O_WRONLY)


def _pipe_without_a_reader() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def _closed_terminal() -> int:
    screen, terminal = pty.openpty()
    os.close(screen)
    return terminal


@on_linux
@pytest.mark.slow
@pytest.mark.parametrize("lost", [_full, _pipe_without_a_reader, _closed_terminal])
def test_a_training_that_nobody_hears_is_whole(lost: Callable[[], int], tmp_path: Path) -> None:
    onto = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import os, test_streams\n"
        f"descriptor = test_streams.{lost.__name__}()\n"
        "for number in (1, 2): os.dup2(descriptor, number)"
    )
    out = str(tmp_path / "run")

    status = Apart([*PRETRAIN, "--json", "--out", out], first=onto).wait()

    assert status == (1 if lost is _full else 0)
    assert json.loads((tmp_path / "run/results/pretrain.json").read_text())["steps"] == 4


def test_only_the_answer_is_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    import selfsight.commands.catalogue

    def chatty(settings: object) -> list[object]:
        print("what a library says")
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selfsight.commands.catalogue, "datasets", chatty)
        assert main(["datasets", "--json"]) == 0

    said = capsys.readouterr()
    assert (said.out, said.err) == ("[]\n", "what a library says\n")
