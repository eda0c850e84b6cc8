"""Embeddings: a file comes whole, in row groups, or not at all."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from selfsight.looks import embeddings
from selfsight.looks.embeddings import EmbeddingFile, NpzFile, ParquetFile, Rows

ABOUT = {"network": "runs/a", "layer": "pooled", "size": "32", "data": "photos"}


def rows(first: int, count: int, split: str | None = "train") -> Rows:
    numbers = torch.arange(first, first + count)
    names = [f"{n}.jpg" for n in numbers.tolist()]
    features = numbers[:, None] + torch.tensor([0.0, 0.5, 0.25])
    return Rows(names, split, numbers % 2, ["odd" if n % 2 else "even" for n in numbers], features)


def test_parquet_grows_by_row_groups_and_says_what_it_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "ROWS_A_GROUP", 4)
    path = tmp_path / "features.parquet"
    with ParquetFile(path, ABOUT) as file:
        file.add(rows(0, 3))
        file.add(rows(3, 3))
        (part,) = tmp_path.iterdir()
        assert part.name.endswith(".part")
        file.add(rows(6, 2, "test"))
    read = pq.ParquetFile(path)
    table = read.read().to_pydict()

    assert read.metadata.num_row_groups == 2
    assert read.schema_arrow.metadata[b"selfsight.network"] == b"runs/a"
    assert str(read.schema_arrow.field("embedding").type) == "fixed_size_list<element: float>[3]"
    assert table["path"][7] == "7.jpg"
    assert table["embedding"][5] == [5.0, 5.5, 5.25]
    assert table["class"][:2] == ["even", "odd"]
    assert table["split"] == ["train"] * 6 + ["test"] * 2
    assert (file.count, file.features, file.splits) == (8, 3, {"train": 6, "test": 2})
    assert list(tmp_path.iterdir()) == [path]


def test_npz_holds_the_same(tmp_path: Path) -> None:
    path = tmp_path / "features.npz"
    with NpzFile(path, ABOUT) as file:
        file.add(rows(0, 3))
        file.add(rows(3, 2, "test"))
    with np.load(path, allow_pickle=False) as kept:
        assert kept["embedding"].dtype == np.float32
        assert kept["embedding"][4].tolist() == [4.0, 4.5, 4.25]
        assert kept["path"].tolist() == [f"{n}.jpg" for n in range(5)]
        assert kept["label"].tolist() == [0, 1, 0, 1, 0]
        assert kept["class"][1] == "odd"
        assert kept["split"].tolist() == ["train"] * 3 + ["test"] * 2
        assert str(kept["layer"]) == "pooled"


@pytest.mark.parametrize("kind", [ParquetFile, NpzFile])
def test_what_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, kind: type[EmbeddingFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "ROWS_A_GROUP", 1)
    path = tmp_path / "features"
    path.write_text("old")

    def interrupted() -> None:
        with kind(path, ABOUT) as file:
            file.add(rows(0, 3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


FULL_DISK = """
import resource, sys
from pathlib import Path
import torch
from selfsight.errors import SelfsightError
from selfsight.looks.embeddings import NpzFile, ParquetFile, Rows

hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
noise = torch.rand(5000, 8)
for path in map(Path, sys.argv[1:]):
    for room in (100, 200_000, 780_000):  # it is full at the first rows, later, at the end
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        try:
            with (ParquetFile if path.suffix == ".parquet" else NpzFile)(path, {}) as file:
                for number in range(4):
                    file.add(Rows(["name"] * 5000, None, None, None, noise))
        except SelfsightError as error:
            print(error)
"""


@pytest.mark.slow  # a process of its own
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    paths = [tmp_path / f"features.{kind}" for kind in ("parquet", "npz")]
    for path in paths:
        path.write_text("old")

    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines() == [
        f"{path} could not be written: File too large; what was saved there before is intact. "
        "Allow larger files (ulimit -f), or name another place"
        for path in paths
        for _ in range(3)
    ]
    assert done.stderr == ""
    assert [path.read_text() for path in paths] == ["old", "old"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_data_without_classes_or_parts_has_no_columns_of_them(tmp_path: Path) -> None:
    path = tmp_path / "features.parquet"
    with ParquetFile(path, ABOUT) as file:
        file.add(Rows(["a"], None, None, None, torch.zeros(1, 2)))

    assert pq.read_table(path).column_names == ["path", "embedding"]
