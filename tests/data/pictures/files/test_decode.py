"""Decode: every kind of file checked by a pixel or two, every kind of fault by its reason."""

import contextlib
import io
import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import Tensor

from noise import noise_array
from selfsight.data.pictures import open_data
from selfsight.data.pictures.files.decode import Header, TooSmall, decoded, header_of
from selfsight.data.source import Unreadable

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def pixels(data: bytes) -> Tensor:
    return decoded(io.BytesIO(data))


def header(data: bytes) -> Header:
    return header_of(io.BytesIO(data))


def noise_picture(height: int, width: int, channels: int = 3) -> Image.Image:
    return Image.fromarray(noise_array("u1", height, width, channels).squeeze())


def with_corner(width: int, height: int) -> Image.Image:
    """Black, with a red quarter at the top left."""
    picture = Image.new("RGB", (width, height))
    picture.paste(RED, (0, 0, width // 2, height // 2))
    return picture


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP"])
def test_lossless_formats_give_the_pixels_they_were_given(kind: str) -> None:
    picture = (
        noise_picture(9, 12) if kind != "GIF" else noise_picture(9, 12).quantize(200).convert("RGB")
    )
    options = {"lossless": True} if kind == "WEBP" else {}

    found = pixels(encoded(picture, kind, **options))

    assert found.dtype == torch.uint8
    assert torch.equal(found.permute(1, 2, 0), torch.from_numpy(np.array(picture)))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_jpeg_is_decoded_as_pillow_decodes_it(channels: int, mode: str) -> None:
    smooth = noise_picture(4, 5, channels).resize((50, 40), Image.Resampling.BICUBIC)
    data = encoded(smooth, "JPEG", quality=95)

    found = pixels(data).int()

    plain = torch.from_numpy(np.array(Image.open(io.BytesIO(data)))).reshape(40, 50, channels)
    assert header(data) == Header(40, 50, channels)
    assert (found.permute(1, 2, 0) - plain).abs().max() <= 2
    assert Image.open(io.BytesIO(data)).mode == mode


def test_a_palette_is_looked_up() -> None:
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([*RED, *GREEN, *BLUE])
    picture.putpixel((1, 0), 1)
    picture.putpixel((2, 0), 2)

    found = pixels(encoded(picture, "PNG"))

    assert [tuple(found[:, 0, x].tolist()) for x in range(3)] == [RED, GREEN, BLUE]
    assert header(encoded(picture, "PNG")).channels == 3


def test_a_transparent_palette_colour_becomes_white() -> None:
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([*RED, *GREEN])
    picture.putpixel((1, 0), 1)

    found = pixels(encoded(picture, "PNG", transparency=0))

    assert found[:, 0, :2].T.tolist() == [[255, 255, 255], list(GREEN)]


def test_opacity_is_laid_over_white() -> None:
    picture = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    picture.putpixel((1, 0), (255, 0, 0, 255))
    picture.putpixel((2, 0), (255, 0, 0, 128))

    found = pixels(encoded(picture, "PNG"))

    assert found[:, 0, :3].T.tolist() == [[255, 255, 255], [255, 0, 0], [255, 127, 127]]


def test_grey_with_opacity_stays_grey() -> None:
    picture = Image.new("LA", (8, 8), (10, 0))
    picture.putpixel((1, 0), (10, 255))

    found = pixels(encoded(picture, "PNG"))

    assert found[:, 0, :2].tolist() == [[255, 10]]
    assert header(encoded(picture, "PNG")).channels == 1


def test_cmyk_becomes_rgb() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))

    found = pixels(encoded(cyan, "JPEG"))

    assert header(encoded(cyan, "JPEG")) == Header(16, 16, 3)
    assert found[:, 8, 8].tolist() == pytest.approx([0, 255, 255], abs=3)


def test_one_bit_becomes_black_and_white() -> None:
    picture = Image.new("1", (8, 8), 0)
    picture.putpixel((1, 0), 1)

    assert pixels(encoded(picture, "PNG"))[0, 0, :3].tolist() == [0, 255, 0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_kept(kind: str) -> None:
    values = np.full((8, 8), 0, np.uint16)
    values[0, :4] = [0, 257, 32768, 65535]
    data = encoded(Image.fromarray(values), kind)

    found = pixels(data)

    assert header(data) == Header(8, 8, 1, 16)
    assert found.dtype == torch.uint16
    assert found[0, 0, :4].tolist() == [0, 257, 32768, 65535]


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]

    found = pixels(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))

    assert found[:, 0, 0].tolist() == list(RED)


# Where the top left of the stored picture lies once it is upright: EXIF 2.3, section 4.6.4.
UPRIGHT_CORNER = {
    1: "top left",
    2: "top right",
    3: "bottom right",
    4: "bottom left",
    5: "top left",
    6: "top right",
    7: "bottom right",
    8: "bottom left",
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(with_corner(32, 16), kind, exif=exif)

    found = pixels(data)

    height, width = (32, 16) if orientation >= 5 else (16, 32)
    assert found.shape == (3, height, width)
    assert header(data) == Header(height, width, 3)
    corners = {
        "top left": (1, 1),
        "top right": (1, width - 2),
        "bottom left": (height - 2, 1),
        "bottom right": (height - 2, width - 2),
    }
    red = [name for name, (y, x) in corners.items() if found[0, y, x] > 128]
    assert red == [UPRIGHT_CORNER[orientation]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_of_a_turned_picture_is_where_pillow_puts_it(orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(noise_picture(9, 12), "PNG", exif=exif)

    plain = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))

    assert torch.equal(pixels(data).permute(1, 2, 0), torch.from_numpy(np.array(plain)))


def bomb(side: int, color: int = 2) -> bytes:
    """A PNG whose header promises side x side pixels and whose body is tiny."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, color, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("work", [pixels, header])
def test_a_bomb_is_refused_without_a_warning(work: Callable[[bytes], object]) -> None:
    with pytest.raises(Unreadable, match=r"30000 x 30000.*million"):
        work(bomb(30_000))


def test_a_size_pillow_would_warn_of_is_only_looked_at() -> None:
    assert header(bomb(10_000, color=0)) == Header(10_000, 10_000, 1)


@pytest.mark.parametrize("work", [pixels, header])
def test_a_small_file_that_fills_memory_is_refused_by_its_header(
    work: Callable[[bytes], object],
) -> None:
    with pytest.raises(Unreadable, match=r"would unpack to 507000000: over 100 times as much"):
        work(bomb(13_000))


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 1}, {"icc_profile": b"x"}])
def test_a_webp_is_refused_before_pillow_makes_room_for_it(options: dict[str, Any]) -> None:
    data = bytearray(encoded(noise_picture(16, 24), "WEBP", **options))
    kind = bytes(data[12:16])
    place, size = {
        b"VP8 ": (26, struct.pack("<HH", 16_000, 16_000)),
        b"VP8L": (21, struct.pack("<L", 15_999 | 15_999 << 14)),
        b"VP8X": (24, (15_999).to_bytes(3, "little") * 2),
    }[kind]
    assert header(bytes(data)) == Header(16, 24, 3)
    data[place : place + len(size)] = size

    with pytest.raises(Unreadable, match=r"16000 x 16000 pixels: more than 178 million"):
        header(bytes(data))


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_what_inflates_beside_the_pixels_is_refused(kind: bytes) -> None:
    data = encoded(noise_picture(16, 16), "PNG")
    head = {b"zTXt": b"Comment\0\0", b"iTXt": b"Comment\0\1\0\0\0", b"iCCP": b"x\0\0"}[kind]
    body = head + zlib.compress(bytes(100 << 20))
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    tracemalloc.start()
    with contextlib.suppress(Unreadable):  # of a colour profile that Pillow ignores
        pixels(data[:33] + chunk + data[33:])
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert most < 10 << 20


def test_a_truncated_jpeg_is_cut_short() -> None:
    data = encoded(noise_picture(64, 64), "JPEG")

    with pytest.raises(Unreadable, match="cut short"):
        pixels(data[: len(data) // 2])


def test_a_truncated_png_is_cut_short() -> None:
    data = encoded(noise_picture(64, 64), "PNG")

    with pytest.raises(Unreadable, match="cut short"):
        pixels(data[: len(data) // 2])


def test_a_damaged_png_is_refused_and_the_process_lives() -> None:
    data = bytearray(encoded(noise_picture(64, 64), "PNG"))
    data[len(data) // 2] ^= 0xFF

    with pytest.raises(Unreadable, match=r"damaged|cut short"):
        pixels(bytes(data))


@pytest.mark.parametrize("work", [pixels, header])
@pytest.mark.parametrize(("data", "reason"), [(b"hello there", "not a picture"), (b"", "empty")])
def test_what_is_no_picture_is_refused(
    work: Callable[[bytes], object], data: bytes, reason: str
) -> None:
    with pytest.raises(Unreadable, match=reason):
        work(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_side_under_eight_pixels_is_refused(kind: str) -> None:
    with pytest.raises(TooSmall, match="7 pixels: a side is under 8"):
        pixels(encoded(noise_picture(7, 20), kind))


def test_a_jpeg_after_a_hundred_kilobytes_of_other_segments_still_has_a_header() -> None:
    data = encoded(noise_picture(16, 24), "JPEG")
    filler = b"\xff\xe2" + struct.pack(">H", 50_002) + bytes(50_000)

    long = data[:2] + filler * 2 + data[2:]

    assert header(long) == Header(16, 24, 3)
    assert torch.equal(pixels(long), pixels(data))


def test_damaged_exif_costs_neither_the_picture_nor_a_warning() -> None:
    data = encoded(noise_picture(16, 24), "JPEG")
    damaged = b"Exif\0\0II*\0\xff\xff\0\0\x05\0"
    segment = b"\xff\xe1" + struct.pack(">H", len(damaged) + 2) + damaged

    assert torch.equal(pixels(data[:2] + segment + data[2:]), pixels(data))


class Watched(io.FileIO):
    """A file that counts the bytes read from it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self.count += len(data)
        return data

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        count = super().readinto(buffer) or 0
        self.count += count
        return count


def lengthened(path: Path, data: bytes, size: int) -> Path:
    """Write a file and lengthen it by zeros, which take no room on the disk."""
    path.write_bytes(data)
    os.truncate(path, size)
    return path


LITTLE = 1 << 20  # bytes


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"hello there", "not a picture"),
        (b"RIFF\0\0\0\0WAVEfmt ", "not a picture"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "more than 1068000000, not read"),
        (b"II*\0\xff\xff\xff\xff", "cut short"),
        (b"\xff\xd8hello", "damaged|cut short|more than"),
    ],
)
@pytest.mark.parametrize("work", [decoded, header_of])
def test_of_a_large_file_that_is_no_picture_little_is_read(
    tmp_path: Path, work: Callable[[BinaryIO], object], start: bytes, reason: str
) -> None:
    with Watched(lengthened(tmp_path / "x", start, 3 << 30)) as file:
        with pytest.raises(Unreadable, match=reason):
            work(cast(BinaryIO, file))
        assert file.count < LITTLE


def test_a_small_jpeg_in_a_large_file_is_refused(tmp_path: Path) -> None:
    path = lengthened(tmp_path / "x", encoded(noise_picture(16, 24), "JPEG"), 1 << 27)

    with Watched(path) as file:
        with pytest.raises(Unreadable, match="134217728 bytes for 24 x 16 pixels"):
            decoded(cast(BinaryIO, file))
        assert file.count < LITTLE


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "BMP", "PPM"])
def test_of_a_large_file_only_the_first_picture_is_read(tmp_path: Path, kind: str) -> None:
    picture = noise_picture(16, 24)

    with Watched(lengthened(tmp_path / "x", encoded(picture, kind), 1 << 27)) as file:
        found = decoded(cast(BinaryIO, file))
        assert file.count < LITTLE

    assert torch.equal(found.permute(1, 2, 0), torch.from_numpy(np.array(picture)))


def test_of_a_large_tiff_of_many_channels_only_the_first_page_is_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (16, 24, 5), dtype=np.uint16)
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig")
    os.truncate(path, 1 << 27)

    with Watched(path) as file:
        found = decoded(cast(BinaryIO, file))
        assert file.count < LITTLE

    assert np.array_equal(found.permute(1, 2, 0).numpy(), values)


def test_a_list_may_name_pipes_devices_and_folders(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    noise_picture(16, 24).save(tmp_path / "good.png")
    names = ("pipe.png", "/dev/zero", "folder.png", "nul\0.png", "good.png")
    (tmp_path / "list.txt").write_text("\n".join(names))
    source = open_data(tmp_path / "list.txt").train

    for work in (source.header, source.decode):
        for i, reason in enumerate(("a pipe or", "a pipe or", "directory", "null")):
            with pytest.raises(Unreadable, match=reason):
                work(i)
    assert source.decode(4).shape == (3, 16, 24)
    assert [stamp.endswith("is not there") for stamp in source.stamp()][1:] == [
        False,
        False,
        False,
        True,
        False,
    ]


def test_a_pipe_in_a_folder_is_no_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    noise_picture(16, 24).save(tmp_path / "b.png")

    with pytest.raises(Unreadable, match="a pipe or a device"):
        open_data(tmp_path).train.decode(0)
