"""Orientation: which way up a picture is, from its EXIF or else its XMP, parsed directly.

Pillow warns on stderr of damaged EXIF, and holds Python's lock while it reads. Only one number is
needed, in any of TIFF's field types: the standard says SHORT, and phones write LONG and BYTE too
(EXIF 2.3, section 4.6; TIFF 6.0, section 2).
"""

import re
import struct

ORIENTATION = 0x0112  # the tag
WAYS, UPRIGHT = range(1, 9), 1
EXIF = b"Exif\0\0"  # prefix of EXIF in a JPEG, and often elsewhere
XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=\"|>)([0-9])")
# Field type -> struct's code for its numbers; a rational is two numbers; text and raw bytes have no
# code.
NUMBERS = {
    1: "B",
    3: "H",
    4: "L",
    5: "LL",
    6: "b",
    8: "h",
    9: "l",
    10: "ll",
    11: "f",
    12: "d",
    13: "L",
    16: "Q",
    17: "q",
}
INLINE = 4  # bytes of an entry that hold a value, or the position of a longer one


def orientation_said(exif: bytes, xmp: bytes = b"") -> int:
    """Find the orientation: 1 (upright) to 8.

    Args:
        exif: A TIFF structure, with or without `Exif` before it; b"" if there is none.
        xmp: A packet of XMP; b"" if there is none.
    """
    return orientation_of(_in_exif(exif), xmp)


def orientation_of(said: float | None, xmp: bytes = b"") -> int:
    """Choose the orientation: by EXIF, else by XMP; upright if both are missing or invalid."""
    if said is None and (found := XMP_ORIENTATION.search(xmp)):
        said = int(found[1])
    return next((way for way in WAYS if way == said), UPRIGHT)


def first_number(kind: int, byte_order: str, data: bytes) -> float | None:
    """Read the first value of a TIFF field.

    Args:
        kind: The field's type.
        byte_order: "<" or ">".
        data: The field's values, perhaps more.

    Returns:
        The number; None if the type holds no numbers or the data is cut short.
    """
    code = NUMBERS.get(kind)
    if code is None or struct.calcsize(byte_order + code) > len(data):
        return None
    values = struct.unpack_from(byte_order + code, data)
    if len(values) == 1:
        return values[0]
    return values[0] / values[1] if values[1] else None


def _in_exif(tiff: bytes) -> float | None:
    """Read the orientation in the first directory of a TIFF structure; None if it is missing.

    Slices past the end are empty and read as 0, so damaged EXIF needs no further checks.
    """
    while tiff.startswith(EXIF):  # some programs write it twice
        tiff = tiff[len(EXIF) :]
    order, way = ("little", "<") if tiff[:2] == b"II" else ("big", ">")
    directory = int.from_bytes(tiff[4:8], order)
    entries = int.from_bytes(tiff[directory : directory + 2], order)
    for k in range(min(entries, len(tiff) // 12)):
        entry = tiff[directory + 2 + 12 * k :][:12]
        if int.from_bytes(entry[:2], order) == ORIENTATION and len(entry) == 12:
            kind, count = struct.unpack_from(f"{way}HL", entry, 2)
            size = count * struct.calcsize(way + NUMBERS.get(kind, ""))
            place = int.from_bytes(entry[8:], order)
            return first_number(kind, way, tiff[place:] if size > INLINE else entry[8:][:size])
    return None
