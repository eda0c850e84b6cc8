"""Atomic: a file is replaced whole or not at all, even when the disk is full."""

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from selfsight.errors import SelfsightError
from selfsight.system.atomic import (
    cause,
    folder,
    json_text,
    kept_if_possible,
    subfolder,
    tidy,
    write_bytes,
    write_json,
    write_text,
    written,
)

# A limit on the size of files stands for a full disk: the write fails halfway.
FULL_DISK = """
import resource, sys
from pathlib import Path
from selfsight.system.atomic import write_bytes
from selfsight.errors import SelfsightError

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes(Path(sys.argv[1]), b"new" * 1000)
except SelfsightError as error:
    print(error)
"""


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"a much longer old content")

    write_bytes(path, b"new")

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_keeps_the_old_file_it_has_open(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )

    assert "a.bin could not be written: File too large" in done.stdout
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]  # the half-written one is gone


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SelfsightError, match=r"gone/a\.txt .*: the folder .*gone does not exist"):
        write_text(tmp_path / "gone" / "a.txt", "new")


def test_a_folder_in_the_way_is_left(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    with pytest.raises(SelfsightError, match="could not be written"):
        write_text(tmp_path / "a", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_json_is_indented_utf8_with_a_last_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "Möwe", "sizes": (1, 2)})

    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"name": "Möwe", "sizes": [1, 2]}
    assert text.startswith('{\n  "name"')
    assert text.endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_json_cannot_hold_is_refused_with_its_place(tmp_path: Path, value: float) -> None:
    path = tmp_path / "a.json"
    record = {"loss": 0.5, "tasks": {"rotation": {"loss": value}}, "rows": [1.0, value]}

    with pytest.raises(SelfsightError, match=rf"tasks.rotation.loss is {value}, rows\[1\] is"):
        write_json(path, record)

    assert list(tmp_path.iterdir()) == []


def test_json_holds_no_control_character() -> None:
    names = [chr(number) for number in (*range(32), *range(127, 160), 0x202E, 0xDCE9)]

    spelt = json_text({name: name for name in names})

    assert spelt.isascii()
    assert set(spelt) - {"\n"} == set(filter(str.isprintable, spelt))
    assert json.loads(spelt) == {name: name for name in names}


def test_finite_records_are_json(tmp_path: Path) -> None:
    record = {"loss": 1e-300, "none": None, "rows": [1, 2.5]}

    assert json.loads(json_text(record)) == record


def streamed(path: Path, *blocks: bytes) -> None:
    with written(path) as file:
        for block in blocks:
            file.write(block)


def test_what_is_streamed_takes_its_place_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with written(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        assert len(list(tmp_path.iterdir())) == 2

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_fault_within_the_block_passes_as_it_is_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def failing() -> None:
        with written(path) as file:
            file.write(b"new")
            raise OSError(errno.EIO, "the camera was pulled out")

    with pytest.raises(OSError, match="the camera was pulled out"):
        failing()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_many_may_write_one_file_at_once_and_it_is_one_of_theirs(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    contents = [bytes([number]) * 100_000 for number in range(8)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: streamed(path, content[:1], content[1:]), contents * 10))

    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_in_the_place_is_replaced_and_what_it_leads_to_is_left(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    path = tmp_path / "a.txt"
    path.symlink_to(tmp_path / "theirs")

    write_text(path, "new")

    assert (tmp_path / "theirs").read_text() == "theirs"
    assert not path.is_symlink()
    assert path.read_text() == "new"


def test_the_file_has_the_permissions_of_any_new_one(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "new")
    finally:
        os.umask(before)

    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_the_longest_name_there_may_be_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)

    write_text(path, "new")

    assert list(tmp_path.iterdir()) == [path]


WRITER = """
import os, sys, time
from pathlib import Path
from selfsight.system.atomic import written

with written(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("begun", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_writer_left_is_taken_away_and_what_a_living_one_writes_is_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "film.mkv.part").write_text("of a browser")
    (tmp_path / f"a.{'0' * 16}.part").symlink_to("film.mkv.part")
    others = set(tmp_path.iterdir())
    command = [sys.executable, "-c", WRITER, str(tmp_path / "a.bin")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"begun\n"
        tidy(tmp_path)
        (part,) = set(tmp_path.iterdir()) - others
        assert part.read_bytes() == b"half"
        writer.send_signal(signal.SIGKILL)
    assert part.exists()

    tidy(tmp_path)

    assert set(tmp_path.iterdir()) == others


def test_a_folder_is_made_and_tried(tmp_path: Path) -> None:
    assert folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    for place in (tmp_path / "file", tmp_path / "file" / "a" / "b"):
        with pytest.raises(SelfsightError, match=r"made a folder: .*/file is in the way. Move"):
            folder(place)


READ_ONLY = """
import os, sys
from pathlib import Path
from selfsight.system.atomic import folder
from selfsight.errors import SelfsightError

if os.geteuid() == 0:  # who may write anywhere
    os.seteuid(65534)
for name in sys.argv[1:]:
    try:
        folder(Path(name), another="or name another place with --out")
    except SelfsightError as error:
        print(error)
"""


def test_a_place_that_this_user_may_not_write_is_told_before_anything_is_written() -> None:
    with tempfile.TemporaryDirectory() as place:  # whose parents other users may enter
        Path(place).chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, place, f"{place}/results"],
            capture_output=True,
            text=True,
            check=True,
        )

    helps = "Have its owner let you write there, or name another place with --out"
    assert done.stdout.splitlines() == [
        f"{place} could not be written: Permission denied. {helps}",
        f"{place}/results cannot be made a folder: Permission denied. {helps}",
    ]


def test_what_can_be_computed_again_is_done_without_where_it_cannot_be_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        with kept_if_possible("the answers of this test"):
            write_text(tmp_path / "gone" / "a", "new")

    told = capsys.readouterr().err  # once
    assert told.startswith("the answers of this test are not kept for the next time: ")
    assert told.count("not kept") == 1


def test_a_link_in_the_users_own_path_is_followed(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "big")

    write_text(subfolder(tmp_path / "runs", "results") / "a.txt", "new")

    assert (tmp_path / "big" / "results" / "a.txt").read_text() == "new"


def test_a_folder_of_ours_that_is_a_link_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "pictures").symlink_to(tmp_path / "theirs")

    for name in ("pictures", "pictures/deeper"):
        with pytest.raises(SelfsightError, match=r"run/pictures is a link, and nothing is written"):
            subfolder(tmp_path / "run", name)
    assert list((tmp_path / "theirs").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room within your quota"),
        (errno.EFBIG, "allow larger files (ulimit -f)"),
        (errno.EACCES, "have its owner let you write there"),
        (errno.EROFS, "have it mounted for writing"),
        (errno.ENOTCONN, None),
    ],
)
def test_what_helps_is_told_by_the_reason(tmp_path: Path, number: int, told: str | None) -> None:
    reason, remedy = cause(tmp_path / "a", OSError(number, os.strerror(number)))

    assert reason == os.strerror(number)
    assert remedy == told


def test_that_the_old_file_is_intact_is_said_where_there_was_one(tmp_path: Path) -> None:
    told: list[str] = []
    for name in ("old", "new"):
        if name == "old":
            (tmp_path / name).write_text("old")
        done = subprocess.run(
            [sys.executable, "-c", FULL_DISK, str(tmp_path / name)],
            capture_output=True,
            text=True,
            check=True,
        )
        told.append(done.stdout)

    assert [sentence.count("what was saved there before is intact") for sentence in told] == [1, 0]
    assert all(
        sentence.endswith("Allow larger files (ulimit -f), or name another place\n")
        for sentence in told
    )
