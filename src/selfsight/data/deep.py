"""Deep: PNG and PPM files with 16 bits a sample, which Pillow alone would cut to eight.

Pillow decodes the deflated rows of a 16-bit PNG whole and only its last step, which copies them
into a picture, keeps one byte of two. Told once that the bytes stand in the file's order and once
that they stand in the other, it gives the high and then the low bytes. So everything is decoded by
the one decoder that survives damaged files, at twice the time.
"""

from io import BytesIO

import numpy as np
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile

from selfsight.data.samples import SIXTEEN_BIT, over_white

# Pillow's name of the rows' layout -> channels, with opacity.
DEEP_LAYOUTS = {"LA;16B": 2, "RGB;16B": 3, "RGBA;16B": 4}


def deep_channels(picture: ImageFile) -> int | None:
    """Tell the channels, opacity included, of an undecoded PNG whose 16 bits Pillow would cut."""
    if not isinstance(picture, PngImageFile) or not picture.tile:
        return None
    layout = picture.tile[0].args
    return DEEP_LAYOUTS.get(layout) if isinstance(layout, str) else None


def deep_png(data: bytes) -> np.ndarray:
    """Decode a PNG that `deep_channels` knows: -> (H, W, C) uint16, laid over white, C 1 or 3."""
    picture = PngImageFile(BytesIO(data))
    channels = deep_channels(picture)
    if channels == 2:  # four bytes a pixel, as if they were four channels of 8 bits
        values = _bytes_as(data, "RGBA").view(">u2").astype(np.uint16)  # (H, W, 2)
    else:
        order = "RGB" if channels == 3 else "RGBA"
        high, low = _bytes_as(data, f"{order};16B"), _bytes_as(data, f"{order};16L")
        values = high.astype(np.uint16) << 8 | low
    if channels == 3:
        return _without_key(values, picture.info.get("transparency"))
    return over_white(values[..., :-1], values[..., -1:])


def _bytes_as(data: bytes, layout: str) -> np.ndarray:
    """Let Pillow decode the rows as if they were laid out so: -> (H, W, C) uint8."""
    picture = PngImageFile(BytesIO(data))
    picture.tile = [tile._replace(args=layout) for tile in picture.tile]
    return np.array(picture)


def _without_key(values: np.ndarray, key: object) -> np.ndarray:
    """Turn pixels of the one colour that is transparent to white: (H, W, 3) -> the same."""
    if isinstance(key, tuple):
        values[(values == np.array(key, np.uint16)).all(axis=-1)] = SIXTEEN_BIT
    return values


def deepest_value(picture: ImageFile) -> int | None:
    """Tell the greatest value of a binary PGM or PPM whose samples must be scaled, else None."""
    if not isinstance(picture, PpmImageFile) or picture.tile[0].codec_name != "ppm":
        return None
    args = picture.tile[0].args
    return int(args[1]) if isinstance(args, tuple) else None


def scaled_ppm(picture: ImageFile, data: bytes, greatest: int) -> np.ndarray:
    """Read the samples of a PGM or PPM and scale `greatest` to 255 or 65535.

    Pillow does this sample by sample, in Python, and gives colour 8 bits.

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
    values = np.frombuffer(data, kind, count, start).astype(np.float32)
    scaled = np.rint(np.minimum(values / greatest, 1) * full).astype(f"u{kind.itemsize}")
    shape = (picture.height, picture.width, bands)[: 2 if bands == 1 else 3]
    return scaled.reshape(shape)
