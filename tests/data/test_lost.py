"""Lost: data that is cut, removed or replaced while it is read gives a message, and no hang."""

import os
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from selfsight.data.file_array import FileArray
from selfsight.data.pictures import Pictures, open_data, read
from selfsight.data.pictures.canvases import Canvases
from selfsight.data.pictures.source import PictureSource
from selfsight.data.source import Lost, Unreadable
from selfsight.errors import SelfsightError

COUNT = 40


def pictures(folder: Path) -> list[Path]:
    """Write pictures into a folder, each all of one value."""
    folder.mkdir()
    for i in range(COUNT):
        Image.new("L", (16, 16), i).save(folder / f"{i:02d}.png")
    return sorted(folder.iterdir())


def of_folder(root: Path) -> Path:
    pictures(root / "folder")
    return root / "folder"


def of_list(root: Path) -> Path:
    pictures(root / "listed")
    (root / "x.txt").write_text("".join(f"listed/{i:02d}.png\n" for i in range(COUNT)))
    return root / "x.txt"


def of_tar(root: Path) -> Path:
    with tarfile.open(root / "x.tar", "w") as tar:
        for path in pictures(root / "source"):
            tar.add(path, path.name)
    return root / "x.tar"


def of_parquet(root: Path) -> Path:
    files = [path.read_bytes() for path in pictures(root / "source")]
    pq.write_table(pa.table({"image": files}), root / "x.parquet", row_group_size=4)
    return root / "x.parquet"


def of_npy(root: Path) -> Path:
    np.save(root / "x.npy", np.zeros((COUNT, 64, 64), np.uint8))
    return root / "x.npy"


def of_npy_in_fortran_order(root: Path) -> Path:
    np.save(root / "x.npy", np.zeros((COUNT, 64, 64), np.uint8, order="F"))
    return root / "x.npy"


def of_npy_folder(root: Path) -> Path:
    (root / "arrays").mkdir()
    np.save(root / "arrays" / "images.npy", np.zeros((COUNT, 64, 64), np.uint8))
    np.save(root / "arrays" / "labels.npy", np.arange(COUNT) % 2)
    return root / "arrays"


def of_idx(root: Path) -> Path:
    header = struct.pack(">4L", 0x803, COUNT, 64, 64)
    (root / "x-images-idx3-ubyte").write_bytes(header + bytes(COUNT * 64 * 64))
    return root / "x-images-idx3-ubyte"


FORMS = (
    of_folder, of_list, of_tar, of_parquet, of_npy, of_npy_in_fortran_order, of_npy_folder, of_idx,
)  # fmt: skip


def files_of(place: Path) -> list[Path]:
    """List the files that hold the pictures."""
    if place.suffix == ".txt":
        place = place.parent / "listed"
    return sorted(place.iterdir()) if place.is_dir() else [place]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


LOSSES: tuple[Callable[[Path], None], ...] = (
    cut,
    Path.unlink,
    to_pipe,
    to_folder,
    to_link_to_itself,
)


def streamed(source: PictureSource) -> Pictures:
    found = read(source, side=16, storage="stream")
    assert isinstance(found.images, Canvases)
    return found


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("form", FORMS)
def test_data_lost_between_listing_and_reading_is_told(
    tmp_path: Path, form: Callable[[Path], Path], lose: Callable[[Path], None]
) -> None:
    source = open_data(form(tmp_path)).train
    before = streamed(source)
    for path in files_of(Path(source.name)):
        lose(path)

    if form is of_npy_in_fortran_order or (
        lose is not cut and form in (of_npy, of_npy_folder, of_idx)
    ):
        # An open file stays readable whatever happens to its name; so do rows already in memory.
        assert len(read(source, side=16, storage="memory")) == COUNT
        return
    rows = torch.arange(COUNT)
    with pytest.raises(SelfsightError, match=r"no longer there|cannot be read|no readable picture"):
        before.images[rows]
    with pytest.raises(SelfsightError, match=r"cannot be read|no readable picture"):
        read(source, side=16, storage="memory")


@pytest.mark.parametrize("fortran", [False, True])
def test_a_row_past_the_end_of_a_file_that_was_cut_is_lost(tmp_path: Path, fortran: bool) -> None:
    (tmp_path / "x").write_bytes(bytes(range(24)))
    array = FileArray(tmp_path / "x", (4, 3), np.dtype("u1"), 12, fortran=fortran)
    whole = array.whole()
    os.truncate(tmp_path / "x", 20)

    assert whole[0].tolist() == ([12, 16, 20] if fortran else [12, 13, 14])
    with pytest.raises(Lost, match="has become shorter"):
        array[3]
    with pytest.raises(Lost, match="has become shorter"):
        array.whole()


@pytest.mark.parametrize("lose", LOSSES)
def test_a_few_lost_files_are_skipped_and_listed(
    tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    folder = of_folder(tmp_path)
    source = open_data(folder).train
    before = streamed(source)
    for name in ("03.png", "20.png"):
        lose(folder / name)

    images = before.images[torch.arange(COUNT)]
    now = read(source, side=16, storage="memory")

    assert images[:, 0, 0, 0].tolist() == [{3: 4, 20: 21}.get(i, i) for i in range(COUNT)]
    assert [skipped.title for skipped in now.skipped] == ["03.png", "20.png"]


def test_a_lost_folder_stops_a_stream_at_its_first_picture(tmp_path: Path) -> None:
    folder = of_folder(tmp_path)
    before = streamed(open_data(folder).train)
    folder.rename(tmp_path / "elsewhere")

    with pytest.raises(
        SelfsightError, match=r"are no longer there: .*\.png: .*No such file.* and so for 8 of 8"
    ):
        before.images[torch.tensor([7])]


def test_a_lost_class_is_skipped_and_not_taken_for_a_lost_disk(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "a")
    before = streamed(open_data(tmp_path).train)
    for path in paths[8:12]:
        path.unlink()

    assert before.images[torch.arange(COUNT)][8:12, 0, 0, 0].tolist() == [12] * 4


@pytest.mark.parametrize("form", [of_tar, of_parquet])
def test_a_file_of_many_that_is_replaced_is_not_read_at_its_old_places(
    tmp_path: Path, form: Callable[[Path], Path]
) -> None:
    place = form(tmp_path)
    source = open_data(place).train
    first = source.decode(0)
    other = place.read_bytes()
    place.write_bytes(other)
    os.utime(place, (1, 1))

    assert int(first[0, 0, 0]) == 0
    with pytest.raises(Unreadable, match="has changed since it was"):
        source.decode(COUNT - 1)
    assert int(open_data(place).train.decode(COUNT - 1)[0, 0, 0]) == COUNT - 1


def test_labels_cut_short_leave_the_pictures_unlabelled(tmp_path: Path) -> None:
    folder = of_npy_folder(tmp_path)
    cut(folder / "labels.npy")

    source = open_data(folder).train

    assert source.labels is None
    assert "cut short" in source.unlabelled


def test_a_pipe_called_like_a_sheet_of_ours_is_not_waited_for(tmp_path: Path) -> None:
    folder = of_folder(tmp_path)
    (folder / "a.json").write_text("{}")
    os.mkfifo(folder / "x.png")

    found = read(open_data(folder).train, side=16)

    assert [skipped.title for skipped in found.skipped] == ["x.png"]
