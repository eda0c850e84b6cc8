"""JPEG headers, parsed directly, because most pictures are JPEGs and this is the hot path.

Pillow takes a tenth of the decoding time to open a small JPEG, holds Python's lock meanwhile, and
prints a warning for damaged EXIF. The few facts needed are in segments of known length before the
compressed data (ITU-T T.81, annex B).
"""

from typing import NamedTuple

from selfsight.data.pictures.files.orientation import EXIF, orientation_said

START_OF_SCAN = 0xDA
APP1 = 0xE1
# C0 to CF start a frame, except three that define tables or are reserved.
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = 0xC2  # the frame of a picture in several passes
XMP = b"http://ns.adobe.com/xap/1.0/\0"  # how such a segment begins


class JpegFacts(NamedTuple):
    """What a JPEG's header says.

    Attributes:
        height: In pixels, as stored.
        width: In pixels, as stored.
        components: 1 for grey, 3 for colour, 4 for inks.
        bits: Bits of a sample; 8 in all but rare files.
        orientation: EXIF orientation, 1 (upright) to 8.
        progressive: Whether it is stored in several passes, which the decoder holds in memory.
    """

    height: int
    width: int
    components: int
    bits: int
    orientation: int
    progressive: bool = False


def jpeg_facts(data: bytes) -> JpegFacts | None:
    """Walk the segments of a JPEG up to its pixels.

    Args:
        data: The file, or its beginning.

    Returns:
        The facts, or None if this is not a well-formed JPEG or its pixels start beyond `data`.
    """
    if data[:2] != b"\xff\xd8":
        return None
    frame, progressive, exif, xmp, at = None, False, b"", b"", 2
    while data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        body, end = at + 4, at + 2 + length
        if marker == START_OF_SCAN:
            return JpegFacts(*frame, orientation_said(exif, xmp), progressive) if frame else None
        if marker in START_OF_FRAME and body + 6 <= len(data):
            height = int.from_bytes(data[body + 1 : body + 3], "big")
            width = int.from_bytes(data[body + 3 : body + 5], "big")
            frame = (height, width, data[body + 5], data[body])
            progressive = marker == PROGRESSIVE
        elif marker == APP1 and data.startswith(EXIF, body):
            exif += data[body + len(EXIF) : end]  # long EXIF continues in a second segment
        elif marker == APP1 and data.startswith(XMP, body):
            xmp = data[body + len(XMP) : end]
        at = end
    return None
