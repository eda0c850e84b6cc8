"""Modes: every kind of picture that Pillow can write, upright and on white, as Pillow shows it."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps

from selfsight.data.pictures.files.decode import decoded, header_of

HEIGHT, WIDTH = 19, 26  # neither is whole bytes of one-bit pixels
CHANCE = np.random.default_rng(0)
COARSE = CHANCE.integers(0, 256, (5, 6, 4), dtype=np.uint8)
COLOUR = Image.fromarray(COARSE).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)  # RGBA, smooth
PLAIN = COLOUR.convert("RGB")
DEEP = CHANCE.integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16)
FLOAT = CHANCE.random((HEIGHT, WIDTH)).astype(np.float32)

JPEG_DIFFERENCE = 4  # of 255: decoders round their transforms and colours differently


def in_mode(mode: str) -> Image.Image:
    """Make the picture in one of Pillow's modes."""
    if mode in ("I;16", "I;16B", "I;16L"):
        kind = ">u2" if mode.endswith("B") else "<u2"
        return Image.frombytes(mode, (WIDTH, HEIGHT), DEEP.astype(kind).tobytes())
    if mode == "I":
        return Image.fromarray(DEEP.astype(np.int32))
    if mode == "F":
        return Image.fromarray(FLOAT)
    if mode == "LAB":
        profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
        turned = ImageCms.applyTransform(
            PLAIN, ImageCms.buildTransform(*profiles, inMode="RGB", outMode="LAB")
        )
        assert turned is not None
        return turned
    if mode.startswith("P") and mode != "PA":  # P2, P4, P16: one, two and four bits
        return PLAIN.quantize(int(mode[1:] or 200))
    if mode == "La":
        return COLOUR.convert("LA").convert("La")
    opaque = mode not in ("RGBA", "RGBa", "LA", "PA")
    return (PLAIN if opaque else COLOUR).convert(mode)


MODES = (
    *("1", "L", "LA", "La", "P", "P2", "P4", "P16", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr"),
    *("LAB", "HSV", "I", "I;16", "I;16B", "I;16L", "F"),
)
FORMATS: dict[str, tuple[dict[str, object], ...]] = {
    "PNG": ({},),
    "JPEG": ({"quality": 95, "subsampling": 0}, {"quality": 80}, {"progressive": True}),
    "TIFF": tuple(
        {"compression": name}
        for name in (
            *(None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd"),
            *("jpeg", "group3", "group4"),
        )
    ),
    "WEBP": ({"lossless": True, "exact": True}, {"quality": 90}),
    "GIF": ({},),
    "BMP": ({},),
    "PPM": ({},),
}
BYTES = bytes([0, 50, 255, 128] * 4)
TRANSPARENT: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(("P", "P2", "P4", "P16"), (1, BYTES)),
    "L": (0, int(np.asarray(PLAIN.convert("L"))[3, 3]), 255),
    "1": (0, 1),
    "RGB": (PLAIN.getpixel((3, 3)),),
    "I;16": (int(DEEP[3, 3]),),
    "I": (int(DEEP[3, 3]),),
}
# Kinds of unknown range are refused, which other tests check.
REFUSED = {("TIFF", "I"), ("PPM", "F")}


def written(kind: str) -> Iterator[tuple[str, bytes]]:
    """Write every mode with every option of a format that Pillow agrees to: -> name, file."""
    for mode in MODES:
        clear = TRANSPARENT.get(mode, ()) if kind in ("PNG", "GIF", "WEBP") else ()
        for options in FORMATS[kind]:
            for more in ({}, *({"transparency": one} for one in clear)):
                file = io.BytesIO()
                try:
                    in_mode(mode).save(file, kind, **options, **more)
                except (OSError, ValueError, TypeError, KeyError):
                    continue  # Pillow writes no such file
                if (kind, mode) not in REFUSED:
                    yield f"{kind} {mode} {options} {more}", file.getvalue()


def shown(data: bytes) -> np.ndarray:
    """Let Pillow show a file, upright and on white: -> (H, W, 3) uint8, or (H, W) as stored."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.uint16)
        key = picture.info.get("transparency")
        return values if key is None else np.where(values == key, np.uint16(65535), values)
    if picture.mode == "F":
        return np.rint(np.asarray(picture) * 65535.0).astype(np.uint16)
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert(picture.mode.upper())
    if "transparency" in picture.info or picture.mode in ("LA", "PA", "RGBA"):
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB"))


def read(data: bytes) -> np.ndarray:
    """Decode, and check that the result matches the header: -> (H, W, C)."""
    header, pixels = header_of(io.BytesIO(data)), decoded(io.BytesIO(data))
    assert (header.channels, header.height, header.width) == pixels.shape
    assert header.bits == {torch.uint8: 8, torch.uint16: 16}[pixels.dtype]
    return pixels.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_mode_that_pillow_writes_looks_as_pillow_shows_it(kind: str) -> None:
    files = dict(written(kind))
    for name, data in files.items():
        found, expected = read(data), shown(data)
        if expected.ndim == 2:
            assert found.dtype == np.uint16, name
            assert np.array_equal(found[..., 0], expected), name
            continue
        found = np.broadcast_to(found, expected.shape).astype(int)
        most = JPEG_DIFFERENCE if "JPEG" in name or "jpeg" in name else 0
        assert np.abs(found - expected).max() <= most, name
    assert len(files) >= {"GIF": 10, "BMP": 4, "PPM": 4}.get(kind, 12), list(files)


def one_bit(key: bytes) -> bytes:
    """Write a one-bit PNG by hand, of stripes eight pixels wide, with a transparent value."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))
        )

    head = struct.pack(">LLBBBBB", 32, 8, 1, 0, 0, 0, 0)
    rows = b"\0\xff\x00\xff\x00" * 8
    body = chunk(b"IHDR", head) + chunk(b"tRNS", key) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


@pytest.mark.parametrize(("key", "stripes"), [(b"\0\0", [255] * 4), (b"\0\1", [255, 0, 255, 0])])
def test_a_transparent_value_of_one_bit_is_white_paper(key: bytes, stripes: list[int]) -> None:
    assert read(one_bit(key))[0, ::8, 0].tolist() == stripes


# EXIF's and TIFF's field types that hold numbers: type -> how struct writes it.
TYPES = {
    **{1: "B", 3: "H", 4: "L", 5: "LL", 6: "b", 8: "h", 9: "l", 10: "ll"},
    **{11: "f", 12: "d", 13: "L", 16: "Q"},
}
BYTE = 1  # which Pillow reads as bytes, so that it leaves the picture as it is
ORDERS = ("<", ">")


def exif(order: str, kind: int, value: int, count: int = 1) -> bytes:
    """Write EXIF of one field by hand."""
    code = TYPES[kind]
    one = struct.pack(order + code, *((value, 1) if len(code) == 2 else (value,)))
    values = one * count
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "LH", 8, 1)
    entry = struct.pack(order + "HHL", 0x0112, kind, count)
    if len(values) <= 4:
        return head + entry + values.ljust(4, b"\0") + bytes(4)
    return head + entry + struct.pack(order + "L", len(head + entry) + 8) + bytes(4) + values


def turned(orientation: int) -> np.ndarray:
    """Turn the picture by EXIF 2.3, section 4.6.4: where row 0 and column 0 of the stored lie."""
    values = np.asarray(PLAIN)
    ways = {
        1: values,  # top, left
        2: values[:, ::-1],  # top, right
        3: values[::-1, ::-1],  # bottom, right
        4: values[::-1],  # bottom, left
        5: values.swapaxes(0, 1),  # left, top
        6: values.swapaxes(0, 1)[:, ::-1],  # right, top
        7: values.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
        8: values.swapaxes(0, 1)[::-1],  # left, bottom
    }
    return ways.get(orientation, values)


LOSSLESS = {"JPEG": {"quality": 100, "subsampling": 0}, "PNG": {}, "WEBP": {"lossless": True}}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", LOSSLESS)
def test_exif_of_every_field_type_turns_the_picture_upright(kind: str, order: str) -> None:
    for field in TYPES:
        for orientation in range(10):  # 0 and 9 are no way up
            file = io.BytesIO()
            said = b"Exif\0\0" + exif(order, field, orientation)
            PLAIN.save(file, kind, exif=said, **LOSSLESS[kind])

            found = read(file.getvalue()).astype(int)

            expected = turned(orientation)
            assert found.shape == expected.shape, (field, orientation)
            assert np.abs(found - expected).max() <= JPEG_DIFFERENCE, (field, orientation)
            if field != BYTE:
                assert np.abs(found - shown(file.getvalue())).max() <= JPEG_DIFFERENCE


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_tiffs_of_every_field_type_are_turned_upright(order: str, big: bool) -> None:
    for field, code in TYPES.items():
        for orientation in range(1, 9):
            data = tiff(order, field, code, orientation, big=big)

            found = read(data)

            assert np.array_equal(found, turned(orientation)), (field, orientation)
            if field != BYTE and not big:
                assert np.array_equal(found, shown(data)), (field, orientation)


def tiff(order: str, field: int, code: str, orientation: int, *, big: bool) -> bytes:
    """Write the picture as a TIFF by hand, its directory last."""
    pixels = np.asarray(PLAIN).tobytes()
    word, entry = ("Q", 8) if big else ("L", 4)
    start = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "H", 43 if big else 42)
    start += struct.pack(order + "HH", 8, 0) if big else b""
    first = len(start) + entry
    numbers = (orientation, 1) if len(code) == 2 else (orientation,)
    said = struct.pack(order + code, *numbers)
    bits = struct.pack(order + "HHH", 8, 8, 8)
    fields = [
        *(
            (256, 3, 1, struct.pack(order + "H", WIDTH)),
            (257, 3, 1, struct.pack(order + "H", HEIGHT)),
        ),
        *((258, 3, 3, bits), (259, 3, 1, struct.pack(order + "H", 1))),
        *((262, 3, 1, struct.pack(order + "H", 2)), (273, 4, 1, struct.pack(order + "L", first))),
        (274, field, 1, said),
        (277, 3, 1, struct.pack(order + "H", 3)),
        (279, 4, 1, struct.pack(order + "L", len(pixels))),
    ]
    beyond, table = b"", b""
    for tag, kind, count, value in fields:
        table += struct.pack(f"{order}HH{word}", tag, kind, count)
        if len(value) <= entry:
            table += value.ljust(entry, b"\0")
        else:
            table += struct.pack(order + word, first + len(pixels) + len(beyond))
            beyond += value
    count = struct.pack(order + ("Q" if big else "H"), len(fields))
    place = struct.pack(order + word, first + len(pixels) + len(beyond))
    return start + place + pixels + beyond + count + table + bytes(entry)


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_xmp_tells_the_orientation_where_exif_does_not(kind: str) -> None:
    for said, orientation in ((b"", 6), (exif("<", 3, 8), 8)):
        file = io.BytesIO()
        more: dict[str, object] = {"exif": b"Exif\0\0" + said} if said else {}
        PLAIN.save(file, kind, xmp=XMP, **LOSSLESS[kind], **more)

        assert read(file.getvalue()).shape == turned(orientation).shape
        assert np.abs(read(file.getvalue()).astype(int) - shown(file.getvalue())).max() <= 4


@pytest.mark.parametrize(
    "said",
    [
        exif("<", 3, 6)[:-6],  # cut in the entry
        exif("<", 12, 6)[:-3],  # cut in the value
        exif("<", 3, 6, count=0),
        exif("<", 3, 6).replace(b"\x12\x01\x03\x00", b"\x12\x01\x63\x00"),  # no known type
        exif("<", 5, 6)[:-4] + bytes(4),  # six divided by nothing
    ],
)
def test_damaged_exif_leaves_the_picture_as_it_is(said: bytes) -> None:
    file = io.BytesIO()
    PLAIN.save(file, "PNG", exif=said)

    assert np.array_equal(read(file.getvalue()), np.asarray(PLAIN))


def test_the_first_of_several_values_counts() -> None:
    file = io.BytesIO()
    PLAIN.save(file, "PNG", exif=exif(">", 4, 6, count=3))

    assert np.array_equal(read(file.getvalue()), turned(6))
