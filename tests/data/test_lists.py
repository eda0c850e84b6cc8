"""Lists: what each column means, and every way a list can be wrong, by its line."""

from pathlib import Path

import pytest
from PIL import Image

from selfsight.data import Unreadable, open_data
from selfsight.data.source import Source
from selfsight.errors import SelfsightError


def picture(path: Path, value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (9, 8), value).save(path)


def titles(source: Source) -> list[str]:
    return [source.title(i) for i in range(len(source))]


def classes_of(source: Source) -> list[str]:
    assert source.labels is not None
    return [source.classes[k] for k in source.labels.tolist()]


def written(folder: Path, text: str, name: str = "list.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_text_file_names_a_picture_a_line(tmp_path: Path) -> None:
    picture(tmp_path / "a/1.png", 11)
    picture(tmp_path / "a picture, with a comma.png", 22)
    path = written(
        tmp_path, "# mine\n\na/1.png\n   \n  a picture, with a comma.png  \n", "list.txt"
    )

    source = open_data(path).train

    assert titles(source) == ["a/1.png", "a picture, with a comma.png"]
    assert [int(source.decode(i)[0, 0, 0]) for i in range(2)] == [11, 22]
    assert (source.classes, source.labels) == ((), None)


def test_columns_go_by_name_whatever_their_order(tmp_path: Path) -> None:
    picture(tmp_path / "x, y.png", 33)
    text = '\ufeffid, Label ,path\n1,"dog, small","x, y.png"\n\n2,cat,lost.png\n'

    source = open_data(written(tmp_path, text)).train

    assert titles(source) == ["x, y.png", "lost.png"]
    assert classes_of(source) == ["dog, small", "cat"]
    assert int(source.decode(0)[0, 0, 0]) == 33


def test_without_a_column_path_the_first_names_the_pictures(tmp_path: Path) -> None:
    source = open_data(written(tmp_path, "file,label\na.png,1\n")).train

    assert titles(source) == ["a.png"]


def test_a_lost_picture_is_unreadable_not_an_error_at_opening(tmp_path: Path) -> None:
    source = open_data(written(tmp_path, "path\nlost.png\n")).train

    with pytest.raises(Unreadable, match="not there; relative paths start at"):
        source.decode(0)
    with pytest.raises(Unreadable, match="not there; relative paths start at"):
        source.header(0)


def test_splits_are_parts_with_the_same_class_numbers(tmp_path: Path) -> None:
    text = "path,label,split\na,10,train\nb,9,Train\nc,10,test\nd,8,train\ne,9,valid\n"

    parts = open_data(written(tmp_path, text))

    assert parts.test is not None
    assert parts.train.classes == parts.test.classes == ("8", "9", "10")
    assert classes_of(parts.train) == ["10", "9", "8"]
    assert classes_of(parts.test) == ["10"]
    assert list(parts.train.stamp()) != list(parts.test.stamp())


def test_a_validation_part_stands_in_for_a_test_part(tmp_path: Path) -> None:
    parts = open_data(written(tmp_path, "path,split\na,train\nb,validation\n"))

    assert parts.test is not None
    assert titles(parts.test) == ["b"]


def test_labels_that_are_all_empty_are_no_labels(tmp_path: Path) -> None:
    assert open_data(written(tmp_path, "path,label\na,\nb\n")).train.labels is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("path,split\na,train\nb,later\n", "'later' in line 3"),
        ("path,split\na,test\n", "no picture to train"),
        ("path,label\n,1\n", "none in line 2"),
        ("path,label\n", "names no picture"),
        ("", "names no picture"),
        ("a.png,cat\nb.png,dog\n", r"needs a header.*'a\.png'"),
        ('path\n"a.png\n', "not well-formed CSV"),
    ],
)
def test_a_wrong_list_is_refused_by_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SelfsightError, match=sentence):
        open_data(written(tmp_path, text))


def test_another_encoding_is_told_to_be_utf8(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes("Jürgen.png".encode("latin-1"))

    with pytest.raises(SelfsightError, match=r"another byte at place 1\. Save it as UTF-8"):
        open_data(tmp_path / "list.txt")


def test_the_stamp_changes_with_the_list_and_with_each_picture(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    path = written(tmp_path, "path\na.png\nlost.png\n")
    first = list(open_data(path).train.stamp())

    picture(tmp_path / "lost.png")
    second = list(open_data(path).train.stamp())
    written(tmp_path, "path,x\na.png\nlost.png\n")
    third = list(open_data(path).train.stamp())

    assert len({tuple(stamp) for stamp in (first, second, third)}) == 3


def test_a_list_and_a_folder_number_their_classes_alike(tmp_path: Path) -> None:
    names = [f"{label}/{k}.png" for label in ("10", "9", "2") for k in range(2)]
    for name in names:
        picture(tmp_path / "pictures" / name)
    rows = "".join(f"pictures/{name},{name.split('/')[0]}\n" for name in names)

    listed = open_data(written(tmp_path, "path,label\n" + rows)).train

    assert listed.classes == open_data(tmp_path / "pictures").train.classes == ("2", "9", "10")
