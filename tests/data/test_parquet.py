"""Parquet: tables whose metadata or labels are strange are read without these, or refused."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from selfsight.data import Unreadable, open_data

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
