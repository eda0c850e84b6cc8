"""Pictures: one or more of every kind that is decoded, damaged, with a suffix that may be wrong."""

import io
import random
from functools import cache
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from fuzz.damages import damaged


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def tiff(values: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)  # pyright: ignore[reportArgumentType] -- of any kind
    return file.getvalue()


@cache
def good_files() -> list[tuple[str, bytes]]:
    """One or more pictures of every kind that is decoded, each with its suffix."""
    draw = np.random.default_rng(0)
    grey = draw.integers(0, 256, (24, 31), dtype=np.uint8)
    colour = draw.integers(0, 256, (24, 31, 3), dtype=np.uint8)
    deep = draw.integers(0, 65536, (24, 31), dtype=np.uint16)
    deep_colour = draw.integers(0, 65536, (24, 31, 3), dtype=np.uint16)
    many = draw.integers(0, 256, (24, 31, 5), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture, plain = Image.fromarray(colour), Image.fromarray(grey)
    several = {"save_all": True, "append_images": [picture.rotate(90)]}
    planes = np.ascontiguousarray(many.transpose(2, 0, 1))
    ppm16 = b"P6 31 24 4095\n" + (deep_colour // 16).astype(">u2").tobytes()
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    tiled_many = tiff(many, tile=(16, 16), compression="packbits", **options)
    return [
        (".jpg", encoded(picture, "JPEG", exif=exif)),
        (".jpg", encoded(plain, "JPEG", progressive=True)),
        (".jpg", encoded(picture.convert("CMYK"), "JPEG", exif=exif)),
        (".png", encoded(picture, "PNG", exif=exif)),
        (".png", encoded(plain.convert("1"), "PNG")),
        (".png", encoded(picture.convert("RGBA"), "PNG")),
        (".png", encoded(picture.quantize(16), "PNG", transparency=3)),
        (".png", encoded(Image.fromarray(deep), "PNG")),
        (".png", encoded(picture, "PNG", **several)),
        (".gif", encoded(picture, "GIF", **several)),
        (".webp", encoded(picture, "WEBP", exif=exif)),
        (".webp", encoded(picture, "WEBP", lossless=True)),
        (".bmp", encoded(picture, "BMP")),
        (".bmp", encoded(picture.quantize(16), "BMP")),
        (".ppm", encoded(picture, "PPM")),
        (".pgm", encoded(Image.fromarray(deep), "PPM")),
        (".ppm", ppm16),
        (".pgm", b"P2 8 8 255\n" + b" ".join(b"%d" % v for v in grey[:8, :8].ravel())),
        (".tif", encoded(picture, "TIFF", exif=exif)),
        (".tif", encoded(picture, "TIFF", compression="tiff_lzw")),
        (".tif", encoded(picture, "TIFF", compression="jpeg")),
        (".tif", encoded(plain.convert("1"), "TIFF", compression="group4")),
        (".tif", encoded(Image.fromarray(deep), "TIFF", compression="tiff_deflate")),
        (".tif", tiff(deep_colour, photometric="rgb")),
        (".tif", tiff(deep_colour, photometric="rgb", compression="lzw", predictor=True)),
        (".tif", tiff(deep_colour, photometric="rgb", compression="zlib", bigtiff=True)),
        (".tif", tiled_many),
        (".tif", tiff(planes, photometric="minisblack", planarconfig="separate")),
        (".tif", tiff(planes, imagej=True, metadata={"axes": "CYX"})),
        (".tif", tiff(planes, ome=True, metadata={"axes": "CYX"}, photometric="minisblack")),
        (".tif", tiff(grey.astype(np.float32) / 255)),
        (".tif", tiff(colour.astype(np.float16) / 255, photometric="rgb")),
    ]


def damaged_file(draw: random.Random) -> tuple[str, bytes]:
    """Draw a damaged file: -> its suffix, wrong for some, and its bytes."""
    good = good_files()
    suffix, data = draw.choice(good)
    if draw.random() < 0.1:
        suffix = draw.choice(good)[0]
    return suffix, damaged(data, draw)


def make(place: Path, draw: random.Random) -> str:
    """Lay a damaged picture out, in one of the ways that pictures are given: -> what to open."""
    suffix, data = damaged_file(draw)
    (place / f"a{suffix}").write_bytes(data)
    way = draw.random()
    if way < 0.05:
        return f"photo:{place / f'a{suffix}'}"
    if way < 0.5:
        good = draw.choice(good_files())
        for number in range(11):  # so that one damaged picture may be skipped
            (place / f"{number}{good[0]}").write_bytes(good[1])
    return str(place)
