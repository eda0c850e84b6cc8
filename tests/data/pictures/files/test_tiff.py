"""TIFF: every layout of channels and depth by its values; unknown ranges by their messages."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from noise import noise_array
from selfsight.data.pictures.files.decode import Header, decoded, header_of
from selfsight.data.source import Unreadable


def tiff(values: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)  # pyright: ignore[reportArgumentType]
    return file.getvalue()


def read(data: bytes, *, besides: tuple[str, ...] = ()) -> np.ndarray:
    """Decode, and check that the result matches the header: -> (C, H, W)."""
    header, pixels = header_of(io.BytesIO(data)), decoded(io.BytesIO(data))
    bits = {torch.uint8: 8, torch.uint16: 16}[pixels.dtype]
    channels, height, width = pixels.shape
    assert header == Header(height, width, channels, bits, besides)
    return pixels.numpy()


def refused(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        decoded(io.BytesIO(data))


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_deep_colour_is_kept_whatever_the_compression(compression: str | None, order: str) -> None:
    values = noise_array("u2", 9, 12, 3)

    found = read(tiff(values, photometric="rgb", compression=compression, byteorder=order))

    assert np.array_equal(found, values.transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("channels", [2, 4, 5, 8])
def test_channels_are_kept_side_by_side_or_in_planes(channels: int, kind: str) -> None:
    values = noise_array(kind, channels, 9, 12)
    options = {"photometric": "minisblack", "extrasamples": [0] * (channels - 1)}

    apart = tiff(values, planarconfig="separate", **options)
    together = tiff(
        np.ascontiguousarray(values.transpose(1, 2, 0)), planarconfig="contig", **options
    )

    assert np.array_equal(read(apart), values)
    assert np.array_equal(read(together), values)


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("form", ["imagej", "ome"])
def test_pages_that_are_said_to_be_channels_are(form: str, kind: str) -> None:
    values = noise_array(kind, 4, 9, 12)
    data = tiff(values, photometric="minisblack", metadata={"axes": "CYX"}, **{form: True})

    assert np.array_equal(read(data), values)


@pytest.mark.parametrize("form", ["imagej", "ome"])
@pytest.mark.parametrize("axes", ["ZYX", "TYX"])
def test_of_a_stack_in_depth_or_time_the_first_page_is_taken(form: str, axes: str) -> None:
    values = noise_array("u2", 4, 9, 12)
    data = tiff(values, photometric="minisblack", metadata={"axes": axes}, **{form: True})

    assert np.array_equal(read(data, besides=("pages",)), values[:1])


def test_of_pages_without_a_word_the_first_is_taken() -> None:
    values = noise_array("u1", 4, 9, 12)
    data = tiff(values, photometric="minisblack", metadata=None)

    assert np.array_equal(read(data, besides=("pages",)), values[:1])


def test_smaller_copies_and_masks_of_a_page_are_no_pages_of_their_own() -> None:
    values, file = noise_array("u1", 16, 24), io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page, kind in ((values, 0), (values[::2, ::2], 1), (values > 99, 4)):
            writer.write(page, photometric="minisblack", subfiletype=kind, metadata=None)

    assert np.array_equal(read(file.getvalue()), values[None])


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (noise_array("u1", 9, 12, 5), {"photometric": "separated", "extrasamples": [0]}),
        (noise_array("u1", 9, 12, 4), {"photometric": "rgb", "extrasamples": [0]}),
        (noise_array("u1", 9, 12, 4), {"photometric": "rgb", "extrasamples": [2]}),
    ],
)
def test_channels_that_are_not_read_are_told(
    values: np.ndarray, options: dict[str, object]
) -> None:
    header = header_of(io.BytesIO(tiff(values, planarconfig="contig", **options)))

    assert header.besides == (("channels",) if values.shape[2] == 5 else ())


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_marked_opacity_is_laid_over_white(kind: str) -> None:
    values = noise_array(kind, 9, 12, 4)
    most = float(np.iinfo(kind).max)

    found = read(tiff(values, photometric="rgb", extrasamples=["unassalpha"]))

    opacity = values[..., 3:] / most
    expected = values[..., :3] * opacity + most * (1 - opacity)
    assert np.abs(found.transpose(1, 2, 0) - expected).max() <= 1


def test_a_fourth_channel_without_a_mark_is_a_channel() -> None:
    values = noise_array("u1", 9, 12, 4)

    found = read(tiff(values, photometric="rgb", extrasamples=[0]))

    assert np.array_equal(found, values.transpose(2, 0, 1))


@pytest.mark.parametrize("compression", [None, "lzw"])
def test_where_white_is_zero_deep_grey_is_turned_round(compression: str | None) -> None:
    values = noise_array("u2", 9, 12)

    found = read(tiff(values, photometric="miniswhite", compression=compression))

    assert np.array_equal(found[0], 65535 - values)


@pytest.mark.parametrize("extra", ["unassalpha", "assocalpha", "unspecified"])
def test_where_white_is_zero_only_the_colour_is_turned_round(extra: str) -> None:
    # grey as stored, opacity: opaque white, opaque black, nothing at all, half of black
    stored = np.zeros((9, 12, 2), dtype=np.uint16)
    half = 32768
    ink = half if extra == "assocalpha" else 65535
    stored[0, :4] = [[0, 65535], [65535, 65535], [0, 0], [ink, half]]

    found = read(
        tiff(stored, photometric="miniswhite", planarconfig="contig", extrasamples=[extra])
    )

    if extra == "unspecified":
        assert found[:, 0, :4].tolist() == [[65535, 0, 65535, 0], [65535, 65535, 0, half]]
    else:
        assert found[:, 0, :4].tolist() == [[65535, 0, 65535, 65535 - half]]


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_floats_from_zero_to_one_become_sixteen_bits(kind: str, channels: tuple[int, ...]) -> None:
    values = noise_array(kind, 9, 12, *channels)

    found = read(tiff(values, photometric="rgb" if channels else "minisblack"))

    expected = np.rint(np.atleast_3d(values).astype(np.float64) * 65535)
    assert np.array_equal(found.transpose(1, 2, 0), expected)


def test_other_floats_are_refused() -> None:
    refused(tiff(noise_array("f4", 9, 12) * 300), r"outside \[0, 1\]; save it with 8 or 16 bits")


@pytest.mark.parametrize("kind", ["u4", "i4", "i1", "u8"])
def test_whole_numbers_of_unknown_range_are_refused(kind: str) -> None:
    data = tiff(np.ones((9, 12), kind))

    refused(data, "bits, whose range is unknown; save it with 8 or 16 bits")
    with pytest.raises(Unreadable, match="whose range is unknown"):
        header_of(io.BytesIO(data))


def test_signed_sixteen_bits_are_taken_where_nothing_is_negative() -> None:
    values = noise_array("u2", 9, 12) // 2

    assert np.array_equal(read(tiff(values.astype(np.int16)))[0], values)
    refused(tiff(-values.astype(np.int16) - 1), "negative or 32-bit pixels")


def test_twelve_bits_are_scaled_to_sixteen() -> None:
    entries = [(256, 8), (257, 8), (258, 12), (259, 1), (262, 1), (273, 122), (278, 8), (279, 96)]
    directory = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in entries)
    head = b"II*\0" + struct.pack("<LH", 8, len(entries)) + directory + bytes(4)
    data = head.ljust(122, b"\0") + bytes([0xFF, 0xF8, 0x00]) + bytes(93)  # 4095, 2048, 0, ...

    assert read(data)[0, 0, :3].tolist() == [65535, 32776, 0]  # 2048 * 65535 / 4095 = 32775.5


@pytest.mark.parametrize("channels", [(), (3,)])
def test_bigtiff_is_read(channels: tuple[int, ...]) -> None:
    values = noise_array("u1", 9, 12, *channels)

    found = read(tiff(values, bigtiff=True, photometric="rgb" if channels else "minisblack"))

    assert np.array_equal(found.transpose(1, 2, 0), np.atleast_3d(values))


def test_tiles_are_put_together() -> None:
    values = noise_array("u2", 40, 50, 5)

    found = read(tiff(values, photometric="minisblack", planarconfig="contig", tile=(16, 16)))

    assert np.array_equal(found, values.transpose(2, 0, 1))


def test_deep_colour_is_turned_upright() -> None:
    values = noise_array("u2", 9, 12, 3)
    data = tiff(values, photometric="rgb", extratags=[(274, "H", 1, 6)])

    assert np.array_equal(read(data), np.rot90(values, -1).transpose(2, 0, 1))


def patched(data: bytes, tag: int, value: int) -> bytes:
    """Change the value of a field with one value in the first directory."""
    short, long = (data.find(struct.pack("<HHL", tag, kind, 1)) for kind in (3, 4))
    at = max(short, long)
    assert at > 0
    return data[: at + 8] + struct.pack("<L", value) + data[at + 12 :]


def test_many_channels_that_would_fill_the_memory_are_refused() -> None:
    data = tiff(noise_array("u2", 9, 12, 5), photometric="minisblack", planarconfig="contig")
    huge = patched(patched(data, 256, 11_000), 257, 11_000)

    refused(huge, "11000 x 11000 pixels of 5 channels of 16 bits: more than 534 million bytes")


def test_a_small_picture_in_a_huge_tile_is_refused() -> None:
    data = tiff(noise_array("u2", 9, 12, 3), photometric="rgb", tile=(16, 16))

    refused(patched(patched(data, 322, 65520), 323, 65520), "pieces are larger than the picture")


def test_a_compression_that_is_not_read_is_named() -> None:
    data = tiff(noise_array("u1", 9, 12, 5), photometric="minisblack", planarconfig="contig")

    refused(patched(data, 259, 34712), r"compression 34712 .*save it with deflate")


def test_a_directory_beyond_the_file_is_cut_short() -> None:
    data = tiff(noise_array("u2", 9, 12, 3), photometric="rgb")

    refused(data[:60], "cut short")
    refused(data[:4] + struct.pack("<L", 10**6) + data[8:], "cut short")


WITHOUT_IMAGECODECS = """
import io, sys
sys.modules["imagecodecs"] = None  # as where it is not installed
from selfsight.data.pictures.files.decode import Unreadable, decoded
try:
    with open(sys.argv[1], "rb") as file:
        decoded(file)
except Unreadable as error:
    print(error)
"""


@pytest.mark.slow
def test_a_missing_package_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(tiff(noise_array("u2", 9, 12, 3), photometric="rgb", compression="lzw"))

    program = [sys.executable, "-W", "error", "-c", WITHOUT_IMAGECODECS, str(path)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)

    assert "needs the package imagecodecs; install it" in done.stdout
    assert done.stderr == ""


def test_damage_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    file = io.BytesIO()
    Image.fromarray(noise_array("u1", 40, 40)).save(file, "TIFF", compression="tiff_lzw")
    damaged = bytearray(file.getvalue())
    damaged[20:400] = b"\xff" * 380  # codes that are not in the table yet

    refused(bytes(damaged), "damaged|cut short")
    assert capfd.readouterr().err == ""
