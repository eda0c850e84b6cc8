"""Bombs: a small file that would unpack to fill the memory is refused, or read without that."""

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from selfsight.data.pictures import open_data, read
from selfsight.data.pictures.files.decode import header_of
from selfsight.data.pictures.files.header import LEAST_BOMB, MOST_UNPACKING, check_memory, is_bomb
from selfsight.errors import SelfsightError

BLOCK = bytes(1 << 20)


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (16, 16), value).save(file, "PNG")
    return file.getvalue()


def test_a_bomb_is_large_and_its_file_is_small() -> None:
    assert not is_bomb(LEAST_BOMB, LEAST_BOMB, 1)
    assert not is_bomb(LEAST_BOMB + 1, LEAST_BOMB, LEAST_BOMB)
    assert is_bomb(LEAST_BOMB + 1, LEAST_BOMB, LEAST_BOMB // (MOST_UNPACKING + 1))


def test_masks_that_were_packed_well_are_read() -> None:
    check_memory("masks", 9000 * 256 * 256, "", 1 << 32, packed=1_000_000)


@pytest.mark.parametrize(("mode", "suffix"), [("1", "tif"), ("P", "png")])
def test_plans_and_maps_that_were_packed_well_are_read(
    tmp_path: Path, mode: str, suffix: str
) -> None:
    path = tmp_path / f"x.{suffix}"
    options = {"compression": "group4"} if suffix == "tif" else {}
    Image.new(mode, (9933, 14043) if suffix == "tif" else (11_000, 11_000)).save(path, **options)

    with path.open("rb") as file:
        found = header_of(file)

    assert path.stat().st_size < found.height * found.width * found.channels // MOST_UNPACKING
    assert found.height >= 11_000


def test_an_npz_file_that_unpacks_to_a_gigabyte_is_refused_by_its_header(tmp_path: Path) -> None:
    array = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (1025, 1024, 1024)}
    np.lib.format.write_array_header_1_0(array, about)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", array.getvalue() + BLOCK)  # nobody finds it cut short

    with pytest.raises(SelfsightError, match=r"to 1\.1 GB in memory, over 100 times"):
        open_data(tmp_path / "x.npz")


def test_a_header_of_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    start = b"\x93NUMPY\x02\x00" + (1 << 31).to_bytes(4, "little")
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", start + BLOCK)

    with pytest.raises(SelfsightError, match="a header of 2147483648 bytes"):
        open_data(tmp_path / "x.npz")


def test_a_gzip_file_that_unpacks_to_a_gigabyte_is_refused_by_its_header(tmp_path: Path) -> None:
    start = gzip.compress(struct.pack(">4L", 0x803, 1100, 1024, 1024))
    path = tmp_path / "x-images-idx3-ubyte.gz"
    path.write_bytes(start + 1100 * gzip.compress(BLOCK))

    with pytest.raises(SelfsightError, match=r"over 100 times .* unpack it with gunzip"):
        open_data(path)


@pytest.mark.parametrize("in_struct", [False, True])
def test_a_picture_that_stands_once_for_many_rows_is_kept_once(
    tmp_path: Path, in_struct: bool
) -> None:
    large = png(7) + bytes(1 << 20)  # 100 GB, if each row had its own
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array([large]))
    column = pa.StructArray.from_arrays([values], ["bytes"]) if in_struct else values
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": column}), path, store_schema=False)
    before = pa.total_allocated_bytes()

    source = open_data(path).train

    assert path.stat().st_size < 2 << 20
    assert len(source) == 100_000
    assert int(source.decode(99_999)[0, 0, 0]) == 7
    assert pa.total_allocated_bytes() - before < 64 << 20


def test_words_that_stand_once_are_kept_once(tmp_path: Path) -> None:
    words = pa.array(["a" * (1 << 20), "b"])
    labels = pa.DictionaryArray.from_arrays(pa.array([0, 1] * 500, pa.int32()), words)
    table = pa.table({"image": [png(1)] * 1000, "label": labels, "class": labels})
    pq.write_table(table, tmp_path / "x.parquet", store_schema=False)

    source = open_data(tmp_path / "x.parquet").train

    assert [len(name) for name in source.classes] == [1 << 20, 1]


@pytest.mark.parametrize("in_struct", [False, True])
def test_pictures_that_stand_once_and_others_are_read_from_one_column(
    tmp_path: Path, in_struct: bool
) -> None:
    chance = np.random.default_rng(0)
    # The first ones stand once each; past a megabyte of those, rows have their own.
    files = [png(k % 5) + chance.bytes(100_000 if k > 20 else 0) for k in range(60)]
    column = pa.StructArray.from_arrays([pa.array(files)], ["bytes"]) if in_struct else files
    pq.write_table(pa.table({"image": column}), tmp_path / "x.parquet", row_group_size=30)

    source = open_data(tmp_path / "x.parquet").train

    assert [int(source.decode(k)[0, 0, 0]) for k in range(60)] == [k % 5 for k in range(60)]


def test_rows_of_nothing_are_not_listed_by_the_million(tmp_path: Path) -> None:
    rows = pa.nulls(6_000_000, pa.binary())
    pq.write_table(pa.table({"image": rows}), tmp_path / "x.parquet")

    with pytest.raises(SelfsightError, match=r"the list of the 6,000,000 rows .* over 100 times"):
        open_data(tmp_path / "x.parquet")


def tar_of(folder: Path, count: int) -> tuple[Path, int]:
    """Write a tar of so many pictures: -> it, and where the next member would begin."""
    path = folder / "x.tar"
    with tarfile.open(path, "w") as tar:
        for k in range(count):
            member = tarfile.TarInfo(f"{k:02d}.png")
            member.size = len(png(k))
            tar.addfile(member, io.BytesIO(png(k)))
        return path, tar.offset


def test_a_header_in_a_tar_that_is_longer_than_any_name_is_not_read(tmp_path: Path) -> None:
    path, end = tar_of(tmp_path, 2)
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    with path.open("r+b") as file:
        file.seek(end)
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.truncate(1 << 34)  # takes no room on the disk

    assert len(open_data(path).train) == 1  # the last one may lack its class


def test_a_member_of_gigabytes_is_skipped(tmp_path: Path) -> None:
    path, end = tar_of(tmp_path, 20)
    member = tarfile.TarInfo("99.png")
    member.size = 5 << 30
    with path.open("r+b") as file:
        file.seek(end)
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        file.truncate(end + 512 + member.size + 1024)

    found = read(open_data(path).train, side=16)

    assert [(s.title, "not read" in s.reason) for s in found.skipped] == [("x.tar/99.png", True)]


def test_a_list_of_one_endless_line_or_cell_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('path\n"' + "a" * (1 << 20))
    (tmp_path / "x.txt").write_text("a" * (1 << 20))

    with pytest.raises(SelfsightError, match="not well-formed CSV at line 2: field larger"):
        open_data(tmp_path / "x.csv")
    with pytest.raises(SelfsightError, match="no readable picture"):
        read(open_data(tmp_path / "x.txt").train, side=16)


def test_a_list_larger_than_memory_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.txt").open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(SelfsightError, match=r"the list .*x\.txt takes .* split it"):
        open_data(tmp_path / "x.txt")
