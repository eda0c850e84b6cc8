"""Lists: what each column means, and every mistake in a list, reported with its line."""

from pathlib import Path

import pytest
from PIL import Image

from selfsight.data.pictures import open_data
from selfsight.data.pictures.source import PictureSource
from selfsight.data.source import Unreadable
from selfsight.errors import SelfsightError


def picture(path: Path, value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (9, 8), value).save(path)


def titles(source: PictureSource) -> list[str]:
    return [source.title(i) for i in range(len(source))]


def classes_of(source: PictureSource) -> list[str]:
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

    with pytest.raises(Unreadable, match="does not exist; relative paths start at"):
        source.decode(0)
    with pytest.raises(Unreadable, match="does not exist; relative paths start at"):
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

    with pytest.raises(SelfsightError, match=r"an invalid byte at position 1\. Save it as UTF-8"):
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


C = ("cat", "a dog")


def pictures_of_a_list(folder: Path) -> None:
    for k in range(4):
        picture(folder / f"images/{k:03d}.png", 10 * k)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (",path,label", "{k},images/{k:03d}.png,{c}"),
        ("Unnamed: 0,filename,label", "{k},images/{k:03d}.png,{c}"),
        ("\ufeffpath;label", "images/{k:03d}.png;{c}"),
        ("path\tlabel", "images/{k:03d}.png\t{c}"),
        ("sep=;\npath;label", "images/{k:03d}.png;{c}"),
        ("id,label", "images/{k:03d},{c}"),
        ("image_id,label", "{k:03d},{c}"),
        ("path,label", "images\\{k:03d}.png,{c}"),
        ("path,label", "C:\\data\\images\\{k:03d}.png,{c}"),
        ("path,label", "/kaggle/input/images/{k:03d}.png,{c}"),
        ("path, label", 'images/{k:03d}.png, "{c}"'),
        ("label,path", "{c},images/{k:03d}.png"),
        ("label,picture of a cat", "{c},images/{k:03d}.png"),
        ("File Name,Class", "images/{k:03d}.png,{c}"),
        ("file,Category", "images/{k:03d}.png,{c}"),
        ("image,target", "images/{k:03d}.png,{c}"),
        ("index,photograph,label", "{k},images/{k:03d}.png,{c}"),
        ("path,label,,", "images/{k:03d}.png,{c},,"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_is_read_as_pandas_spreadsheets_and_contests_leave_it(
    tmp_path: Path, header: str, row: str, end: str
) -> None:
    pictures_of_a_list(tmp_path)
    rows = [row.format(k=k, c=C[k % 2]) for k in range(4)]
    (tmp_path / "list.csv").write_text(
        end.join([*header.split("\n"), *rows, ""]), encoding="utf-8", newline=""
    )

    source = open_data(tmp_path / "list.csv").train

    assert classes_of(source) == ["cat", "a dog", "cat", "a dog"]
    assert [int(source.decode(i)[0, 0, 0]) for i in range(4)] == [0, 10, 20, 30]


def test_pictures_found_elsewhere_are_said_to_be(tmp_path: Path) -> None:
    pictures_of_a_list(tmp_path)
    path = written(tmp_path, "id,label\n000,cat\n001,dog\nlost,cat\n")

    source = open_data(path).train

    assert titles(source) == ["images/000.png", "images/001.png", "lost"]
    assert source.notes == (
        f"no picture of {path} exists as written; 2 of 3 were found by the end of their paths, "
        "'000' as images/000.png",
    )


def test_a_name_that_two_pictures_have_is_neither(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png", "b/2.png"):
        picture(tmp_path / name)

    source = open_data(written(tmp_path, "path\n1.png\n2.png\n")).train

    assert titles(source) == ["1.png", "b/2.png"]


def test_where_some_pictures_are_there_a_lost_one_is_not_sought(tmp_path: Path) -> None:
    for name in ("1.png", "copies/2.png"):
        picture(tmp_path / name)

    source = open_data(written(tmp_path, "path\n1.png\n2.png\n")).train

    assert titles(source) == ["1.png", "2.png"]
    assert source.notes == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("path,label\na.png,crane, bird\n", "no more cells than the header, 2; .* has 3 in line 2"),
        ('path,label\na.png,"crane, bird"\nb.png,robin, bird\n', "has 3 in line 3"),
        ("path,label,label\na.png,1,2\n", "`label` 2 times"),
        ("a.png 0\nb.png 1\n", "needs a header.* or call it .txt"),
        ("path,split\na.png,0\n", "'0' in line 2. Correct it, or rename the column"),
    ],
)
def test_what_a_list_leaves_open_is_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SelfsightError, match=sentence):
        open_data(written(tmp_path, text))


@pytest.mark.parametrize("empty", ["", "nan", "NaN", "<NA>"])
def test_what_pandas_writes_for_nothing_is_no_label(tmp_path: Path, empty: str) -> None:
    source = open_data(written(tmp_path, f"path,label\na.png,{empty}\nb.png,{empty}\n")).train

    assert (source.labels, source.unlabelled) == (None, "")


def test_a_row_without_a_label_stands_in_the_way_of_labels_alone(tmp_path: Path) -> None:
    source = open_data(written(tmp_path, "path,label\na.png,1\nb.png,\nc.png,2\n")).train

    assert (len(source), source.labels) == (3, None)
    assert "has none in line 3" in source.unlabelled


@pytest.mark.parametrize("between", [" ", "\t", ",", ", "])
def test_a_text_file_may_have_a_class_behind_each_picture(tmp_path: Path, between: str) -> None:
    lines = [f"my pictures/{k}.JPEG{between}{C[k % 2]}" for k in range(3)]

    source = open_data(written(tmp_path, "\n".join(lines), "list.txt")).train

    assert titles(source) == [f"my pictures/{k}.JPEG" for k in range(3)]
    assert classes_of(source) == ["cat", "a dog", "cat"]


def test_validation_rows_beside_test_rows_are_said_to_be_unused(tmp_path: Path) -> None:
    text = "path,split\na.png,Training\nb.png,valid\nc.png,Testing\nd.png,dev\n"

    parts = open_data(written(tmp_path, text))

    assert parts.test is not None
    assert (titles(parts.train), titles(parts.test)) == (["a.png"], ["c.png"])
    assert [note.partition(": ")[2] for note in parts.train.notes] == [
        "testing uses the test part; the validation part, 2 rows, is not used"
    ]
