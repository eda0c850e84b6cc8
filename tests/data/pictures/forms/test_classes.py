"""Classes: labels of every kind in every form are read, or the reason why not is kept."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import selfsight
from selfsight.data.pictures import open_data
from selfsight.data.pictures.forms.classes import classes_of, several_a_picture
from selfsight.data.source import labels_of
from selfsight.errors import SelfsightError

COUNT = 12
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 9, 8), dtype=np.uint8)


@pytest.mark.parametrize(
    ("values", "classes", "numbers"),
    [
        ([10, 9, 10], ("9", "10"), [1, 0, 1]),
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        (["10", "9"], ("9", "10"), [1, 0]),
        ([1.0, 0.0, 1.0], ("0", "1"), [1, 0, 1]),
        ([True, False], ("false", "true"), [1, 0]),
        ([0.5, 1.0, 0.5, 1.0], ("0.5", "1"), [0, 1, 0, 1]),  # grades: few, each more than once
        (["2.5 kg", "1.5 kg"], ("1.5 kg", "2.5 kg"), [1, 0]),
        (["nan", "inf"], ("inf", "nan"), [1, 0]),  # words, in a list of words
        ([-1, 1], ("-1", "1"), [0, 1]),
    ],
)
def test_values_that_are_classes_are_numbered(
    values: list[object], classes: tuple[str, ...], numbers: list[int]
) -> None:
    found = classes_of(values, "x")

    assert (found.classes, found.reason) == (classes, "")
    assert found.numbers is not None
    assert found.numbers.tolist() == numbers


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([1, None, 2], "x has no label in row 1; fill it in"),
        ([1.0, float("nan"), float("nan")], "x has no label in row 1 and in 1 more; fill"),
        ([0.5, 0.25, 3.0], "x holds decimals of 3 different values, such as 0.25, which look like"),
        (["0.5", "0.25", "3"], "x holds decimals of 3 different values"),
        ([k / 8 for k in range(1000)], "decimals of 1,000 different values"),
        ([[0, 1], [1]], r"x has [0, 1] in row 0: several labels a picture are not read"),
        ([{"bytes": b"1"}], "x has {'bytes': b'1'} in row 0: pictures as labels are not read"),
        (["a", 1], "x holds values of kinds int and str; write all as words"),
    ],
)
def test_values_that_are_no_classes_are_told(values: list[object], sentence: str) -> None:
    found = classes_of(values, "x")

    assert (found.classes, found.numbers) == ((), None)
    assert sentence in found.reason


@pytest.mark.parametrize("values", [[None, None], [float("nan")]])
def test_nothing_but_missing_labels_are_no_labels(values: list[object]) -> None:
    assert classes_of(values, "x") == ((), None, "")


def test_the_shape_of_labels_tells_what_they_are() -> None:
    assert several_a_picture((5,), 5, "x") == several_a_picture((5, 1), 5, "x") == ""
    assert "several labels a picture" in several_a_picture((5, 14), 5, "x")
    assert "masks" in several_a_picture((5, 8, 8), 5, "x")
    assert "there are 5 pictures" in several_a_picture((6,), 5, "x")
    assert "there are 5 pictures" in several_a_picture((), 5, "x")


def npz(folder: Path, labels: object) -> Path:
    np.savez(folder / "x.npz", images=IMAGES, labels=np.array(labels))
    return folder / "x.npz"


def npy(folder: Path, labels: object) -> Path:
    np.save(folder / "images.npy", IMAGES)
    np.save(folder / "labels.npy", np.array(labels))
    return folder


def parquet(folder: Path, labels: object) -> Path:
    pngs = [struct.pack("B", k) for k in range(COUNT)]  # never decoded here
    pq.write_table(pa.table({"image": pngs, "label": labels}), folder / "x.parquet")
    return folder / "x.parquet"


SEVERAL = [[k % 2, 1, 0] for k in range(COUNT)]
MEASURED = [k / 7 for k in range(COUNT)]
MASKS = [[[k, k], [k, k]] for k in range(COUNT)]


@pytest.mark.parametrize("form", [npz, npy, parquet])
@pytest.mark.parametrize(
    ("labels", "word"), [(SEVERAL, "several labels"), (MEASURED, "measurements")]
)
def test_labels_that_are_none_leave_the_pictures_readable(
    tmp_path: Path, form: Callable[[Path, object], Path], labels: object, word: str
) -> None:
    source = open_data(form(tmp_path, labels)).train

    assert len(source) == COUNT
    assert (source.classes, source.labels) == ((), None)
    assert word in source.unlabelled
    with pytest.raises(SelfsightError, match=rf"^a probe needs labels, and .*{word}.*; or give"):
        labels_of(source, "a probe", "give others")


@pytest.mark.parametrize("form", [npz, npy])
def test_masks_as_labels_leave_the_pictures_readable(
    tmp_path: Path, form: Callable[[Path, object], Path]
) -> None:
    assert "masks" in open_data(form(tmp_path, MASKS)).train.unlabelled


def test_pictures_in_a_parquet_column_of_labels_leave_the_others_readable(tmp_path: Path) -> None:
    masks = pa.array([{"bytes": b"1"}] * COUNT, pa.struct([("bytes", pa.binary())]))
    path = parquet(tmp_path, masks)

    assert "masks" in open_data(path).train.unlabelled


def test_objects_as_labels_are_never_unpickled_and_leave_the_pictures_readable(
    tmp_path: Path,
) -> None:
    path = npz(tmp_path, [{}] * COUNT)

    assert "cannot be read as arrays of numbers" in open_data(path).train.unlabelled


def test_labels_of_one_class_are_told_to_who_needs_two(tmp_path: Path) -> None:
    source = open_data(npz(tmp_path, [3] * COUNT)).train

    assert source.unlabelled == ""
    with pytest.raises(SelfsightError, match=r"everything in .* class '3'; add"):
        labels_of(source, "a probe", "give others")


def test_why_labels_are_left_out_stays_with_some_of_the_pictures(tmp_path: Path) -> None:
    source = open_data(npz(tmp_path, SEVERAL)).train

    assert source.subset(torch.arange(3)).unlabelled == source.unlabelled


@pytest.mark.slow  # trains for a few steps
def test_pretraining_and_every_look_go_without_labels_and_a_probe_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))
    data = str(npz(tmp_path, SEVERAL))
    run = selfsight.pretrain(
        data, "rotation", out=str(tmp_path / "run"), samples=32, batch=8, precision="f32"
    )

    with pytest.raises(SelfsightError, match=r"a probe needs labels, .* several labels a picture"):
        selfsight.probe(run, quick=True)
    assert selfsight.embed(run, out=tmp_path / "out.npz")["classes"] == 0
    assert json.loads(json.dumps(selfsight.neighbours(run, queries=1, count=2)))["chance"] is None
    assert capsys.readouterr().err.count("labels are left out: `labels` of") == 1
