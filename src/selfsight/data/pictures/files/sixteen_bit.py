"""Sixteen-bit PNG and PPM files, which Pillow alone would reduce to 8 bits a sample.

Pillow inflates the rows of a 16-bit PNG completely, and only its last step, which copies them into
a picture, keeps one byte of two. Decoded once with the file's byte order and once with the opposite
order, it gives the high and then the low bytes. So the decoder that survives damaged files does all
the work, at twice the time.
"""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from numpy.typing import DTypeLike
from PIL.Image import Image
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile

from selfsight.data.pictures.forms.sample_values import SIXTEEN_BIT, over_white, strips

# Pillow's name of the rows' layout -> channels, including opacity.
DEEP_LAYOUTS = {"LA;16B": 2, "RGB;16B": 3, "RGBA;16B": 4}


def deep_channels(picture: ImageFile) -> int | None:
    """Give the channels, including opacity, of an undecoded 16-bit PNG that Pillow would reduce."""
    if not isinstance(picture, PngImageFile) or not picture.tile:
        return None
    layout = picture.tile[0].args
    return DEEP_LAYOUTS.get(layout) if isinstance(layout, str) else None


def deep_png(data: bytes) -> np.ndarray:
    """Decode a PNG that `deep_channels` finds: -> (H, W, C) uint16, laid over white, C 1 or 3."""
    picture = PngImageFile(BytesIO(data))
    channels = deep_channels(picture)
    if channels == 2:  # four bytes a pixel, as if they were four channels of 8 bits
        values = pixels_of(_read_as(data, "RGBA")).view(">u2").astype(np.uint16)  # (H, W, 2)
    else:
        order = "RGB" if channels == 3 else "RGBA"
        values = pixels_of(_read_as(data, f"{order};16B"), np.uint16)
        values <<= 8
        low = _read_as(data, f"{order};16L")
        for rows in strips(values.shape):
            values[rows] |= strip_of(low, rows)
    if channels == 3:
        return _without_key(values, picture.info.get("transparency"))
    return over_white(values[..., :-1], values[..., -1:])


def _read_as(data: bytes, layout: str) -> PngImageFile:
    """Let Pillow decode the rows as if they had this layout."""
    picture = PngImageFile(BytesIO(data))
    picture.tile = [tile._replace(args=layout) for tile in picture.tile]
    picture.load()
    return picture


def pixels_of(
    picture: Image, kind: DTypeLike = np.uint8, change: Callable[[Image], Image] = lambda part: part
) -> np.ndarray:
    """Copy the samples of a loaded picture strip by strip: -> (H, W) or (H, W, C).

    Pillow would copy the whole picture several times.

    Args:
        picture: The picture.
        kind: Type of the samples.
        change: Applied to each strip.
    """
    shape = (picture.height, picture.width)
    several = (len(change(picture.crop((0, 0, 1, 1))).getbands()),)
    whole = np.empty(shape if several == (1,) else shape + several, kind)
    for rows in strips(whole.shape):
        whole[rows] = change(cut_of(picture, rows))
    return whole


def cut_of(picture: Image, rows: slice) -> Image:
    """Cut a strip of rows out of a loaded picture."""
    return picture.crop((0, rows.start, picture.width, min(rows.stop, picture.height)))


def strip_of(picture: Image, rows: slice) -> np.ndarray:
    """Give the samples of a strip of rows: -> (h, W) or (h, W, C)."""
    return np.asarray(cut_of(picture, rows))


def _without_key(values: np.ndarray, key: object) -> np.ndarray:
    """Make pixels of the colour that is declared transparent white: (H, W, 3) -> the same."""
    if isinstance(key, tuple):
        for rows in strips(values.shape):
            part = values[rows]
            part[(part == np.array(key, np.uint16)).all(axis=-1)] = SIXTEEN_BIT
    return values


def deepest_value(picture: ImageFile) -> int | None:
    """Give the greatest value of a binary PGM or PPM whose samples must be scaled, else None."""
    if not isinstance(picture, PpmImageFile) or picture.tile[0].codec_name != "ppm":
        return None
    args = picture.tile[0].args
    return int(args[1]) if isinstance(args, tuple) else None


def scaled_ppm(picture: ImageFile, data: bytes, greatest: int) -> np.ndarray:
    """Read the samples of a PGM or PPM and scale `greatest` to 255 or 65535.

    Pillow does this sample by sample in Python, and reduces colour to 8 bits.

    Returns:
        (H, W) or (H, W, 3), uint8 where `greatest` is under 256, else uint16.

    Raises:
        EOFError: If the file ends before the picture does.
    """
    bands = len(picture.getbands())
    kind, full = (np.dtype("u1"), 255) if greatest < 256 else (np.dtype(">u2"), SIXTEEN_BIT)
    count = picture.height * picture.width * bands
    start = picture.tile[0].offset
    if len(data) - start < count * kind.itemsize:
        raise EOFError
    shape = (picture.height, picture.width, bands)[: 2 if bands == 1 else 3]
    values = np.frombuffer(data, kind, count, start).reshape(shape)
    scaled = np.empty(shape, f"u{kind.itemsize}")
    for rows in strips(shape):
        shares = np.minimum(values[rows].astype(np.float32) / greatest, 1)
        scaled[rows] = np.rint(shares * full)
    return scaled
