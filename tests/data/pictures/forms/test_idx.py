"""IDX: MNIST's files by hand, plain and compressed, whole and damaged, and MNIST itself."""

import gzip
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight.data.pictures import Header, open_data
from selfsight.errors import SelfsightError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 8, 9), dtype=np.uint8)


def images(values: np.ndarray = PIXELS) -> bytes:
    return struct.pack(">4L", 0x803, *values.shape) + values.tobytes()


def labels(*values: int) -> bytes:
    return struct.pack(">2L", 0x801, len(values)) + bytes(values)


def stored(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("end", ["", ".gz"])
def test_pictures_find_the_labels_beside_them(tmp_path: Path, end: str) -> None:
    path = stored(tmp_path / f"my-images-idx3-ubyte{end}", images())
    stored(tmp_path / f"my-labels-idx1-ubyte{end}", labels(3, 10, 3, 3, 9))

    source = open_data(path).train

    assert source.header(4) == Header(8, 9, 1, 8)
    assert torch.equal(source.decode(4)[0], torch.from_numpy(PIXELS[4]))
    assert source.classes == ("3", "9", "10")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 2, 0, 0, 1]


def test_without_labels_beside_them_they_are_unlabelled(tmp_path: Path) -> None:
    path = stored(tmp_path / "train-images-idx3-ubyte", images())

    assert open_data(path).train.labels is None


def test_a_folder_has_parts_by_name_and_prefers_what_is_unpacked(tmp_path: Path) -> None:
    stored(tmp_path / "train-images-idx3-ubyte", images())
    stored(tmp_path / "train-images-idx3-ubyte.gz", b"never looked at")
    stored(tmp_path / "train-labels-idx1-ubyte", labels(0, 1, 2, 3, 4))
    stored(tmp_path / "t10k-images-idx3-ubyte.gz", images(PIXELS[:2]))
    stored(tmp_path / "t10k-labels-idx1-ubyte.gz", labels(4, 4))

    parts = open_data(tmp_path)

    assert parts.test is not None
    assert (len(parts.train), len(parts.test)) == (5, 2)
    assert parts.test.labels is not None
    assert parts.test.labels.tolist() == [4, 4]
    assert list(parts.train.stamp()) != list(parts.test.stamp())


def header(*shape: int) -> bytes:
    return struct.pack(">4L", 0x803, *shape)


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (labels(1, 2), "must start with the number 0x00000803"),
        (images()[:-1], "cut short: its header promises 360 bytes"),
        (images()[:10], "must start with"),
        (b"", "must start with.*nothing"),
        (header(0, 8, 8), "is empty"),
        (header(2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(99), "damaged or cut short"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, data: bytes, sentence: str, end: str) -> None:
    path = stored(tmp_path / f"train-images-idx3-ubyte{end}", data)

    with pytest.raises(SelfsightError, match=sentence):
        open_data(path)


def test_a_gzip_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path / "train-images-idx3-ubyte.gz", images())
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(SelfsightError, match="damaged or cut short"):
        open_data(path)


def test_what_follows_the_promised_pixels_is_not_unpacked(tmp_path: Path) -> None:
    path = stored(tmp_path / "train-images-idx3-ubyte.gz", images() + bytes(10**7))

    assert len(open_data(path).train) == 5


def test_labels_of_other_pictures_are_left_out(tmp_path: Path) -> None:
    path = stored(tmp_path / "train-images-idx3-ubyte", images())
    stored(tmp_path / "train-labels-idx1-ubyte", labels(1, 2))

    source = open_data(path).train

    assert source.labels is None
    assert re.search(r"5 pictures and .* 2 labels", source.unlabelled)


def test_files_of_other_names_are_listed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        stored(tmp_path / f"{name}-images-idx3-ubyte", images())

    with pytest.raises(SelfsightError, match=r"one-images-idx3-ubyte, two-images.*call them train"):
        open_data(tmp_path)


def test_mnist(shared_data: Path) -> None:
    parts = open_data(shared_data / "mnist")

    assert parts.test is not None
    assert (len(parts.train), len(parts.test)) == (60_000, 10_000)
    assert parts.train.classes == parts.test.classes == tuple("0123456789")
    assert parts.train.labels is not None
    assert parts.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert parts.train.decode(0).shape == (1, 28, 28)
