"""Atomic: a file is replaced whole or not at all, even when the disk is full."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from selfsight.atomic import json_text, write_bytes, write_json, write_text
from selfsight.errors import SelfsightError

# A limit on the size of files stands for a full disk: the write fails halfway.
FULL_DISK = """
import resource, sys
from pathlib import Path
from selfsight.atomic import write_bytes
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
    with pytest.raises(SelfsightError, match=r"gone/a\.txt could not be written: No such file"):
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
