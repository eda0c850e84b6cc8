"""Locks: one holder at a time, named to others; no waiting for dead processes, no links."""

import errno
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from selfsight.errors import SelfsightError
from selfsight.system import locks
from selfsight.system.locks import alone, alone_if_free, alone_or_refused

WORDS = {"what": "runs/a", "otherwise": "or name another place"}


def test_a_lock_is_free_once_its_block_is_left(tmp_path: Path) -> None:
    place = tmp_path / "x.lock"

    with alone(place), alone_if_free(place) as free:
        assert not free
    with alone_if_free(place) as free:
        assert free
        with alone_if_free(place) as again:
            assert not again


def test_a_lock_that_cannot_be_made_is_not_free(tmp_path: Path) -> None:
    with alone_if_free(tmp_path / "nowhere" / "x.lock") as free:
        assert not free


def test_one_at_a_time_though_the_file_is_removed(tmp_path: Path) -> None:
    place = tmp_path / "x.lock"
    inside: list[int] = []
    most: list[int] = []

    def work(i: int) -> None:
        with alone(place):
            inside.append(i)
            most.append(len(inside))
            time.sleep(0.002)  # long enough for the others to wait for this file
            inside.remove(i)
            place.unlink()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))

    assert most == [1] * 40


def test_who_waits_says_for_whom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, told, since = tmp_path / "x.lock", "", time.monotonic()

    def wait() -> None:
        with alone(place, doing="writes the same map"):
            pass

    with ThreadPoolExecutor(1) as pool, alone(place):
        waiting = pool.submit(wait)
        while "\n" not in told and not waiting.done() and time.monotonic() - since < 60:
            told += capsys.readouterr().err
        assert not waiting.done()

    assert told.startswith(f"waiting for process {os.getpid()} on {platform.node()} since ")
    assert told.endswith(", which writes the same map\n")


HOLDER = """
import sys, time
from pathlib import Path
from selfsight.system.locks import alone_or_refused

with alone_or_refused(Path(sys.argv[1]), what="runs/a", otherwise=""):
    print("begun", flush=True)
    time.sleep(600)
"""


def test_a_second_owner_is_refused_by_naming_the_first_until_that_is_dead(tmp_path: Path) -> None:
    place = tmp_path / ".lock"
    command = [sys.executable, "-c", HOLDER, str(place), "and more"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"begun\n"
        told = (
            rf"runs/a is being written by process {first.pid} on {platform.node()} since "
            rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d: -c {place} 'and more'; "
            "wait until that has ended, or name another place"
        )
        with pytest.raises(SelfsightError, match=told), alone_or_refused(place, **WORDS):
            pass
        first.send_signal(signal.SIGKILL)
    assert place.exists()

    with alone_or_refused(place, **WORDS) as lock:
        assert lock is not None
        assert f"process {os.getpid()} " in place.read_text()
    assert list(tmp_path.iterdir()) == []


def test_an_owner_knows_when_its_lock_or_the_folder_around_it_was_taken_away(
    tmp_path: Path,
) -> None:
    place = tmp_path / "run" / ".lock"
    place.parent.mkdir()
    with alone_or_refused(place, **WORDS) as lock:
        assert lock is not None
        assert lock.is_there
        place.unlink()
        assert not lock.is_there
        with alone_or_refused(place, **WORDS):  # whoever takes the place now
            assert not lock.is_there
    assert list(place.parent.iterdir()) == []


def removed(place: Path) -> None:
    place.unlink()


def replaced(place: Path) -> None:
    place.with_name("other").write_text("as a program does that copies files")
    place.with_name("other").rename(place)


def untouched(place: Path) -> None:
    assert place.exists()


@pytest.mark.parametrize("change", [untouched, removed, replaced])
def test_a_lock_whose_file_alone_was_taken_away_is_taken_anew(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    place = tmp_path / "run" / ".lock"
    place.parent.mkdir()
    descriptors = len(os.listdir("/dev/fd"))
    with alone_or_refused(place, **WORDS) as lock:
        assert lock is not None
        change(place)
        assert lock.hold()
        assert lock.is_there
        assert f"process {os.getpid()} " in place.read_text()
        with (
            pytest.raises(SelfsightError, match="is being written by"),
            alone_or_refused(place, **WORDS),
        ):
            pass
    assert list(place.parent.iterdir()) == []
    assert len(os.listdir("/dev/fd")) == descriptors


def test_a_lock_that_another_took_meanwhile_is_not_held(tmp_path: Path) -> None:
    place = tmp_path / ".lock"
    with alone_or_refused(place, **WORDS) as lock:
        assert lock is not None
        place.unlink()
        with alone_or_refused(place, **WORDS) as theirs:
            assert theirs is not None
            assert not lock.hold()
            assert theirs.hold()
        assert lock.hold()  # that one has ended, and let the place be


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


def made_anew(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def under_a_file(folder: Path) -> None:
    shutil.rmtree(folder.parent)
    folder.parent.write_text("")


def another_with_a_lock(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    shutil.copytree(folder.with_name("elsewhere"), folder)


@pytest.mark.parametrize("change", [gone, made_anew, under_a_file, another_with_a_lock])
def test_a_lock_whose_folder_is_gone_or_another_is_not_held(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    with alone_or_refused(folder / ".lock", **WORDS) as lock:
        assert lock is not None
        change(folder)
        assert not lock.hold()


def test_a_place_that_cannot_be_looked_at_for_a_moment_costs_no_lock(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    with alone_or_refused(runs / ".lock", **WORDS) as lock:
        assert lock is not None
        runs.rename(tmp_path / "elsewhere")
        runs.symlink_to(runs)  # ELOOP, in place of what a network's disk says of itself
        assert lock.hold()
        runs.unlink()
        (tmp_path / "elsewhere").rename(runs)
        assert lock.hold()
        assert lock.is_there


FORKED = """
import os, sys
from pathlib import Path
from selfsight.system.locks import alone_if_free, alone_or_refused

place, read_write = Path(sys.argv[1]), os.pipe()
with alone_or_refused(place, what="runs/a", otherwise="") as lock:
    if not os.fork():  # leaves the block as its parent does, and stays
        lock.let_go(remove=True)
        os.close(read_write[1])
        os.read(read_write[0], 1)
        os._exit(0)
    gone = os.fork()
    if not gone:
        lock.let_go(remove=True)
        os._exit(0)
    os.waitpid(gone, 0)
    with alone_if_free(place) as free:
        print(lock.is_there, free)
print(place.exists())
with alone_or_refused(place, what="runs/a", otherwise=""):
    print("again")
"""


def test_forks_neither_take_a_lock_away_nor_keep_it_longer_than_its_owner(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKED, str(tmp_path / ".lock")]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["True False", "False", "again"]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_a_plain_file_is_ever_a_lock(tmp_path: Path, kind: str) -> None:
    place, theirs = tmp_path / ".lock", tmp_path / "theirs"
    theirs.write_text("theirs")
    {
        "link": lambda: place.symlink_to(theirs),
        "pipe": lambda: os.mkfifo(place),
        "folder": place.mkdir,
    }[kind]()

    with pytest.raises(OSError, match=r"symbolic links|something other|directory"), alone(place):
        pass
    with pytest.raises(OSError, match=r"symbolic links|something other|directory"):
        alone_or_refused(place, **WORDS).__enter__()
    assert theirs.read_text() == "theirs"


def test_where_there_are_no_locks_that_is_said_and_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Lockless:
        """Stands for a file system without locks, which cannot be made here."""

        LOCK_EX, LOCK_NB = 2, 4

        @staticmethod
        def flock(descriptor: int, kind: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    for without in (Lockless, None):  # None: Windows
        monkeypatch.setattr(locks, "fcntl", without)
        with alone_or_refused(tmp_path / ".lock", **WORDS) as lock, alone(tmp_path / "other.lock"):
            assert lock is None
        told = capsys.readouterr().err
        assert f"{tmp_path} lies on a file system without locks" in told
        with alone_if_free(tmp_path / "other.lock") as free:
            assert not free
