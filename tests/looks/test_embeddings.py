"""Embeddings: a file comes whole, in row groups, or not at all."""

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
        assert (tmp_path / "features.parquet.part").exists()
        assert not path.exists()
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


def test_data_without_classes_or_parts_has_no_columns_of_them(tmp_path: Path) -> None:
    path = tmp_path / "features.parquet"
    with ParquetFile(path, ABOUT) as file:
        file.add(Rows(["a"], None, None, None, torch.zeros(1, 2)))

    assert pq.read_table(path).column_names == ["path", "embedding"]
