"""Decode: turns a file's bytes into an upright picture of 8 or 16 bits, or says why not.

Size, mode and orientation are read first, so that a file that would unpack to gigabytes is refused
before a pixel is decoded, and a large file that is not a picture before it is read. Plain JPEGs are
decoded by torchvision, which is a quarter faster than Pillow and lets other threads run. Pillow
decodes everything else, including PNG: one damaged byte in a PNG makes torchvision's decoder end
the process with a segmentation fault. `sixteen_bit` and `tiff_pixels` decode what would lose depth
or channels in Pillow.

torchvision 0.29 announces the removal of its decoders. We call its operator, not the function that
warns at every picture; where the operator is missing, Pillow decodes JPEGs too.
"""

import contextlib
import io
from typing import BinaryIO, NamedTuple, cast

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

from selfsight.data.pictures.files.header import (
    LEAST_SIDE,
    MOST_BYTES,
    Header,
    TooSmall,
    check_weight,
    usable,
)
from selfsight.data.pictures.files.jpeg import JpegFacts, jpeg_facts
from selfsight.data.pictures.files.orientation import orientation_said
from selfsight.data.pictures.files.plugins import START_BYTES, opener_of, plugin_of_start
from selfsight.data.pictures.files.sixteen_bit import (
    deep_channels,
    deep_png,
    deepest_value,
    pixels_of,
    scaled_ppm,
)
from selfsight.data.pictures.files.tiff import (
    FLOAT,
    WHITE_IS_ZERO,
    TiffFacts,
    for_tifffile,
    tiff_facts,
)
from selfsight.data.pictures.files.tiff import SIGNATURES as TIFF_SIGNATURES
from selfsight.data.pictures.files.tiff_pixels import decode_tiff, silence_libtiff
from selfsight.data.pictures.forms.sample_values import REMEDY, SIXTEEN_BIT, as_picture, as_samples
from selfsight.data.pictures.memory_budget import BUDGET
from selfsight.data.source import Lost, Unreadable
from selfsight.errors import out_of_memory

__all__ = ["LEAST_SIDE", "Header", "TooSmall", "Unreadable", "decoded", "header_of", "reasons"]

HEADER_BYTES = 1 << 16  # enough for everything before the pixels of most JPEGs
SMALL_FILE = 1 << 26  # bytes; smaller files are read whole, which is fastest
MOST_FILE = 2 * MOST_BYTES  # bytes of a file other than TIFF; no usable picture needs more
GREY_MODES = ("1", "L", "LA", "La", "I", "F")
PILLOWS_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2}  # bytes a pixel by mode; 4 in all others
TWELVE_BIT = 4095
WHITE_BYTE = 255
MOST_BYTES_EACH = 32  # bytes a pixel in a file: more than plain PPM needs for samples as digits
UNCHANGED: int = ImageReadMode.UNCHANGED.value  # grey stays grey


class _QuietJpeg(JpegImageFile):
    """A JPEG whose EXIF Pillow does not read, since it would warn on stderr if it is damaged."""

    def _read_dpi_from_exif(self) -> None:
        """Do not read the printing resolution."""


RIFF = b"RIFF"
# Pillow's classes are called directly, because Image.open warns on stderr about pictures past half
# of our limit, follows JPEGs into their second pictures, and knows formats that run other programs.
FORMATS: tuple[tuple[bytes, type[ImageFile.ImageFile]], ...] = (
    (b"\xff\xd8", _QuietJpeg),
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"GIF8", GifImageFile),
    (RIFF, WebPImageFile),
    (b"BM", BmpImageFile),
    *((b"P%d" % kind, PpmImageFile) for kind in range(1, 7)),
)

# EXIF orientation -> whether to swap axes, to flip upside down, to mirror, in this order.
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


def header_of(file: BinaryIO) -> Header:
    """Read a picture's header.

    Raises:
        Unreadable: If it is not a picture of a known format, or is too small or too large.
    """
    with reasons():
        size = _size(file)
        if facts := _plain_jpeg(file.read(HEADER_BYTES)):
            grey = facts.components == 1
            usable(facts.height, facts.width)
            _weight_of_jpeg(facts).check(size)
            return _header(facts.height, facts.width, 1 if grey else 3, 8, facts.orientation)
        file.seek(0)
        if _is_tiff(file):
            facts = tiff_facts(file)
            return _header_of_tiff(facts, _begun_tiff(facts, file), size)
        picture = _begun(file)
        channels = 1 if _is_grey(picture) else 3
        bits = _bits(picture)
        usable(picture.height, picture.width, channels, bits)
        _weight_of(picture).check(size)
        return _header(picture.height, picture.width, channels, bits, _orientation(picture))


def decoded(file: BinaryIO) -> Tensor:
    """Decode a picture and turn it upright: -> (C, H, W) uint8 or uint16.

    C is 1 or 3, except for TIFFs with other channels.

    Raises:
        Unreadable: If it is not a picture, or is damaged, too small or too large.
    """
    with reasons():
        size = _size(file)
        large = size > SMALL_FILE
        data = file.read(HEADER_BYTES if large else -1)
        if facts := _plain_jpeg(data):
            usable(facts.height, facts.width)
            _weight_of_jpeg(facts).take(size)
            if large:
                data = _whole(file, facts.height, facts.width)
            encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            pixels = cast(Tensor, torch.ops.image.decode_jpeg(encoded, UNCHANGED))
            return _upright(pixels, facts.orientation)
        if large:
            file.seek(0)
        else:
            file = io.BytesIO(data)
        if _is_tiff(file):
            return _decoded_tiff(file, size)
        picture = _begun(file)
        bits = _bits(picture)
        usable(picture.height, picture.width, 1 if _is_grey(picture) else 3, bits)
        _weight_of(picture).take(size)
        if deep_channels(picture):
            picture.load()  # checks the file, and finds an orientation after the pixels
            data = _whole(file, picture.height, picture.width)
            return _upright(as_picture(deep_png(data)), _orientation(picture))
        if greatest := deepest_value(picture):
            data = _whole(file, picture.height, picture.width)
            return as_picture(scaled_ppm(picture, data, greatest))
        picture.load()
        # A PNG's EXIF may follow the pixels, so it is known only now.
        return _upright(_pixels(picture), _orientation(picture))


class _Weight(NamedTuple):
    """The memory that a picture takes.

    Attributes:
        decoding: Bytes while it is decoded.
        decoded: Bytes afterwards.
        bits: Bits of a sample, 8 or 16.
        grey: Whether it has one channel.
    """

    decoding: int
    decoded: int
    bits: int
    grey: bool

    @property
    def most(self) -> int:
        """Most bytes, including scaling: a copy, as floats, or grey as four channels."""
        copies = 3 if self.bits == 16 else 4 if self.grey else 1
        return max(self.decoding, self.decoded * (1 + copies))

    def check(self, packed: int) -> None:
        """Refuse a picture that takes too much, see `check_weight`."""
        check_weight(self.most, self.decoded, packed)

    def take(self, packed: int) -> None:
        """Refuse a picture that takes too much, and wait until there is room for it."""
        self.check(packed)
        BUDGET.take(self.most, self.decoded, packed)


def _weight_of_jpeg(facts: JpegFacts) -> _Weight:
    """Compute the memory for torchvision's decoder; several passes keep two bytes a sample."""
    decoded = facts.height * facts.width * facts.components
    return _Weight(decoded * (3 if facts.progressive else 1), decoded, 8, facts.components == 1)


def _weight_of(picture: ImageFile.ImageFile, stored: int = 0) -> _Weight:
    """Compute the memory for Pillow: it holds a picture, whose strips are copied into another.

    Args:
        picture: A picture whose header has been read.
        stored: Further bytes a pixel that its decoder keeps.
    """
    area, bits = picture.height * picture.width, _bits(picture)
    held = PILLOWS_BYTES.get(picture.mode[:4], 4)
    channels = 1 if _is_grey(picture) else 3
    deep = deep_channels(picture)
    if deep:
        stored += 2 * deep
    elif picture.info.get("progressive"):
        stored += 2 * len(picture.getbands())
    elif not isinstance(picture, PngImageFile | JpegImageFile | TiffImageFile):
        stored += 2 * held  # decoders of animations keep a frame or two
    decoded = area * channels * bits // 8
    return _Weight(area * (held + stored) + decoded, decoded, bits, channels == 1)


def _size(file: BinaryIO) -> int:
    """Give the size of a file in bytes, and go to its start."""
    size = file.seek(0, 2)
    file.seek(0)
    return size


def _whole(file: BinaryIO, height: int, width: int) -> bytes:
    """Read a whole file, unless it is far larger than its picture can need.

    Raises:
        Unreadable: If it is far larger.
    """
    size, most = _size(file), SMALL_FILE + height * width * MOST_BYTES_EACH
    if size > most:
        raise Unreadable(f"{size} bytes for {width} x {height} pixels: more than {most}, not read")
    return file.read(size)


def _header(
    height: int,
    width: int,
    channels: int,
    bits: int,
    orientation: int,
    besides: tuple[str, ...] = (),
) -> Header:
    """Make a header from a stored size: check it, and turn it upright."""
    usable(height, width, channels, bits)
    swap = TURNS.get(orientation, UPRIGHT)[0]
    return Header(*((width, height) if swap else (height, width)), channels, bits, besides)


def _is_tiff(file: BinaryIO) -> bool:
    """Tell by the first bytes whether a file is a TIFF, and go back to its start."""
    start = file.read(4)
    file.seek(0)
    return start in TIFF_SIGNATURES


def _header_of_tiff(facts: TiffFacts, picture: TiffImageFile | None, size: int) -> Header:
    """Make a TIFF's header: check its size, and turn it upright.

    Args:
        facts: What its header says.
        picture: The same as Pillow reads it, see `_begun_tiff`.
        size: Bytes of its file.
    """
    channels, bits = facts.channels, facts.decoded_bits
    if picture is not None:
        channels, bits = 1 if _is_grey(picture) else 3, _bits(picture)
    usable(facts.height, facts.width, channels, bits)
    _weight_of_tiff(facts, picture).check(size)
    return _header(facts.height, facts.width, channels, bits, facts.orientation, facts.besides)


def _weight_of_tiff(facts: TiffFacts, picture: TiffImageFile | None) -> _Weight:
    """Compute the memory for a TIFF; a single strip may hold the whole picture."""
    stored = facts.samples * facts.pages * max(8, facts.bits) // 8  # bytes a pixel
    if picture is not None:
        return _weight_of(picture, stored)
    area = facts.height * facts.width
    decoded = area * facts.channels * facts.decoded_bits // 8
    # Its pages one by one, all of them joined, and the channels without opacity.
    grey = facts.channels == 1
    return _Weight(2 * area * stored + 2 * decoded, decoded, facts.decoded_bits, grey)


class _StoredTiff(TiffImageFile):
    """A TIFF that Pillow does not turn upright, since it can read the field only in some files."""

    def load_end(self) -> None:
        """Leave the picture as it was decoded."""
        self._size = self.im.size


def _begun_tiff(facts: TiffFacts, file: BinaryIO) -> TiffImageFile | None:
    """Let Pillow read the header; None if tifffile decodes the picture."""
    if for_tifffile(facts):
        return None
    silence_libtiff()
    file.seek(0)
    return _StoredTiff(file)


def _decoded_tiff(file: BinaryIO, size: int) -> Tensor:
    """Decode a TIFF of `size` bytes by the library that keeps depth and channels: -> (C, H, W)."""
    facts = tiff_facts(file)
    picture = _begun_tiff(facts, file)
    _header_of_tiff(facts, picture, size)  # checks the size
    _weight_of_tiff(facts, picture).take(size)
    if picture is None:
        file.seek(0)
        return _upright(as_picture(decode_tiff(file, facts)), facts.orientation)
    picture.load()
    return _upright(_pixels_of_tiff(picture, facts), facts.orientation)


def _pixels_of_tiff(picture: Image.Image, facts: TiffFacts) -> Tensor:
    """Convert a loaded TIFF to grey or RGB: -> (C, H, W) uint8 or uint16."""
    pixels = _pixels(picture)
    if pixels.dtype == torch.uint16 and facts.kind != FLOAT:
        values = pixels.numpy()
        if facts.bits == 12:
            values = np.rint(values * (SIXTEEN_BIT / TWELVE_BIT)).astype(np.uint16)
        if facts.photometric == WHITE_IS_ZERO:  # Pillow inverts only 8 bits
            values = SIXTEEN_BIT - values
        return torch.from_numpy(values)
    return pixels


class reasons:
    """Turn any error of a decoder on damaged bytes into `Unreadable`, as a context."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, Unreadable):
            if out_of_memory(error):  # not the picture's fault
                return
            kind = Lost if isinstance(error, OSError) and error.strerror else Unreadable
            raise kind(_in_words(error)) from error


def _in_words(error: Exception) -> str:
    """Explain a decoder's error."""
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
    """Read a JPEG's header if torchvision can decode it: 8 bits, grey or colour."""
    if not hasattr(torch.ops.image, "decode_jpeg"):
        return None
    facts = jpeg_facts(data)
    return facts if facts and facts.bits == 8 and facts.components in (1, 3) else None


def _begun(file: BinaryIO) -> ImageFile.ImageFile:
    """Let Pillow read the header of a file of a known format."""
    size = _size(file)
    start = file.read(START_BYTES)
    file.seek(0)
    if not start:
        raise Unreadable("the file is empty")
    opener = _opener(start)
    if size > MOST_FILE:
        raise Unreadable(f"{size} bytes: more than {MOST_FILE}, not read")
    if opener is WebPImageFile:
        _check_webp(start)
    return opener(file)


def _check_webp(start: bytes) -> None:
    """Check the size of a WebP by its first bytes, since Pillow allocates it on opening.

    They describe a lossy picture, a lossless picture, or a canvas (RFC 9649).
    """
    kind, body = start[12:16], start[20:]
    if kind == b"VP8 ":
        width, height = (int.from_bytes(body[k : k + 2], "little") & 0x3FFF for k in (6, 8))
    elif kind == b"VP8L":
        packed = int.from_bytes(body[1:5], "little")
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    else:
        width, height = (int.from_bytes(body[k : k + 3], "little") + 1 for k in (4, 7))
    usable(height, width)


def _opener(start: bytes) -> type[ImageFile.ImageFile]:
    """Find Pillow's class for a file that begins like this."""
    for signature, opener in FORMATS:
        # Films and sounds are RIFF files too, which Pillow reads completely before it refuses.
        if start.startswith(signature) and (signature != RIFF or start[8:12] == b"WEBP"):
            return opener
    plugin = plugin_of_start(start)
    if plugin is None:
        raise Unreadable("not a picture in JPEG, PNG, GIF, WebP, BMP, TIFF or PPM format")
    opener = opener_of(plugin)
    if opener is None:
        raise Unreadable(f"{plugin.suffixes[0]} cannot be read here: {plugin.remedy}")
    return opener


def _bits(picture: ImageFile.ImageFile) -> int:
    """Give the depth that a picture will be decoded to: 8 or 16 bits."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16") or deep_channels(picture):
        return 16
    return 16 if (deepest_value(picture) or 0) > 255 else 8


def _orientation(picture: ImageFile.ImageFile) -> int:
    """Find the orientation, 1 (upright) to 8; in a PNG it may follow the pixels.

    It is parsed directly, since Pillow warns on stderr of damaged EXIF and decodes a PNG to find
    it.
    """
    exif, text = picture.info.get("exif"), picture.info.get("Raw profile type exif")
    if exif is None and isinstance(text, str):  # old programs wrote it into PNG in hexadecimal
        with contextlib.suppress(ValueError):
            exif = bytes.fromhex("".join(text.split("\n")[3:]))
    xmp = picture.info.get("xmp")
    known = (value if isinstance(value, bytes) else b"" for value in (exif, xmp))
    return orientation_said(*known)


def _upright(pixels: Tensor, orientation: int) -> Tensor:
    """Turn a picture upright: (C, H, W) or (C, W, H) -> (C, H, W)."""
    swap, upside_down, mirror = TURNS.get(orientation, UPRIGHT)
    pixels = pixels.transpose(1, 2) if swap else pixels
    axes = [axis for axis, asked in ((1, upside_down), (2, mirror)) if asked]
    return pixels.flip(axes) if axes else pixels


def _is_grey(picture: ImageFile.ImageFile) -> bool:
    grey = picture.mode in GREY_MODES or picture.mode.startswith("I;16")
    return grey or deep_channels(picture) == 2


def _pixels(picture: Image.Image) -> Tensor:
    """Convert a loaded picture of any mode to grey or RGB: -> (C, H, W) uint8 or uint16."""
    if picture.mode == "F" or picture.mode.startswith("I"):
        return as_picture(_deep_grey(picture))
    if picture.mode == "1":
        return as_picture(_one_bit(picture))
    if "transparency" in picture.info or picture.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return as_picture(pixels_of(picture, change=_over_white))
    if picture.mode not in ("L", "RGB"):
        return as_picture(pixels_of(picture, change=lambda part: part.convert("RGB")))
    return as_picture(pixels_of(picture))


def _one_bit(picture: Image.Image) -> np.ndarray:
    """Convert a one-bit picture, with white for a transparent value: -> (H, W) uint8."""
    values = pixels_of(picture) * np.uint8(WHITE_BYTE)
    key = picture.info.get("transparency")
    # Done here, since Pillow's versions differ in how they report and use a transparent white.
    return np.full_like(values, WHITE_BYTE) if key == 0 else values


def _over_white(picture: Image.Image) -> Image.Image:
    """Lay a picture with transparent parts over white; grey stays grey."""
    mode = "L" if picture.mode in GREY_MODES else "RGB"
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert(picture.mode.upper())
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert(mode)


def _deep_grey(picture: Image.Image) -> np.ndarray:
    """Convert a grey picture of more than 8 bits: -> (H, W) uint16."""
    kind = np.asarray(picture.crop((0, 0, 1, 1))).dtype
    values = pixels_of(picture, kind)
    if values.dtype.kind == "i":  # Pillow also holds 16 bits of some files so
        if values.min() < 0 or values.max() > SIXTEEN_BIT:
            raise Unreadable(f"negative or 32-bit pixels, whose range is unknown; {REMEDY}")
        values = values.astype(np.uint16)
    values = as_samples(values)
    key = picture.info.get("transparency")
    return np.where(values == key, np.uint16(SIXTEEN_BIT), values) if key is not None else values
