"""Opening: every form of data by its count, classes and parts; every mistake by its message."""

import io
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from selfsight.data.pictures import open_data
from selfsight.data.pictures.source import PictureSource
from selfsight.data.source import require_same_classes
from selfsight.errors import SelfsightError


def picture(path: Path, value: int = 100, side: int = 16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (value, value, value)).save(path)
    return path


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (9, 8), value).save(file, "PNG")
    return file.getvalue()


def table(path: Path, values: list[int], **columns: Sequence[object]) -> Path:
    images = [{"bytes": png(value), "path": None} for value in values]
    pq.write_table(pa.table({"image": images, **columns}), path, row_group_size=2)
    return path


def classes_of(source: PictureSource) -> list[str]:
    assert source.labels is not None
    return [source.classes[k] for k in source.labels.tolist()]


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path: Path) -> None:
    for name in (
        "b/2.PNG",
        "a/deep/1.jpg",
        "a/3.bmp",
        "b/.hidden.png",
        ".git/x.png",
        "a/notes.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("txt"):
            path.write_text("hello")
        else:
            picture(path)

    parts = open_data(tmp_path)

    titles = [parts.train.title(i) for i in range(len(parts.train))]
    assert titles == ["a/3.bmp", "a/deep/1.jpg", "b/2.PNG"]
    assert classes_of(parts.train) == ["a", "a", "b"]
    assert parts.test is None
    assert parts.train.name == str(tmp_path)


@pytest.mark.parametrize(
    "names", [("1.png", "2.png"), ("a/1.png", "2.png"), ("a/1.png", "a/2.png")]
)
def test_a_folder_without_two_class_folders_is_unlabelled(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    for name in names:
        picture(tmp_path / name)

    source = open_data(str(tmp_path)).train

    assert (len(source), source.classes, source.labels) == (2, (), None)


@pytest.mark.parametrize("test", ["test", "val"])
def test_train_and_test_folders_are_parts_with_the_same_class_numbers(
    tmp_path: Path, test: str
) -> None:
    for name in (
        "train/a/1.png",
        "train/b/1.png",
        "train/c/1.png",
        f"{test}/c/1.png",
        f"{test}/b/1.png",
    ):
        picture(tmp_path / name)

    parts = open_data(tmp_path)

    assert parts.test is not None
    assert parts.test.classes == parts.train.classes == ("a", "b", "c")
    assert classes_of(parts.test) == ["b", "c"]


def test_test_is_preferred_to_val(tmp_path: Path) -> None:
    for name in ("train/1.png", "val/1.png", "test/1.png", "test/2.png"):
        picture(tmp_path / name)

    test = open_data(tmp_path).test

    assert test is not None
    assert len(test) == 2


def test_a_lone_train_folder_keeps_its_classes(tmp_path: Path) -> None:
    picture(tmp_path / "train/a/1.png")
    picture(tmp_path / "train/b/1.png")

    assert open_data(tmp_path).train.classes == ("a", "b")


def test_train_beside_other_vehicles_is_a_class(tmp_path: Path) -> None:
    picture(tmp_path / "train/1.png")
    picture(tmp_path / "bus/1.png")

    assert open_data(tmp_path).train.classes == ("bus", "train")


def test_test_classes_that_training_lacks_come_last_and_are_refused_where_they_matter(
    tmp_path: Path,
) -> None:
    for name in ("train/b/1.png", "train/c/1.png", "test/a/1.png", "test/b/1.png", "test/z/1.png"):
        picture(tmp_path / name)

    parts = open_data(tmp_path)

    assert parts.test is not None
    assert parts.train.classes == ("b", "c")
    assert parts.test.classes == ("b", "c", "a", "z")
    assert classes_of(parts.test) == ["a", "b", "z"]
    with pytest.raises(SelfsightError, match=r"training part.*also has a, z\. Rename"):
        require_same_classes(parts.train, parts.test)


def test_links_that_go_round_are_walked_once(tmp_path: Path) -> None:
    picture(tmp_path / "1.png")
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)

    assert len(open_data(tmp_path).train) == 1


def test_parquet_rows_are_decoded_across_row_groups(tmp_path: Path) -> None:
    path = table(tmp_path / "x.parquet", [10, 20, 30, 40, 50], label=[7, 3, 3, 7, 9])

    source = open_data(path).train

    assert [int(source.decode(i)[0, 0, 0]) for i in (4, 0, 3, 1, 2)] == [50, 10, 40, 20, 30]
    assert source.classes == ("3", "7", "9")
    assert classes_of(source) == ["7", "3", "3", "7", "9"]
    assert source.title(4) == "row 4"
    assert source.header(0).channels == 1


def test_parquet_names_its_classes(tmp_path: Path) -> None:
    path = table(
        tmp_path / "x.parquet", [1, 2, 3], label=[1, 0, 1], **{"class": ["dog", "cat", "dog"]}
    )

    source = open_data(path).train

    assert source.classes == ("cat", "dog")
    assert classes_of(source) == ["dog", "cat", "dog"]


def test_parquet_takes_words_for_labels(tmp_path: Path) -> None:
    path = table(tmp_path / "x.parquet", [1, 2], label=["dog", "cat"])

    assert open_data(path).train.classes == ("cat", "dog")


def test_parquet_takes_a_plain_binary_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1, 2], "picture": [png(7), png(8)]}), tmp_path / "x.parquet")

    source = open_data(tmp_path).train  # a folder with this one file in it

    assert source.labels is None
    assert int(source.decode(1)[0, 0, 0]) == 8


def test_parquet_without_pictures_lists_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "label": [0]}), tmp_path / "x.parquet")

    with pytest.raises(SelfsightError, match="has id, label"):
        open_data(tmp_path / "x.parquet")


def test_parquet_with_a_missing_label_says_which(tmp_path: Path) -> None:
    path = table(tmp_path / "x.parquet", [1, 2], label=[1, None])

    assert open_data(path).train.labels is None
    assert re.search("column `label` of .* has no label in row 1", open_data(path).train.unlabelled)


def test_parquet_files_called_train_and_test_are_parts(tmp_path: Path) -> None:
    table(tmp_path / "train.parquet", [1, 2, 3], label=["a", "b", "c"])
    table(tmp_path / "test.parquet", [4, 5], label=["c", "b"])

    parts = open_data(tmp_path)

    assert parts.test is not None
    assert (len(parts.train), len(parts.test)) == (3, 2)
    assert classes_of(parts.test) == ["c", "b"]


def of_hugging_face(path: Path, values: list[int], labels: list[int], names: list[str]) -> None:
    """Write a table with the names of its classes in the schema's metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    images = [{"bytes": png(value), "path": f"{value}.png"} for value in values]
    made = pa.table({"image": images, "label": pa.array(labels, pa.int64())})
    made = made.replace_schema_metadata({"huggingface": json.dumps(about)})
    pq.write_table(made, path, row_group_size=2)


@pytest.mark.parametrize("place", ["", "data/", "plain_text/data/"])
@pytest.mark.parametrize("tested", ["test", "validation"])
def test_what_the_hub_downloads_has_parts_and_named_classes(
    tmp_path: Path, place: str, tested: str
) -> None:
    names = ["dog", "cat", "unseen"]
    (tmp_path / "README.md").write_text("a data set")
    for k, values in enumerate(([10, 20, 30], [40, 50])):
        path = tmp_path / f"{place}train-{k:05d}-of-00002.parquet"
        of_hugging_face(path, values, [value // 10 % 2 for value in values], names)
    of_hugging_face(tmp_path / f"{place}{tested}-00000-of-00001.parquet", [60], [0], names)

    parts = open_data(tmp_path)

    assert parts.test is not None
    assert [int(parts.train.decode(i)[0, 0, 0]) for i in (4, 0, 3, 2, 1)] == [50, 10, 40, 30, 20]
    assert classes_of(parts.train) == ["cat", "dog", "cat", "dog", "cat"]
    assert parts.train.classes == parts.test.classes == ("dog", "cat")
    assert classes_of(parts.test) == ["dog"]
    assert parts.train.title(4) == "train-00001-of-00002.parquet row 1"
    assert parts.test.title(0) == "row 0"
    assert len(list(parts.train.stamp())) == 2


def test_labels_that_nobody_knows_are_none(tmp_path: Path) -> None:
    of_hugging_face(tmp_path / "x.parquet", [1, 2], [-1, -1], ["dog", "cat"])

    source = open_data(tmp_path).train

    assert (source.labels, source.unlabelled) == (None, "")


def test_a_table_in_numbered_pieces_is_one(tmp_path: Path) -> None:
    for k in range(3):
        table(tmp_path / f"part-{k}.parquet", [k], label=["b" if k else "a"])

    source = open_data(tmp_path).train

    assert classes_of(source) == ["a", "b", "b"]
    assert source.name == str(tmp_path)


def test_pieces_with_other_columns_are_refused(tmp_path: Path) -> None:
    table(tmp_path / "0.parquet", [1])
    pq.write_table(pa.table({"picture": [png(7)]}), tmp_path / "1.parquet")

    with pytest.raises(SelfsightError, match=r"1\.parquet has pictures in another column"):
        open_data(tmp_path)


@pytest.mark.parametrize("column", ["label", "class", "target", "category", "Category", "labels"])
def test_labels_stand_in_a_column_of_any_usual_name(tmp_path: Path, column: str) -> None:
    path = table(tmp_path / "x.parquet", [1, 2], **{column: ["dog", "cat"]})

    assert classes_of(open_data(path).train) == ["dog", "cat"]


def test_several_folders_of_tables_are_named(tmp_path: Path) -> None:
    for name in ("small", "large"):
        (tmp_path / name).mkdir()
        table(tmp_path / name / "0.parquet", [1])

    with pytest.raises(SelfsightError, match=r"several folders .*large, small.*name one of these"):
        open_data(tmp_path)


def test_tables_in_folders_called_like_parts_are_parts(tmp_path: Path) -> None:
    for name, values in (("Training", [1, 2]), ("Testing", [3])):
        (tmp_path / name).mkdir()
        table(tmp_path / name / "0000.parquet", values)

    parts = open_data(tmp_path)

    assert parts.test is not None
    assert (len(parts.train), len(parts.test)) == (2, 1)


def test_several_files_of_one_part_are_joined_where_they_are_parquet(tmp_path: Path) -> None:
    for name in ("train-0.npz", "train-1.npz"):
        (tmp_path / name).write_bytes(b"")

    with pytest.raises(SelfsightError, match=r"only Parquet files.*train-0\.npz is not"):
        open_data(tmp_path)


def test_several_parquet_files_of_other_names_are_listed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        table(tmp_path / f"{name}.parquet", [1])

    with pytest.raises(SelfsightError, match=r"one\.parquet, two\.parquet"):
        open_data(tmp_path)


@pytest.mark.parametrize("name", ["x.parquet", "x.npz"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not what it says")

    with pytest.raises(SelfsightError, match=r"x\.\w+ cannot be read"):
        open_data(tmp_path / name)


def test_the_embedded_photographs_all_decode() -> None:
    source = open_data("photos").train

    shapes = [source.decode(i).shape for i in range(len(source))]

    assert len(source) >= 12
    assert {shape[0] for shape in shapes} == {1, 3}
    assert min(min(shape[1:]) for shape in shapes) > 250
    assert source.labels is None


def test_the_embedded_digits_fill_the_range() -> None:
    parts = open_data("digits")

    zero = parts.train.decode(0)

    assert len(parts.train) == 1797
    assert parts.train.classes == tuple("0123456789")
    assert classes_of(parts.train)[:3] == ["0", "1", "2"]
    assert zero.shape == (1, 8, 8)
    assert zero[0, 0, :5].tolist() == [0, 0, 80, 207, 143]  # 0 0 5 13 9 of 16
    assert parts.test is None


def test_a_folder_called_photos_comes_before_the_embedded_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "photos/mine.png")
    monkeypatch.chdir(tmp_path)

    assert len(open_data("photos").train) == 1


def test_an_unknown_name_lists_the_embedded_ones() -> None:
    with pytest.raises(SelfsightError, match=r"'no/such/place'.*digits, photos.*cifar10"):
        open_data("no/such/place")


@pytest.mark.parametrize(("typed", "meant"), [("cifar-10", "cifar10"), ("fotos", "photos")])
def test_a_name_nearly_right_gets_a_hint(typed: str, meant: str) -> None:
    with pytest.raises(SelfsightError, match=rf"Did you mean .*{meant}"):
        open_data(typed)


def test_a_single_picture_asks_for_its_folder(tmp_path: Path) -> None:
    with pytest.raises(SelfsightError, match="give the folder"):
        open_data(picture(tmp_path / "1.png"))


def test_another_file_is_told_what_is_supported(tmp_path: Path) -> None:
    (tmp_path / "x.doc").write_text("hello")

    with pytest.raises(SelfsightError, match=r"folder of pictures, a \.parquet.*tar shards"):
        open_data(tmp_path / "x.doc")


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(SelfsightError, match="holds no pictures"):
        open_data(tmp_path)


def test_a_file_lost_after_opening_is_unreadable(tmp_path: Path) -> None:
    from selfsight.data.source import Unreadable

    picture(tmp_path / "d/1.png")
    source = open_data(tmp_path / "d").train
    shutil.rmtree(tmp_path / "d")

    with pytest.raises(Unreadable, match="cannot be opened: No such file"):
        source.decode(0)


def test_caltech30(shared_data: Path) -> None:
    parts = open_data(shared_data / "caltech30")

    assert parts.test is not None
    assert (len(parts.train), len(parts.test), len(parts.train.classes)) == (1200, 600, 30)
    assert parts.train.labels is not None
    assert parts.train.labels.bincount().tolist() == [40] * 30


def test_cifar10(shared_data: Path) -> None:
    parts = open_data(shared_data / "cifar10")

    assert parts.test is not None
    assert (len(parts.train), len(parts.test)) == (50_000, 10_000)
    assert parts.train.classes[:3] == ("airplane", "automobile", "bird")
    assert parts.train.decode(49_999).shape == (3, 32, 32)


def test_pneumoniamnist(shared_data: Path) -> None:
    parts = open_data(shared_data / "pneumoniamnist")

    assert parts.test is not None
    assert (len(parts.train), len(parts.test)) == (4708, 624)
    assert parts.train.classes == ("0", "1")
    assert parts.train.decode(0).shape == (1, 28, 28)
