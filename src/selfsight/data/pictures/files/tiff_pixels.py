"""TIFF pixels of kinds that Pillow would lose: many channels, 16-bit colour, most floats.

Pillow decodes the usual kinds: 8-bit grey and colour, and 16-bit grey. The others go to tifffile,
which trusts the file more, so only after their sizes have been checked, and only with compressions
whose decoders bound their output.
"""

import contextlib
import ctypes
import logging
import lzma
import math
import zlib
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

from selfsight.data.pictures.files.header import usable
from selfsight.data.pictures.files.tiff import PREMULTIPLIED, WHITE_IS_ZERO, TiffFacts
from selfsight.data.pictures.forms.sample_values import as_samples, over_white
from selfsight.data.source import Unreadable

if TYPE_CHECKING:
    from tifffile import TiffPage

# None, LZW, deflate (two numbers), PackBits, LZMA, Zstandard.
COMPRESSIONS = (1, 5, 8, 32946, 32773, 34925, 50000)
INFLATERS = {
    8: zlib.decompressobj,
    32946: zlib.decompressobj,
    34925: lzma.LZMADecompressor,
}
ROOM = 1 << 25  # bytes that the tiles of a small picture may take


def decode_tiff(file: BinaryIO, facts: TiffFacts) -> np.ndarray:
    """Decode a kind that `for_tifffile` accepts: -> (H, W, C) uint8 or uint16, laid over white.

    Args:
        file: The TIFF; only the bytes of the picture are read.
        facts: Its header.

    Raises:
        Unreadable: If tifffile cannot decode it, or floats lie outside [0, 1].
    """
    if facts.compression not in COMPRESSIONS:
        raise Unreadable(
            f"compression {facts.compression} is not read with these channels; "
            "save it with deflate or without compression"
        )
    usable(facts.height, facts.width, facts.samples * facts.pages, max(8, facts.bits))
    values = as_samples(np.concatenate(_planes_of(file, facts), axis=2))
    at = facts.opacity
    if at is None:
        return _white_is_most(values, facts)
    premultiplied = facts.extras[at - (facts.samples - len(facts.extras))] == PREMULTIPLIED
    colour, opacity = np.delete(values, at, axis=2), values[..., at : at + 1]
    colour = _white_is_most(colour, facts, opacity if premultiplied else None)
    return over_white(colour, opacity, premultiplied=premultiplied)


def _white_is_most(
    values: np.ndarray, facts: TiffFacts, opacity: np.ndarray | None = None
) -> np.ndarray:
    """Invert grey where white is stored as 0, but not the other samples: (H, W, C) -> (H, W, C).

    With premultiplied grey w, opacity a and greatest value m, the stored (m - w) a / m must become
    w a / m, which is a minus the stored value.
    """
    if facts.photometric != WHITE_IS_ZERO:
        return values
    turned, first = values.copy(), slice(None, None, facts.samples)  # of every page
    grey = values[..., first]
    most = np.iinfo(values.dtype).max
    turned[..., first] = most - grey if opacity is None else opacity - np.minimum(grey, opacity)
    return turned


@cache
def silence_libtiff() -> None:
    """Stop libtiff, which Pillow uses, from printing errors that it also returns.

    Pillow has no setting for that; where its libtiff cannot be reached, errors are printed.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)


@cache
def _silence_tifffile() -> None:
    """Keep tifffile's warnings off stderr; programs that set up logging still get them."""
    logging.getLogger("tifffile").addHandler(logging.NullHandler())


def _planes_of(file: BinaryIO, facts: TiffFacts) -> list[np.ndarray]:
    """Let tifffile decode the pages that form one picture: -> each (H, W, C)."""
    from tifffile import TiffFile, TiffFileError  # slow to import, and seldom needed

    _silence_tifffile()
    try:
        # Read no other files, and no microscope formats, which tifffile reads differently.
        with TiffFile(
            file, _multifile=False, is_lsm=False, is_scanimage=False, is_ndpi=False
        ) as tiff:
            pages = [tiff.pages[k] for k in range(facts.pages)]
            return [_page(file, page, facts) for page in pages]
    except TiffFileError as error:
        raise Unreadable(f"damaged: {error}") from error
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        raise Unreadable(
            f"compression {facts.compression} needs the package imagecodecs; "
            "install it (pip install imagecodecs), or save it without compression"
        ) from error


def check_inflated(file: BinaryIO, page: "TiffPage", piece: int) -> None:
    """Refuse a strip or a tile that inflates to more bytes than its pixels have.

    Args:
        file: The TIFF.
        page: One of its pages.
        piece: Bytes of the pixels of a strip or a tile.

    Raises:
        Unreadable: If one inflates to more.
    """
    begin = INFLATERS.get(int(page.compression))
    for at, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if begin is None or not count:
            continue
        file.seek(at)
        if len(begin().decompress(file.read(count), piece + 1)) > piece:
            raise Unreadable("damaged: a piece inflates to more than its pixels")


def _page(file: BinaryIO, page: object, facts: TiffFacts) -> np.ndarray:
    """Decode one page, channels last: -> (H, W, C)."""
    from tifffile import TiffPage

    if not isinstance(page, TiffPage):
        raise Unreadable("damaged: a page is missing")
    expected = {
        "YX": (facts.height, facts.width),
        "YXS": (facts.height, facts.width, facts.samples),
        "SYX": (facts.samples, facts.height, facts.width),
    }
    if expected.get(page.axes) != page.shape:
        raise Unreadable(f"damaged: a page of shape {page.shape}")
    # No sound file has tiles far larger than the picture, or more compressed bytes than pixels.
    piece = math.prod(page.chunks) * facts.bits // 8
    if piece > 4 * page.nbytes + ROOM or sum(page.databytecounts) > 2 * page.nbytes + ROOM:
        raise Unreadable("damaged: its pieces are larger than the picture")
    if find_spec("imagecodecs") is None:  # its decoders bound their output themselves
        check_inflated(file, page, piece)
    values = page.asarray(maxworkers=1)
    if values.shape != page.shape:  # JPEG-like data states a size of its own
        raise Unreadable(f"damaged: a page of shape {values.shape}")
    return np.moveaxis(values, 0, 2) if page.axes == "SYX" else np.atleast_3d(values)
