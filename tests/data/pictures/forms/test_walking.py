"""Walking: files among the data that are not data are left out, counted and reported."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from selfsight.data.pictures import open_data
from selfsight.data.pictures.files.plugins import PLUGINS, opener_of
from selfsight.data.pictures.files.signature import SIGNED, is_signed
from selfsight.data.pictures.forms.suffixes import is_picture_name, unread_suffix
from selfsight.data.pictures.forms.walking import walked
from selfsight.errors import SelfsightError

NOBODY = 65534


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (200, 100, 50)).save(path, "PNG")
    return path


def drawn(path: Path) -> None:
    """Write a picture as selfsight writes its sheets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = PngInfo()
    for key, text in SIGNED.items():
        texts.add_text(key, text)
    Image.new("RGB", (16, 16)).save(path, pnginfo=texts)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Give up root, which may open every folder, for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize(
    "folder",
    ["@eaDir/1.png", "__MACOSX", "Thumbs", ".thumbnails", "$RECYCLE.BIN/x", "lost+found"],
)
def test_pictures_in_folders_of_other_programs_are_counted_not_read(
    tmp_path: Path, folder: str
) -> None:
    for name in ("cat/1.png", "dog/1.png", f"{folder}/a.png", f"cat/{folder}/b.png"):
        picture(tmp_path / name)

    source = open_data(tmp_path).train

    assert source.classes == ("cat", "dog")
    assert len(source) == 2
    assert source.notes == (
        f"left out of {tmp_path}: 2 pictures in folders of other programs: "
        f"{folder.partition('/')[0]}",
    )


def test_hidden_pictures_are_counted_not_read(tmp_path: Path) -> None:
    for name in ("1.png", "._1.png", ".old/2.png"):
        picture(tmp_path / name)

    source = open_data(tmp_path).train

    assert len(source) == 1
    assert source.notes == (
        f"left out of {tmp_path}: 2 pictures hidden by a name that begins with a dot, such as "
        "._1.png",
    )


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JIF", ".pjpeg", ".mpo"])
def test_every_suffix_of_jpeg_is_read(tmp_path: Path, suffix: str) -> None:
    Image.new("L", (9, 8), 99).save(tmp_path / f"1{suffix}", "JPEG")

    source = open_data(tmp_path).train

    assert source.decode(0).shape == (1, 8, 9)
    assert source.notes == ()


@pytest.mark.parametrize(("suffix", "mode"), [(".pbm", "1"), (".pnm", "RGB"), (".ppm", "RGB")])
def test_other_suffixes_of_known_formats_are_read(tmp_path: Path, suffix: str, mode: str) -> None:
    Image.new(mode, (9, 8), 1 if mode == "1" else (9, 9, 9)).save(tmp_path / f"1{suffix}")

    assert open_data(tmp_path).train.decode(0).shape[1:] == (8, 9)


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.suffixes[0])
def test_what_needs_a_package_is_read_with_it_and_counted_without(plugin: object) -> None:
    found = next(one for one in PLUGINS if one is plugin)
    name = f"1{found.suffixes[0]}"

    assert is_picture_name(name) is (opener_of(found) is not None)
    assert bool(unread_suffix(name)) is (opener_of(found) is None)


def test_an_avif_picture_is_read_upright(tmp_path: Path) -> None:
    if not is_picture_name("1.avif"):
        pytest.skip("this Pillow has no AVIF")
    exif = Image.Exif()
    exif[274] = 6  # its left column is on top
    flat = Image.new("RGB", (32, 16), (0, 0, 0))
    flat.paste((250, 250, 250), (0, 0, 16, 16))
    flat.save(tmp_path / "1.avif", quality=95, exif=exif)

    source = open_data(tmp_path).train
    pixels = source.decode(0)

    assert (source.header(0).height, source.header(0).width) == (32, 16)
    assert pixels.shape == (3, 32, 16)
    assert int(pixels[:, 4].min()) > 200 > 50 > int(pixels[:, 28].max())


def test_formats_that_are_not_read_are_counted_with_what_to_do(tmp_path: Path) -> None:
    picture(tmp_path / "1.png")
    for name in ("a.svg", "b.SVG", "deep/c.cr2", "d.nii.gz", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")

    notes = open_data(tmp_path).train.notes

    assert [note.removeprefix(f"left out of {tmp_path}: ") for note in notes] == [
        "1 picture of a format that is not read, .cr2: save them as .png or .tif",
        "1 picture of a format that is not read, .nii: save them as .png or .tif",
        "2 pictures of a format that is not read, .svg: save them as .png or .tif",
    ]


def test_a_folder_of_what_is_not_read_says_so_where_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scan.dcm").write_bytes(b"x")

    with pytest.raises(SelfsightError, match=r"holds no pictures(.|\n)*not read, \.dcm: save"):
        open_data(tmp_path)


def test_a_folder_that_may_not_be_opened_is_named() -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        root.chmod(0o755)  # of pytest's own folders nobody else may see anything
        for name in ("cat/1.png", "dog/1.png", "owl/1.png"):
            picture(root / name)
        (root / "owl").chmod(0)
        with without_privileges():
            there = walked(root)
        (root / "owl").chmod(0o755)

    assert there.paths == ("cat/1.png", "dog/1.png")
    assert there.left_out.notes == (
        f"left out of {root}: everything in owl, which cannot be opened: Permission denied",
    )


def test_a_run_is_no_class_and_its_pictures_are_none(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/1.png"):
        picture(tmp_path / name)
    for name in ("runs/a/pictures/filters.png", "runs/a/pictures/old.png"):
        picture(tmp_path / name)  # even of versions that did not sign
    for name in ("settings.json", "encoder.json", "encoder.safetensors"):
        (tmp_path / "runs/a" / name).write_text("{}")

    source = open_data(tmp_path).train

    assert (len(source), source.classes) == (2, ("cat", "dog"))
    assert source.notes == (f"left out of {tmp_path}: 2 pictures that selfsight made: runs/a",)


@pytest.mark.parametrize(
    ("sheet", "beside"),
    [
        ("sheet.png", "sheet.json"),
        ("drawn/filters.png", "drawn/filters.png"),
        ("coloured/old.png", "coloured/old-sheet.png"),
        ("results/neighbours.png", "results/neighbours.json"),
    ],
)
def test_sheets_that_selfsight_drew_are_no_pictures(
    tmp_path: Path, sheet: str, beside: str
) -> None:
    for name in ("cat/1.png", "dog/1.png"):
        picture(tmp_path / name)
    drawn(tmp_path / sheet)
    if beside.endswith(".png"):
        drawn(tmp_path / beside)
    else:
        (tmp_path / beside).write_text("{}")

    source = open_data(tmp_path).train

    assert (len(source), source.classes) == (2, ("cat", "dog"))
    assert len(source.notes) == 1
    assert sheet in source.notes[0]
    assert "selfsight made" in source.notes[0]


def test_where_all_pictures_are_selfsights_they_are_meant(tmp_path: Path) -> None:
    for name in ("1.png", "1-sheet.png"):
        drawn(tmp_path / name)

    source = open_data(tmp_path).train

    assert len(source) == 2
    assert source.notes == (f"all 2 pictures of {tmp_path} were made by selfsight",)


def test_a_picture_of_another_program_is_not_signed(tmp_path: Path) -> None:
    drawn(tmp_path / "ours.png")

    assert is_signed(tmp_path / "ours.png")
    assert not is_signed(picture(tmp_path / "theirs.png"))
    assert not is_signed(tmp_path / "lost.png")
