"""Fuzz: a thousand damaged files beside good ones; each decodes or says why not, and no more.

Other seeds, by hand: `python tests/data/test_fuzz.py FIRST_SEED COUNT`.
"""

import io
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from selfsight.data import Unreadable, open_data
from selfsight.data.source import Source

FILES = 1000
FILES_A_FOLDER = 100
MOST_SECONDS = 10  # for one file: many thousand times what it takes

# What libjpeg prints itself while torchvision decodes, which offers no way to prevent it.
LIBJPEG = (
    "Corrupt JPEG data:",
    "Inconsistent progression",
    "Invalid SOS",
    "Premature end of JPEG",
    "Unknown Adobe color",
    "Warning: unknown JFIF",
)

Damage = Callable[[bytes, random.Random], bytes]


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def tiff(values: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)  # pyright: ignore[reportArgumentType] -- of any kind
    return file.getvalue()


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


def cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def flipped(data: bytes, draw: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8, 40))):
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def flipped_at_the_start(data: bytes, draw: random.Random) -> bytes:
    """Damage where headers stand."""
    head = min(len(data), 300)
    return flipped(data[:head], draw) + data[head:]


def huge_numbers(data: bytes, draw: random.Random) -> bytes:
    """Write large numbers where headers stand: sizes, counts, places."""
    damaged = bytearray(data)
    order = draw.choice("<>")
    for _ in range(draw.choice((1, 2, 4))):
        at = draw.randrange(min(len(damaged) - 4, 200))
        number = draw.choice((0, 0x7FFF, 0xFFFF, 0x00100000, 0x7FFFFFFF, 0xFFFFFFFF))
        damaged[at : at + 4] = struct.pack(f"{order}L", number)
    return bytes(damaged)


def emptied(data: bytes, draw: random.Random) -> bytes:
    return b"" if draw.random() < 0.2 else bytes(len(data))


def swapped_ends(data: bytes, draw: random.Random) -> bytes:
    """The start of this picture, then what belongs to none."""
    at = draw.randrange(8, len(data))
    return data[:at] + draw.randbytes(len(data) - at)


def same(data: bytes, draw: random.Random) -> bytes:
    return data


DAMAGES: tuple[Damage, ...] = (
    cut,
    flipped,
    flipped,
    flipped_at_the_start,
    flipped_at_the_start,
    huge_numbers,
    huge_numbers,
    emptied,
    swapped_ends,
    same,
)


def damaged_files(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Draw files with their suffixes, wrong for some."""
    draw = random.Random(seed)
    good = good_files()
    for _ in range(count):
        suffix, data = draw.choice(good)
        if draw.random() < 0.1:
            suffix = draw.choice(good)[0]
        yield suffix, draw.choice(DAMAGES)(data, draw)


def tried(source: Source, i: int) -> str | None:
    """Read a file's header and pixels: -> what is wrong with how that went, if anything is."""
    begun = time.process_time()
    try:
        header = source.header(i)
    except Unreadable:
        header = None
    try:
        pixels = source.decode(i)
    except Unreadable:
        pixels = None
    if (spent := time.process_time() - begun) > MOST_SECONDS:
        return f"took {spent:.0f} s"
    if header is None or pixels is None:
        return None
    found = (*pixels.shape, pixels.dtype.itemsize * 8)
    promised = (header.channels, header.height, header.width, header.bits)
    return None if found == promised else f"promised {promised}, gave {found}"


def hunt(folder: Path, seed: int, count: int) -> tuple[int, int]:
    """Write files, try them all, and print what went wrong: -> how many were decoded, and tried."""
    for k, (suffix, data) in enumerate(damaged_files(seed, count)):
        (folder / f"{k:04d}{suffix}").write_bytes(data)
    source = open_data(folder).train
    decoded = 0
    for i in range(len(source)):
        try:
            fault = tried(source, i)
            source.decode(i)
            decoded += 1
        except Unreadable:
            fault = None
        except BaseException as error:
            fault = repr(error)
        if fault:
            print(f"{source.title(i)} of seed {seed}: {fault}", file=sys.stderr)
    return decoded, len(source)


@pytest.mark.slow
def test_every_damaged_file_decodes_or_says_why_not(tmp_path: Path) -> None:
    program = [sys.executable, "-W", "always", __file__, "0", str(FILES), str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=300)

    lines = [line for line in done.stderr.splitlines() if not line.startswith(LIBJPEG)]
    assert lines == []
    assert done.returncode == 0
    decoded, found = map(int, done.stdout.split())
    assert found == FILES
    assert FILES // 10 < decoded < FILES * 2 // 3  # the damage is neither all nor nothing


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory(dir=sys.argv[3] if len(sys.argv) > 3 else None) as place:
        print(*hunt(Path(place), int(sys.argv[1]), int(sys.argv[2])))
