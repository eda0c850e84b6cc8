"""Sixteen bits: PNG and PPM files, written here byte by byte, are decoded to the same samples."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from noise import noise_array
from selfsight.data.pictures.files.decode import Header, decoded, header_of
from selfsight.data.source import Unreadable

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's number for so many channels
# Left, top, and steps to the right and down, of each pass of an interlaced picture.
ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def rows_of(values: np.ndarray) -> bytes:
    """Write rows with filter 2, the difference to the row above, byte by byte."""
    rows = values.astype(">u2").reshape(len(values), -1).view(np.uint8)
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    return b"".join(b"\2" + row.tobytes() for row in rows - above)


def png(values: np.ndarray, *, interlaced: bool = False, extra: bytes = b"") -> bytes:
    """Write (H, W, C) uint16 as PNG, by hand: Pillow cannot."""
    height, width, channels = values.shape
    head = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[channels], 0, 0, int(interlaced))
    passes = [values[y::down, x::right] for x, y, right, down in ADAM7] if interlaced else [values]
    body = b"".join(rows_of(part) for part in passes if part.size)
    chunks = chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(body))
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IEND", b"")


def read(data: bytes) -> tuple[Header, torch.Tensor]:
    return header_of(io.BytesIO(data)), decoded(io.BytesIO(data))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_keeps_sixteen_bits(channels: int, interlaced: bool) -> None:
    values = noise_array("u2", 9, 12, channels)

    header, found = read(png(values, interlaced=interlaced))

    assert header == Header(9, 12, channels, 16)
    assert np.array_equal(found.permute(1, 2, 0).numpy(), values)


@pytest.mark.parametrize("channels", [2, 4])
def test_deep_opacity_is_laid_over_white(channels: int) -> None:
    values = noise_array("u2", 9, 12, channels)
    values[0, 0, -1], values[0, 1, -1] = 0, 65535

    header, found = read(png(values))

    colour, opacity = values[..., :-1].astype(float), values[..., -1:] / 65535
    expected = colour * opacity + 65535 * (1 - opacity)
    assert header == Header(9, 12, channels - 1, 16)
    assert np.abs(found.permute(1, 2, 0).numpy() - expected).max() <= 0.5001
    assert found[:, 0, 0].tolist() == [65535] * (channels - 1)
    assert found[:, 0, 1].tolist() == values[0, 1, :-1].tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_one_transparent_colour_becomes_white(channels: int) -> None:
    values = noise_array("u2", 9, 12, channels)
    key = values[3, 4].astype(">u2").tobytes()

    _, found = read(png(values, extra=chunk(b"tRNS", key)))

    assert found[:, 3, 4].tolist() == [65535] * channels
    assert found[:, 0, 0].tolist() == values[0, 0].tolist()


def test_a_deep_png_is_turned_upright_by_exif_behind_its_pixels() -> None:
    values = noise_array("u2", 9, 12, 3)
    exif = Image.Exif()
    exif[0x0112] = 3
    data = png(values)[:-12] + chunk(b"eXIf", exif.tobytes()[6:]) + chunk(b"IEND", b"")

    _, found = read(data)

    assert np.array_equal(found.permute(1, 2, 0).numpy(), values[::-1, ::-1])


def test_a_deep_png_cut_short_says_so() -> None:
    data = png(noise_array("u2", 40, 40, 3))

    with pytest.raises(Unreadable, match="cut short"):
        decoded(io.BytesIO(data[: len(data) // 2]))


def test_more_bytes_than_may_be_decoded_are_refused_by_the_header() -> None:
    head = struct.pack(">IIBBBBB", 12_000, 12_000, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99)))

    for work in (header_of, decoded):
        with pytest.raises(Unreadable, match="3 channels of 16 bits: more than 534 million bytes"):
            work(io.BytesIO(data))


@pytest.mark.parametrize(
    ("kind", "greatest", "bits"), [(5, 65535, 16), (6, 65535, 16), (5, 4095, 16), (6, 15, 8)]
)
def test_a_ppm_is_scaled_from_its_own_greatest_value(kind: int, greatest: int, bits: int) -> None:
    channels = {5: 1, 6: 3}[kind]
    values = noise_array("u2", 9, 12, channels).astype(int) % (greatest + 1)
    raw = values.astype(">u2" if greatest > 255 else "u1").tobytes()

    header, found = read(b"P%d 12 9 %d\n" % (kind, greatest) + raw)

    expected = np.rint(values.astype(float) / greatest * (2**bits - 1))
    assert header == Header(9, 12, channels, bits)
    assert np.array_equal(found.permute(1, 2, 0).numpy(), expected)


def test_a_deep_ppm_cut_short_says_so() -> None:
    with pytest.raises(Unreadable, match="cut short"):
        decoded(io.BytesIO(b"P6 12 9 65535\n" + bytes(12 * 9 * 6 - 1)))
