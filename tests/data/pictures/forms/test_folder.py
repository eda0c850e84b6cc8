"""Folder: which folders are parts, which are classes, and the notes in doubtful cases."""

from pathlib import Path

import pytest
from PIL import Image

from selfsight.data.pictures import open_data
from selfsight.data.source import Parts


def made(root: Path, *names: str) -> Parts:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 8), 100).save(path)
    return open_data(root)


def described(parts: Parts) -> tuple[tuple[str, ...], int, int]:
    """Give the classes, and the numbers of training and test pictures."""
    return parts.train.classes, len(parts.train), 0 if parts.test is None else len(parts.test)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "valid"),
        ("Training", "Testing"),
        ("Train", "Test"),
        ("train", "validation"),
        ("TRAINING", "dev"),
        ("training_set", "test_set"),
        ("train2017", "val2017"),
        ("archive/Training", "archive/Testing"),
        ("a/b/train", "a/b/eval"),
    ],
)
def test_folders_called_like_parts_are_parts(tmp_path: Path, train: str, test: str) -> None:
    parts = made(
        tmp_path,
        *(f"{train}/{name}/{k}.png" for name in ("cat", "dog") for k in range(3)),
        *(f"{test}/{name}/1.png" for name in ("cat", "dog")),
    )

    assert described(parts) == (("cat", "dog"), 6, 2)
    assert parts.train.name == str(tmp_path / train)
    assert parts.train.title(0) == "cat/0.png"
    assert parts.train.notes == ()


def test_what_is_in_neither_part_is_counted(tmp_path: Path) -> None:
    parts = made(
        tmp_path, "train/1.png", "test/1.png", "val/1.png", "val/2.png", "extra/1.png", "logo.png"
    )

    assert described(parts) == ((), 1, 1)
    assert parts.train.notes == (
        f"{tmp_path}: training uses train and testing test; of its pictures, 1 in extra and 2 "
        "in val and 1 in no folder are not used",
    )


@pytest.mark.parametrize(
    ("folders", "why"),
    [
        (("train", "bus"), "beside train one of test and val is needed"),
        (("Training", "Training 2", "Testing"), "several are called like train"),
        (("test", "val"), "none is called train"),
        (("a", "b", "c", "test"), "none is called train"),
    ],
)
def test_classes_that_are_called_like_parts_are_remarked(
    tmp_path: Path, folders: tuple[str, ...], why: str
) -> None:
    parts = made(tmp_path, *(f"{folder}/1.png" for folder in folders))

    assert described(parts) == (tuple(sorted(folders)), len(folders), 0)
    assert len(parts.train.notes) == 1
    assert f"called like parts of the data, as {why}; rename" in parts.train.notes[0]


def test_among_many_classes_train_is_a_vehicle(tmp_path: Path) -> None:
    parts = made(tmp_path, "train/1.png", "bus/1.png", "car/1.png", "boat/1.png")

    assert parts.train.classes == ("boat", "bus", "car", "train")
    assert parts.train.notes == ()


def test_folders_around_everything_are_no_class(tmp_path: Path) -> None:
    parts = made(tmp_path, "archive/pets/cat/1.png", "archive/pets/dog/deep/1.png")

    assert described(parts) == (("cat", "dog"), 2, 0)
    assert parts.train.title(1) == "archive/pets/dog/deep/1.png"


def test_a_stray_picture_beside_class_folders_is_left_out_and_named(tmp_path: Path) -> None:
    names = [f"{name}/{k}.png" for name in ("cat", "dog") for k in range(5)]

    parts = made(tmp_path, *names, "overview.png")

    assert described(parts) == (("cat", "dog"), 10, 0)
    assert parts.train.notes == (
        f"left out of {tmp_path}: overview.png, which lies beside the folders of the 2 classes",
    )


def test_many_pictures_beside_folders_are_kept_without_classes(tmp_path: Path) -> None:
    parts = made(tmp_path, "cat/1.png", "dog/1.png", "1.png", "2.png")

    assert described(parts) == ((), 4, 0)
    assert parts.train.notes == (
        f"{tmp_path}: 2 of 4 pictures lie in no subfolder, so cat, dog are not taken for classes",
    )


def test_tables_beside_pictures_are_said_not_to_be_read(tmp_path: Path) -> None:
    (tmp_path / "train-0.parquet").write_bytes(b"")
    (tmp_path / "features.parquet").write_bytes(b"")  # as embed writes

    notes = made(tmp_path, "cover.png").train.notes

    assert len(notes) == 1
    assert "train-0.parquet beside them is not read" in notes[0]
