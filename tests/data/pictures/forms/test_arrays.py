"""Arrays: every kind of number and every key in .npz and .npy files; other arrays are refused."""

import io
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from noise import noise_array
from selfsight.data.pictures import Header, open_data
from selfsight.data.pictures.source import PictureSource
from selfsight.data.source import Unreadable
from selfsight.errors import SelfsightError


def classes_of(source: PictureSource) -> list[str]:
    assert source.labels is not None
    return [source.classes[k] for k in source.labels.tolist()]


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
@pytest.mark.parametrize("kind", ["u1", "u2", ">u2"])
@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,), (13,)])
def test_any_channels_are_kept(
    tmp_path: Path, channels: tuple[int, ...], kind: str, suffix: str
) -> None:
    images = noise_array(kind, 3, 8, 9, *channels)
    path = tmp_path / f"x{suffix}"
    if suffix == ".npz":
        np.savez(path, images=images)
    else:
        np.save(path, images)

    source = open_data(path).train

    count, bits = (channels or (1,))[0], 8 * images.itemsize
    assert source.header(2) == Header(8, 9, count, bits)
    assert source.decode(2).dtype == (torch.uint8 if bits == 8 else torch.uint16)
    assert np.array_equal(
        source.decode(2).permute(1, 2, 0).numpy(), images.reshape(3, 8, 9, count)[2]
    )


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_floats_become_sixteen_bits(tmp_path: Path, kind: str) -> None:
    images = np.linspace(0, 1, 2 * 64).reshape(2, 8, 8).astype(kind)
    np.save(tmp_path / "x.npy", images)

    source = open_data(tmp_path / "x.npy").train

    assert source.header(1) == Header(8, 8, 1, 16)
    expected = np.rint(images[1].astype(np.float64) * 65535)
    assert np.array_equal(source.decode(1)[0].numpy(), expected)


def test_truth_becomes_black_and_white(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.eye(8, dtype=bool)[None])

    source = open_data(tmp_path / "x.npy").train

    assert source.header(0).bits == 8
    assert source.decode(0)[0, 0, :2].tolist() == [255, 0]


@pytest.mark.parametrize("value", [1.5, -0.1, np.nan])
def test_floats_outside_their_range_are_refused_at_opening(tmp_path: Path, value: float) -> None:
    np.savez(tmp_path / "x.npz", images=np.full((2, 8, 8), value))

    with pytest.raises(SelfsightError, match=r"must lie in \[0, 1\]; `images` of .*scale it"):
        open_data(tmp_path / "x.npz")


def test_a_single_float_picture_outside_its_range_is_unreadable(tmp_path: Path) -> None:
    images = np.zeros((1000, 8, 8), np.float32)
    images[1, 0, 0] = 2
    np.save(tmp_path / "x.npy", images)

    source = open_data(tmp_path / "x.npy").train

    assert not source.decode(0).numpy().any()
    with pytest.raises(Unreadable, match=r"outside \[0, 1\]"):
        source.decode(1)


def test_an_npy_file_is_read_as_it_is_needed_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", noise_array("u1", 3, 8, 8))
    source = open_data(tmp_path / "x.npy").train

    changed = np.load(tmp_path / "x.npy", mmap_mode="r+")
    changed[1] = 77
    changed.flush()

    assert source.decode(1).unique().tolist() == [77]


def test_npy_files_in_a_folder_go_by_the_keys_of_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", noise_array("u1", 3, 8, 8))
    np.save(tmp_path / "labels.npy", np.array([10, 9, 10]))

    parts = open_data(tmp_path)

    assert classes_of(parts.train) == ["10", "9", "10"]
    assert parts.train.classes == ("9", "10")
    assert parts.test is None


@pytest.mark.parametrize(
    ("pictures", "labels"),
    [
        ("{}_images", "{}_labels"),
        ("x_{}", "y_{}"),  # as Keras' mnist.npz
        ("{}.image", "{}.target"),
        ("images-{}", "labels-{}"),
    ],
)
@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "valid")])
def test_keys_tell_their_parts_in_any_of_the_words(
    tmp_path: Path, pictures: str, labels: str, train: str, test: str
) -> None:
    arrays = {
        pictures.format(train): np.zeros((4, 8, 8), np.uint8),
        labels.format(train): np.array([0, 1, 1, 0]),
        pictures.format(test): np.zeros((2, 8, 8), np.uint8),
        labels.format(test): np.array([1, 0]),
    }
    np.savez(tmp_path / "x.npz", allow_pickle=True, **arrays)

    parts = open_data(tmp_path / "x.npz")

    assert parts.test is not None
    assert classes_of(parts.train) == ["0", "1", "1", "0"]
    assert classes_of(parts.test) == ["1", "0"]


def test_npy_files_with_medmnist_keys_have_parts(tmp_path: Path) -> None:
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        np.save(tmp_path / f"{part}_images.npy", noise_array("u1", count, 8, 8))
        np.save(tmp_path / f"{part}_labels.npy", np.arange(count)[:, None])

    parts = open_data(tmp_path)

    assert parts.test is not None
    assert (len(parts.train), len(parts.test)) == (4, 3)
    assert parts.test.classes == ("0", "1", "2", "3")
    assert list(parts.train.stamp()) != list(parts.test.stamp())


def test_the_parts_of_one_file_have_different_stamps(tmp_path: Path) -> None:
    images = noise_array("u1", 3, 8, 8)
    np.savez(tmp_path / "x.npz", train_images=images, test_images=images)

    parts = open_data(tmp_path / "x.npz")

    assert parts.test is not None
    assert list(parts.train.stamp()) != list(parts.test.stamp())
    assert list(parts.train.stamp()) == list(open_data(tmp_path / "x.npz").train.stamp())


def test_word_labels_sort_as_words(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=noise_array("u1", 2, 8, 8), labels=np.array(["dog", "cat"]))

    assert open_data(tmp_path / "x.npz").train.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"images": np.zeros((2, 8, 8), np.int32)}, "must be uint8, uint16, bool or float.*int32"),
        ({"images": np.zeros((2, 8, 8, 5, 1), np.uint8)}, "channels last"),
        ({"images": np.zeros((2, 3, 80, 80), np.uint8)}, r"images\.transpose\(0, 2, 3, 1\)"),
        ({"images": np.zeros((2, 3, 32, 32), np.uint8)}, r"images\.transpose\(0, 2, 3, 1\)"),
        ({"images": np.zeros((2, 13, 32, 32), np.uint8)}, r"images\.transpose\(0, 2, 3, 1\)"),
        ({"images": np.zeros((2, 1, 20, 40), np.uint8)}, r"images\.transpose\(0, 2, 3, 1\)"),
        ({"images": np.zeros((0, 8, 8), np.uint8)}, "is empty"),
        ({"volume": np.zeros(3)}, "needs `images`.*has volume"),
        ({"images": np.array([{}, {}], dtype=object)}, "cannot be read"),
    ],
)
def test_arrays_of_another_kind_are_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], sentence: str
) -> None:
    np.savez(tmp_path / "x.npz", allow_pickle=True, **arrays)

    with pytest.raises(SelfsightError, match=sentence):
        open_data(tmp_path / "x.npz")


def test_a_pickle_called_npy_is_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}, {}], dtype=object), allow_pickle=True)

    with pytest.raises(SelfsightError, match="cannot be read as arrays of numbers"):
        open_data(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("x.npy", r"x\.npy is .*cut short: its header promises 1920 bytes, and it has at most 772"),
        ("x.npz", r"x\.npz cannot be read"),
    ],
)
def test_an_array_cut_short_is_refused(tmp_path: Path, name: str, sentence: str) -> None:
    path = tmp_path / name
    save = np.save if name == "x.npy" else lambda p, images: np.savez(p, images=images)
    save(path, noise_array("u1", 30, 8, 8))
    path.write_bytes(path.read_bytes()[:900])

    with pytest.raises(SelfsightError, match=sentence):
        open_data(path)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(5000, 8, 9), (700, 8, 9, 3), (3, 200, 300, 13)])
def test_pictures_of_a_file_are_those_of_numpy_in_either_order(
    tmp_path: Path, shape: tuple[int, ...], order: Literal["C", "F"]
) -> None:
    images = np.asarray(noise_array("u2", *shape), order=order)
    np.save(tmp_path / "x.npy", images)

    source = open_data(tmp_path / "x.npy").train

    assert len(source) == len(images)
    for row in (0, 1, len(images) // 2, len(images) - 1):  # of blocks first, inside and last
        pixels = source.decode(row).permute(1, 2, 0).numpy()
        assert np.array_equal(pixels, images[row].reshape(pixels.shape))


def test_labels_in_fortran_order_are_read_as_numpy_has_them(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", noise_array("u1", 4, 8, 8))
    np.save(tmp_path / "labels.npy", np.asfortranarray(np.array([[3], [1], [3], [2]])))

    assert classes_of(open_data(tmp_path).train) == ["3", "1", "3", "2"]


@pytest.mark.parametrize(
    "described",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-3, 8, 8), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 8, 8), ",
        "{'descr': '|u1', 'fortran_order': open('x', 'w'), 'shape': (3, 8, 8), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': " + "(" * 300 + ")" * 300 + "}",
    ],
)
def test_a_header_that_describes_no_array_is_refused(tmp_path: Path, described: str) -> None:
    header = described.encode() + b"\n"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    (tmp_path / "x.npy").write_bytes(start + header + bytes(192))

    with pytest.raises(SelfsightError, match=r"x\.npy cannot be read as arrays of numbers: "):
        open_data(tmp_path / "x.npy")
    assert not Path("x").exists()


def test_an_npz_file_whose_packed_bytes_are_damaged_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_LZMA) as archive:
        file = io.BytesIO()
        np.save(file, np.random.default_rng(0).integers(0, 256, (9, 8, 8), dtype=np.uint8))
        archive.writestr("images.npy", file.getvalue())
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[60:90] = bytes(30)  # within the packed bytes
    (tmp_path / "x.npz").write_bytes(data)

    with pytest.raises(SelfsightError, match=r"x\.npz cannot be read as arrays of numbers"):
        open_data(tmp_path / "x.npz")


def test_an_array_called_npz_is_told_its_name(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", noise_array("u1", 3, 8, 8))
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")

    with pytest.raises(SelfsightError, match=r"call it \.npy"):
        open_data(tmp_path / "x.npz")
