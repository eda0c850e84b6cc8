"""Decode: bytes become an upright uint8 picture, or a reason why not.

Size, mode and orientation are read first, so a file that would unpack to gigabytes is refused
before a pixel is decoded. Plain JPEGs are then decoded by torchvision, which is a quarter faster
than Pillow and lets other threads run. Everything else is Pillow's, PNG included: a PNG with one
damaged byte ends torchvision's decoder, and with it the process, in a segmentation fault.

torchvision 0.29 announces that its decoders will go. Its operator is called, not the function
that warns at every picture; where there is no such operator Pillow decodes JPEGs too.
"""

import io
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np
import torch
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from torch import Tensor
from torchvision.io import ImageReadMode  # this import also registers torch.ops.image

from selfsight.data.jpeg import ORIENTATION, JpegFacts, jpeg_facts

LEAST_SIDE = 8  # pixels; no task has a crop smaller than this
MOST_PIXELS = 178_000_000  # half a gigabyte in colour; Pillow's own limit for a certain bomb
HEADER_BYTES = 1 << 16  # enough for all that precedes the pixels of most JPEGs
GREY_MODES = ("1", "L", "LA", "La", "I", "F")
SIXTEEN_BIT = 65535
UNCHANGED: int = ImageReadMode.UNCHANGED.value  # grey stays grey

# Called by name, not through Image.open: that warns on stderr about pictures past half of our
# limit, follows JPEGs into their second pictures, and knows formats that run other programs.
FORMATS: tuple[tuple[bytes, type[ImageFile.ImageFile]], ...] = (
    (b"\xff\xd8", JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"GIF8", GifImageFile),
    (b"RIFF", WebPImageFile),
    (b"BM", BmpImageFile),
    (b"II*\0", TiffImageFile),
    (b"MM\0*", TiffImageFile),
    *((b"P%d" % kind, PpmImageFile) for kind in range(1, 7)),
)
LONGEST_SIGNATURE = max(len(signature) for signature, _ in FORMATS)

# EXIF orientation -> what to do, in this order: swap axes, turn upside down, mirror.
TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
UPRIGHT = (False, False, False)


class Unreadable(Exception):
    """A picture that is skipped; the message is the reason, in words."""


class TooSmall(Unreadable):
    """A picture with a side too short for any task."""


@dataclass(frozen=True)
class Header:
    """What is known of a picture before it is decoded.

    Attributes:
        height: In pixels, upright.
        width: In pixels, upright.
        channels: 1 for grey, 3 for colour, else as many as the picture has.
        bits: 8 or 16, of a sample as it will be decoded.
    """

    height: int
    width: int
    channels: int
    bits: int = 8


def usable(height: int, width: int) -> None:
    """Refuse sizes that no task can use, or that would fill the memory.

    Raises:
        Unreadable: If a side is under `LEAST_SIDE` or there are more than `MOST_PIXELS`.
    """
    if min(height, width) < LEAST_SIDE:
        raise TooSmall(f"{width} x {height} pixels: a side is under {LEAST_SIDE}")
    if height * width > MOST_PIXELS:
        raise Unreadable(
            f"{width} x {height} pixels: more than {MOST_PIXELS // 1_000_000} million, not decoded"
        )


def header_of(file: BinaryIO) -> Header:
    """Read a picture's header.

    Raises:
        Unreadable: If it is no picture of a known format, or too small or too large.
    """
    with reasons():
        if facts := _plain_jpeg(file.read(HEADER_BYTES)):
            turn, height, width = _turned(facts.orientation), facts.height, facts.width
            grey = facts.components == 1
        else:
            file.seek(0)
            picture = _begun(file)
            turn, height, width = _turn(picture), picture.height, picture.width
            grey = _is_grey(picture)
        usable(height, width)
        upright = (width, height) if turn[0] else (height, width)
        return Header(*upright, 1 if grey else 3)


def decoded(file: BinaryIO) -> Tensor:
    """Decode a picture and turn it upright: -> (C, H, W) uint8, C 1 or 3.

    Raises:
        Unreadable: If it is no picture, damaged, too small or too large.
    """
    with reasons():
        data = file.read()
        if facts := _plain_jpeg(data):
            usable(facts.height, facts.width)
            encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            pixels = cast(Tensor, torch.ops.image.decode_jpeg(encoded, UNCHANGED))
            return _upright(pixels, _turned(facts.orientation))
        picture = _begun(io.BytesIO(data))
        usable(picture.height, picture.width)
        picture.load()
        # Only now is a PNG's EXIF, which may stand behind the pixels, known for certain.
        return _upright(_pixels(picture), _turned(picture.getexif().get(ORIENTATION, 1)))


class reasons:
    """Turn whatever a decoder raises on damaged bytes into `Unreadable`."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, Unreadable | MemoryError):
            raise Unreadable(_in_words(error)) from error


def _in_words(error: Exception) -> str:
    """Say what a decoder's error means."""
    text = str(error)
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return "the file is cut short"
    if isinstance(error, Image.DecompressionBombError):
        return "far too many pixels, not decoded"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be opened: {error.strerror}"
    first = text.split("\n")[0].split(", ")[-1]
    return f"damaged: {first}" if first else f"damaged ({type(error).__name__})"


def _plain_jpeg(data: bytes) -> JpegFacts | None:
    """Read a JPEG's header if torchvision decodes its kind: 8 bits, grey or colour."""
    if not hasattr(torch.ops.image, "decode_jpeg"):
        return None
    facts = jpeg_facts(data)
    return facts if facts and facts.bits == 8 and facts.components in (1, 3) else None


def _begun(file: BinaryIO) -> ImageFile.ImageFile:
    """Let Pillow read the header."""
    start = file.read(LONGEST_SIGNATURE)
    file.seek(0)
    if not start:
        raise Unreadable("the file is empty")
    for signature, opener in FORMATS:
        if start.startswith(signature):
            return opener(file)
    raise Unreadable("not a picture in JPEG, PNG, GIF, WebP, BMP, TIFF or PPM format")


def _turn(picture: ImageFile.ImageFile) -> tuple[bool, bool, bool]:
    """Look up how an undecoded picture must be turned."""
    if isinstance(picture, TiffImageFile):  # Pillow turns these itself
        return UPRIGHT
    if isinstance(picture, PngImageFile) and "exif" not in picture.info:
        return UPRIGHT  # else getexif would decode the whole picture to look behind it
    return _turned(picture.getexif().get(ORIENTATION, 1))


def _turned(orientation: int) -> tuple[bool, bool, bool]:
    return TURNS.get(orientation, UPRIGHT)


def _upright(pixels: Tensor, turn: tuple[bool, bool, bool]) -> Tensor:
    """Swap axes, turn upside down and mirror as asked: (C, H, W) or (C, W, H) -> (C, H, W)."""
    swap, upside_down, mirror = turn
    pixels = pixels.transpose(1, 2) if swap else pixels
    axes = [axis for axis, asked in ((1, upside_down), (2, mirror)) if asked]
    return pixels.flip(axes) if axes else pixels


def _is_grey(picture: ImageFile.ImageFile) -> bool:
    return picture.mode in GREY_MODES or picture.mode.startswith("I;16")


def _pixels(picture: Image.Image) -> Tensor:
    """Bring a loaded picture of any mode to 8-bit grey or RGB: -> (C, H, W) uint8."""
    if picture.mode == "F" or picture.mode.startswith("I"):
        return _from_sixteen_bits(np.array(picture))
    if picture.mode == "1":
        picture = picture.convert("L")
    elif "transparency" in picture.info or picture.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        picture = _over_white(picture)
    elif picture.mode not in ("L", "RGB"):
        picture = picture.convert("RGB")
    pixels = torch.from_numpy(np.array(picture))
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)


def _over_white(picture: Image.Image) -> Image.Image:
    """Lay a picture with transparent parts on white paper; grey stays grey."""
    mode = "L" if picture.mode in GREY_MODES else "RGB"
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert(picture.mode.upper())
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert(mode)


def _from_sixteen_bits(values: np.ndarray) -> Tensor:
    """Scale [0, 65535] to [0, 255]: (H, W) -> (1, H, W) uint8."""
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > SIXTEEN_BIT:
        raise Unreadable("pixels of 32 bits, whose range is unknown; save it with 8 or 16 bits")
    scaled = (values.astype(np.uint32) * 255 + SIXTEEN_BIT // 2) // SIXTEEN_BIT
    return torch.from_numpy(scaled.astype(np.uint8))[None]
