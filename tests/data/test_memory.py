"""Memory: data whose headers promise too much is refused in a sentence before memory is taken."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from selfsight.data.pictures import open_data
from selfsight.data.pictures.forms.arrays import open_arrays
from selfsight.data.pictures.forms.parquet import ParquetTable
from selfsight.data.pictures.forms.photo import Photo
from selfsight.errors import SelfsightError

IMAGES = np.zeros((10, 8, 8), np.uint8)  # 640 bytes


def test_an_npz_file_may_take_half_of_the_memory(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", images=IMAGES)

    assert len(open_arrays(tmp_path / "x.npz", 1280).train) == 10
    with pytest.raises(
        SelfsightError, match=r"x\.npz takes 640 bytes .* at most half of it, 639 .* \.npy files"
    ):
        open_arrays(tmp_path / "x.npz", 1279)


def test_the_parts_of_an_npz_file_are_counted_together(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train_images=IMAGES, test_images=IMAGES)

    with pytest.raises(SelfsightError, match=r"takes 1\.3 kB in memory"):
        open_arrays(tmp_path / "x.npz", 2000)


def test_labels_too_large_for_memory_leave_the_pictures_readable(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=np.zeros((10, 1000)))

    source = open_arrays(tmp_path / "x.npz", 2000).train

    assert len(source) == 10
    assert "in memory" in source.unlabelled


def test_an_npz_header_that_promises_more_than_there_is_takes_no_memory(tmp_path: Path) -> None:
    header = io.BytesIO()
    array = {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 64, 64)}
    np.lib.format.write_array_header_1_0(header, array)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue())

    with pytest.raises(SelfsightError, match=r"x\.npz .* to .* GB in memory"):
        open_data(tmp_path / "x.npz")


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_photograph_too_large_for_memory_is_not_decoded(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    Image.new("RGB", (64, 48)).save(path)
    needed = 64 * 48 * 3 * 8

    assert len(Photo(path, 2 * needed)) > 0
    path.write_bytes(path.read_bytes()[:-10])  # so that decoding it would fail
    with pytest.raises(SelfsightError, match=r"64 x 48 pixels takes .* in memory.*shrink it"):
        Photo(path, 2 * needed - 2)


def test_row_groups_too_large_for_memory_are_not_read(tmp_path: Path) -> None:
    pngs = [struct.pack("L", k) * 100 for k in range(20)]  # never decoded
    pq.write_table(pa.table({"image": pngs}), tmp_path / "x.parquet", row_group_size=5)

    assert len(ParquetTable(tmp_path / "x.parquet", memory=50_000)) == 20
    with pytest.raises(SelfsightError, match=r"2 row groups, takes .* smaller row groups"):
        ParquetTable(tmp_path / "x.parquet", memory=10_000)
