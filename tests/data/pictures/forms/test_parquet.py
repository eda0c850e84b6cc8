"""Parquet: tables with odd metadata or labels are read without these, or refused."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from selfsight.data.pictures import open_data
from selfsight.data.pictures.forms import parquet as parquet_module
from selfsight.data.pictures.forms.parquet import ParquetTable
from selfsight.data.source import Unreadable

ROWS = 3


@pytest.fixture
def png(tmp_path: Path) -> bytes:
    """A picture's bytes."""
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "a.png")
    return (tmp_path / "a.png").read_bytes()


def table(path: Path, png: bytes, labels: Sequence[object] | pa.Array, about: str = "") -> Path:
    """Write a table of pictures, with metadata as Hugging Face has it."""
    made = pa.table({"image": [png] * ROWS, "label": labels})
    pq.write_table(made.replace_schema_metadata({"huggingface": about}), path)
    return path


def test_names_of_classes_in_the_metadata_are_written_out(tmp_path: Path, png: bytes) -> None:
    names = ["a\x1b[31m", "b\n", "c"]
    about = json.dumps({"info": {"features": {"label": {"names": names}}}})

    source = open_data(table(tmp_path / "x.parquet", png, [0, 1, 2], about)).train

    assert source.classes == ("a\\x1b[31m", "b\\n", "c")


def test_metadata_deeper_than_the_stack_names_no_class(tmp_path: Path, png: bytes) -> None:
    about = "[" * 100_000 + "]" * 100_000

    source = open_data(table(tmp_path / "x.parquet", png, [0, 1, 2], about)).train

    assert source.classes == ("0", "1", "2")


def test_a_label_of_more_digits_than_python_reads_is_a_word(tmp_path: Path, png: bytes) -> None:
    long = "1" * 5000
    about = json.dumps({"info": {"features": {"label": {"names": ["a", "b"]}}}})

    source = open_data(table(tmp_path / "x.parquet", png, ["0", long, "1"], about)).train

    assert sorted(source.classes) == ["0", "1", long]


def test_labels_that_python_has_no_value_for_are_left_out_with_a_reason(
    tmp_path: Path, png: bytes
) -> None:
    times = pa.array([1, 2, 3], pa.timestamp("ns"))

    source = open_data(table(tmp_path / "x.parquet", png, times)).train

    assert source.labels is None
    assert "column `label` of" in source.unlabelled
    assert source.decode(0).shape == (1, 8, 8)


def test_metadata_on_which_pyarrow_ends_the_process_makes_rows_unreadable(
    tmp_path: Path, png: bytes
) -> None:
    path = table(tmp_path / "x.parquet", png, [0, 1, 2])
    # A column of bytes (0c) that may hold nothing (02), in the schema of the footer; 00 is one that
    # always holds something, and then the statistics beside it are of another length than it says.
    optional, required = b"\x15\x0c\x25\x02\x18\x05image", b"\x15\x0c\x25\x00\x18\x05image"
    data = path.read_bytes()
    assert data.count(optional) == 1
    path.write_bytes(data.replace(optional, required))

    source = open_data(path).train

    assert len(source) == ROWS
    with pytest.raises(Unreadable):
        source.decode(0)


@pytest.mark.parametrize("apart", [True, False])
def test_pictures_of_a_large_file_or_a_large_group_are_read_as_they_stand(
    tmp_path: Path, png: bytes, monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    asked: list[bool] = []
    reads = pq.ParquetFile.read_row_group

    def read(file: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table:
        found = reads(file, group, columns=columns)
        asked.append(pa.types.is_dictionary(found.schema.field(0).type))
        if asked[-1]:  # as of more than 2 GiB
            raise pa.ArrowCapacityError("array cannot contain more than 2147483646 bytes")
        return found

    source = open_data(table(tmp_path / "x.parquet", png, [0, 1, 2])).train
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", read)
    monkeypatch.setattr(parquet_module, "SMALL_FILE", 1 << 20 if apart else 1)

    assert source.decode(0).shape == (1, 8, 8)
    assert asked == ([True, False] if apart else [False])


def test_labels_of_many_row_groups_are_read_many_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, png: bytes
) -> None:
    made = pa.table({"image": [png] * 300, "label": [k % 3 for k in range(300)]})
    pq.write_table(made, tmp_path / "x.parquet", row_group_size=2)
    asked: list[int] = []
    reads = pq.ParquetFile.read_row_groups

    def read(file: pq.ParquetFile, groups: list[int], columns: list[str]) -> pa.Table:
        asked.append(len(groups))
        return reads(file, groups, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", read)
    monkeypatch.setattr(parquet_module, "AT_ONCE", 10_000)
    source = open_data(tmp_path / "x.parquet").train

    assert source.labels is not None
    assert source.labels.tolist() == [k % 3 for k in range(300)]
    assert 1 < len(asked) < sum(asked) == 150


def test_rows_of_several_files_are_named_by_file_even_past_an_empty_one(
    tmp_path: Path, png: bytes
) -> None:
    paths = [table(tmp_path / name, png, [0, 1, 2]) for name in ("a.parquet", "c.parquet")]
    empty = tmp_path / "b.parquet"
    pq.write_table(pq.read_table(paths[0]).slice(0, 0), empty)

    source = ParquetTable(paths[0], empty, paths[1])

    assert [source.title(i) for i in (0, 2, 3, 5)] == [
        "a.parquet row 0",
        "a.parquet row 2",
        "c.parquet row 0",
        "c.parquet row 2",
    ]
