"""Shards: tar files by their samples, classes and parts; cut, compressed and odd ones too."""

import io
import json
import re
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from selfsight.data.pictures import open_data
from selfsight.data.pictures.source import PictureSource
from selfsight.errors import SelfsightError


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (9, 8), value).save(file, "PNG")
    return file.getvalue()


def shard(path: Path, members: dict[str, bytes | str], *, mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:  # pyright: ignore[reportCallIssue, reportArgumentType] -- a mode
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def labelled(*pairs: tuple[int, str]) -> dict[str, bytes | str]:
    members: dict[str, bytes | str] = {}
    for k, (value, label) in enumerate(pairs):
        members[f"{k:04d}.png"], members[f"{k:04d}.cls"] = png(value), label
    return members


def values(source: PictureSource) -> list[int]:
    return [int(source.decode(i)[0, 0, 0]) for i in range(len(source))]


def classes_of(source: PictureSource) -> list[str]:
    assert source.labels is not None
    return [source.classes[k] for k in source.labels.tolist()]


def test_samples_are_grouped_by_what_stands_before_the_first_dot(tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {
        "a/1.cls": "10",
        "a/1.txt": "a caption",
        "a/1.png": png(11),
        "a/1.seg.png": png(99),
        "b/1.mask.png": png(22),
        "b/1.cls": "9\n",
        "a/notes": "no suffix",
        "c/3.txt": "no picture",
        ".hidden.png": png(77),
    }

    source = open_data(shard(tmp_path / "x.tar", members)).train

    assert [source.title(i) for i in range(len(source))] == ["x.tar/a/1.png", "x.tar/b/1.mask.png"]
    assert values(source) == [11, 22]
    assert classes_of(source) == ["10", "9"]
    assert source.classes == ("9", "10")
    assert source.header(0).channels == 1


@pytest.mark.parametrize("key", ["label", "cls"])
@pytest.mark.parametrize("label", ["dog", 7])
def test_classes_may_stand_in_json(tmp_path: Path, key: str, label: str | int) -> None:
    members = {"1.json": json.dumps({"width": 9, key: label}), "1.png": png(1)}

    assert open_data(shard(tmp_path / "x.tar", members)).train.classes == (str(label),)


def test_json_without_a_class_is_no_label(tmp_path: Path) -> None:
    members = {"1.png": png(1), "1.json": '{"width": 9}'}

    assert open_data(shard(tmp_path / "x.tar", members)).train.labels is None


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"1.png": b"", "1.cls": "5", "2.png": b""}, r"none for x\.tar/2\.png"),
        ({"1.png": b"", "1.json": '{"label": [1]}'}, r"whole number or a word, not \[1\]"),
        ({"1.png": b"", "1.json": "{"}, r"class of x\.tar/1\.png .* cannot be read"),
        ({"1.png": b"", "1.json": "[" * 100_000}, r"class of x\.tar/1\.png .* cannot be read"),
        ({"1.png": b"", "1.cls": b"\xff"}, r"class of x\.tar/1\.png .* cannot be read"),
    ],
)
def test_odd_classes_are_left_out_by_name(
    tmp_path: Path, members: dict[str, bytes | str], sentence: str
) -> None:
    source = open_data(shard(tmp_path / "x.tar", members)).train

    assert source.labels is None
    assert re.search(sentence, source.unlabelled)


def test_a_shard_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SelfsightError, match="holds no pictures"):
        open_data(shard(tmp_path / "x.tar", {"1.txt": "x"}))


def test_shards_are_named_by_braces(tmp_path: Path) -> None:
    for k in range(8, 12):
        shard(tmp_path / f"s-{k:03d}.tar", {"1.png": png(k)})

    source = open_data(f"{tmp_path}/s-{{009..011}}.tar").train

    assert values(source) == [9, 10, 11]
    assert len(set(source.stamp())) == 3


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("{0..2}.tar", "3 shards, of which 3 do not exist"),
        ("{5..2}.tar", "must rise"),
        ("{0..99999999999}.tar", "at most 100000"),
        ("{0..999}{0..999}.tar", "names 1000000"),
        ("{0..2}.tar.gz", "uncompressed tar"),
    ],
)
def test_braces_that_name_nothing_are_refused(pattern: str, sentence: str) -> None:
    with pytest.raises(SelfsightError, match=sentence):
        open_data(pattern)


def test_a_folder_has_parts_by_the_names_of_shards(tmp_path: Path) -> None:
    shard(tmp_path / "train-1.tar", labelled((1, "a"), (2, "b")))
    shard(tmp_path / "train-2.tar", labelled((3, "c")))
    shard(tmp_path / "val-1.tar", labelled((4, "b")))

    parts = open_data(tmp_path)

    assert parts.test is not None
    assert values(parts.train) == [1, 2, 3]
    assert values(parts.test) == [4]
    assert parts.test.classes == ("a", "b", "c")
    assert classes_of(parts.test) == ["b"]


def test_a_folder_has_parts_by_its_subfolders(tmp_path: Path) -> None:
    shard(tmp_path / "train/0.tar", labelled((1, "a"), (2, "b")))
    shard(tmp_path / "test/0.tar", labelled((4, "b")))

    parts = open_data(tmp_path)

    assert parts.test is not None
    assert (values(parts.train), values(parts.test)) == ([1, 2], [4])


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("imagenet1k-train-0000", "imagenet1k-validation-00"),
        ("training-0", "testing-0"),
        ("TRAIN_000", "Valid.000"),
        ("0train", "1val"),
    ],
)
def test_the_part_may_stand_anywhere_in_a_name(tmp_path: Path, train: str, test: str) -> None:
    shard(tmp_path / f"{train}.tar", {"0.png": png(1)})
    shard(tmp_path / f"{test}.tar", {"0.png": png(2)})

    folder, braces = open_data(tmp_path), open_data(f"{tmp_path}/{{{train},{test}}}.tar")

    for parts in (folder, braces):
        assert parts.test is not None
        assert (values(parts.train), values(parts.test)) == ([1], [2])


def test_test_shards_are_preferred_to_validation_shards(tmp_path: Path) -> None:
    for k, part in enumerate(("train", "val", "test")):
        shard(tmp_path / f"{part}-0.tar", {"0.png": png(k)})

    parts = open_data(tmp_path)

    assert parts.test is not None
    assert (values(parts.train), values(parts.test)) == ([0], [2])


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("train-0", "test-0", "extra-0"), r"test-0\.tar does and extra-0\.tar does not"),
        (("train-0", "extra-0"), "must name its part, or none"),
        (("val-0", "test-0"), "called test and val"),
        (("train-0", "train-and-val-1"), "names train and val"),
    ],
)
def test_names_that_leave_the_parts_open_are_refused(
    tmp_path: Path, names: tuple[str, ...], sentence: str
) -> None:
    for name in names:
        shard(tmp_path / f"{name}.tar", {"0.png": png(1)})

    with pytest.raises(SelfsightError, match=sentence):
        open_data(tmp_path)


def test_shards_of_one_part_are_all_there_is(tmp_path: Path) -> None:
    for k in range(2):
        shard(tmp_path / f"imagenet-validation-{k}.tar", {"0.png": png(k)})

    parts = open_data(tmp_path)

    assert parts.test is None
    assert values(parts.train) == [0, 1]


def test_titles_tell_the_shard(tmp_path: Path) -> None:
    for place in ("a/0.tar", "a/1.tar", "b/0.tar"):
        shard(tmp_path / place, {"0.png": png(1)})

    one, several = open_data(f"{tmp_path}/a/{{0,1}}.tar"), open_data(f"{tmp_path}/{{a,b}}/0.tar")

    assert [one.train.title(i) for i in range(2)] == ["0.tar/0.png", "1.tar/0.png"]
    assert [several.train.title(i) for i in range(2)] == ["a/0.tar/0.png", "b/0.tar/0.png"]


OPENED: list[str] = []  # every file that is opened, while this is not empty


def note_opened(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and OPENED:
        OPENED.append(str(arguments[0]))


def test_a_shard_is_not_opened_once_a_label(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", labelled(*((k, "ab"[k % 2]) for k in range(50))))
    sys.addaudithook(note_opened)  # never to be removed, hence the list
    OPENED.append("start")

    source = open_data(path).train

    count = OPENED.count(str(path))
    OPENED.clear()
    assert classes_of(source) == ["a", "b"] * 25
    assert 1 <= count <= 8  # Python tells of each opening twice


def test_shards_of_other_names_are_one_part(tmp_path: Path) -> None:
    shard(tmp_path / "trains.tar", {"1.png": png(1)})
    shard(tmp_path / "planes.tar", {"1.png": png(2)})

    parts = open_data(tmp_path)

    assert parts.test is None
    assert values(parts.train) == [2, 1]


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tgz"])
def test_a_compressed_shard_is_told_to_be_unpacked(tmp_path: Path, name: str) -> None:
    path = shard(tmp_path / name, {"1.png": png(1)}, mode="w:gz")

    for place in (path, tmp_path):
        with pytest.raises(SelfsightError, match="Unpack it once, with gunzip"):
            open_data(place)


def test_a_compressed_tar_called_tar_is_refused(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", {"1.png": png(1)}, mode="w:gz")

    with pytest.raises(SelfsightError, match="give an uncompressed tar"):
        open_data(path)


def test_of_a_shard_cut_short_the_whole_samples_are_kept(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", labelled((1, "a"), (2, "b"), (3, "c")))
    whole = path.read_bytes()
    # Each member is a header and a block: 0.png 0.cls 1.png 1.cls 2.png 2.cls
    for kept, expected in ((512 * 12, [1, 2, 3]), (512 * 9 + 10, [1, 2]), (512 * 5, [1])):
        path.write_bytes(whole[:kept])

        source = open_data(path).train

        assert values(source) == expected
        assert classes_of(source) == ["a", "b", "c"][: len(expected)]
        assert "x.tar is damaged or cut short" in "".join(source.notes)


def test_a_shard_cut_before_its_first_picture_ends_is_refused(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", labelled((1, "a")))
    path.write_bytes(path.read_bytes()[:530])

    with pytest.raises(SelfsightError, match="no picture in it is complete"):
        open_data(path)


def test_after_a_damaged_header_nothing_is_taken(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", labelled((1, "a"), (2, "b"), (3, "c")))
    damaged = bytearray(path.read_bytes())
    damaged[512 * 8 : 512 * 8 + 100] = b"\xff" * 100  # the header of 2.png
    path.write_bytes(damaged)

    assert values(open_data(path).train) == [1]  # of 1 it is not known whether all is there


def test_a_negative_size_does_not_go_round_for_ever(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", labelled((1, "a"), (2, "b")))
    damaged = bytearray(path.read_bytes())
    header = tarfile.TarInfo("0001.png")
    header.size = -1024
    damaged[512 * 4 : 512 * 5] = header.tobuf(tarfile.GNU_FORMAT)[:512]
    path.write_bytes(damaged)

    assert values(open_data(path).train) == [1]


def test_links_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            info = tarfile.TarInfo("1.png")
            info.type, info.linkname = kind, "/etc/hostname"
            tar.addfile(info)

    with pytest.raises(SelfsightError, match="holds no pictures"):
        open_data(path)


def test_threads_read_the_same_shard_at_once(tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {f"{k}.png": png(k) for k in range(200)}
    source = open_data(shard(tmp_path / "x.tar", members)).train

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: int(source.decode(i)[0, 0, 0]), range(200)))

    assert found == list(range(200))


def test_names_with_a_dot_of_their_own_keep_their_classes(tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {}
    for k in range(6):
        members[f"p{k}_1.5mm.png"], members[f"p{k}_1.5mm.cls"] = png(k), str(k % 2)

    source = open_data(shard(tmp_path / "x.tar", members)).train

    assert values(source) == list(range(6))
    assert classes_of(source) == ["0", "1"] * 3


def test_pictures_that_a_first_dot_would_join_are_parted_at_the_last(tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {}
    for k in range(6):
        name = f"a/{k // 2:02d}.{k % 2}0"
        members[f"{name}.png"], members[f"{name}.cls"] = png(k), f"class {k}"

    source = open_data(shard(tmp_path / "x.tar", members)).train

    assert values(source) == list(range(6))
    assert classes_of(source) == [f"class {k}" for k in range(6)]
    assert source.title(1) == "x.tar/a/00.10.png"
    assert source.notes == ()


def test_unlabelled_pictures_with_a_digit_behind_the_dot_are_parted_too(tmp_path: Path) -> None:
    members = {f"2024.{month:02d}.png": png(month) for month in (1, 2, 3)}

    assert values(open_data(shard(tmp_path / "x.tar", {**members})).train) == [1, 2, 3]


@pytest.mark.parametrize("label", ["1.cls", "1.rgb.cls", "1.json"])
def test_pictures_of_one_sample_stay_together_and_the_others_are_counted(
    tmp_path: Path, label: str
) -> None:
    text = '{"label": "cat"}' if label.endswith("json") else "cat"
    members: dict[str, bytes | str] = {"1.rgb.png": png(1), "1.depth.png": png(2), label: text}

    source = open_data(shard(tmp_path / "x.tar", members)).train

    assert values(source) == [1]
    assert classes_of(source) == ["cat"]
    assert source.notes == (
        f"left out of {tmp_path / 'x.tar'}: 1 picture after the first of their samples",
    )


def test_of_two_members_of_one_name_the_last_counts_picture_and_class(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", labelled((1, "red"), (2, "red")))
    shard(path, labelled((3, "blue")), mode="a")

    source = open_data(path).train

    assert values(source) == [3, 2]
    assert classes_of(source) == ["blue", "red"]
    assert source.notes == (f"left out of {path}: 1 picture followed by another of the same name",)


@pytest.mark.parametrize(
    ("kind", "leads_to"), [(tarfile.LNKTYPE, "a/1.png"), (tarfile.SYMTYPE, "../a/1.png")]
)
def test_a_link_counts_as_what_it_leads_to_in_the_same_tar(
    tmp_path: Path, kind: bytes, leads_to: str
) -> None:
    path = shard(tmp_path / "x.tar", {"a/1.png": png(7), "a/1.cls": "cat", "b/2.cls": "dog"})
    with tarfile.open(path, "a") as tar:
        for name, target in (("b/2.png", leads_to), ("b/3.png", "../../elsewhere/9.png")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)

    source = open_data(path).train

    assert values(source) == [7, 7]
    assert classes_of(source) == ["cat", "dog"]
    assert source.notes == (
        f"left out of {path}: 1 link without a target in the same tar, such as x.tar/b/3.png",
    )


def test_what_other_programs_leave_in_a_tar_is_counted(tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {
        "1.png": png(1),
        "._1.png": png(2),
        "__MACOSX/1.png": png(3),
        "@eaDir/1.png/thumb.png": png(4),
        "2.heics.svg": "<svg/>",
    }

    source = open_data(shard(tmp_path / "x.tar", members)).train

    assert values(source) == [1]
    assert [note.rpartition("x.tar: ")[2] for note in source.notes] == [
        "2 pictures in folders of other programs: __MACOSX, @eaDir",
        "1 picture hidden by a name that begins with a dot, such as ._1.png",
        "1 picture of a format that is not read, .svg: save them as .png or .tif",
    ]


def test_names_that_begin_at_the_tars_own_folder_are_plain(tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {"./a/1.png": png(1), "./a/1.cls": "cat"}

    source = open_data(shard(tmp_path / "x.tar", members)).train

    assert source.title(0) == "x.tar/a/1.png"
    assert classes_of(source) == ["cat"]
