"""TIFF headers, parsed directly: size and kind of a picture before any library reads the file.

The first directory shows whether Pillow can decode a picture without loss or `tiff_pixels` must,
and its sizes are checked before either does. Pillow also warns on stderr of damaged directories
(TIFF 6.0, section 2; BigTIFF has longer numbers in the same places).
"""

import re
import struct
from typing import BinaryIO, NamedTuple

from PIL import TiffTags

from selfsight.data.pictures.files.orientation import ORIENTATION, first_number, orientation_of
from selfsight.data.pictures.forms.sample_values import REMEDY
from selfsight.data.source import Unreadable

# Byte order, and whether it is a BigTIFF.
SIGNATURES = {
    b"II*\0": ("<", False),
    b"MM\0*": (">", False),
    b"II+\0": ("<", True),
    b"MM\0+": (">", True),
}
# Field type -> bytes of a value.
FIELD_SIZES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), start=1)) | dict.fromkeys(
    (16, 17, 18), 8
)
TEXTS = (1, 2, 7)  # bytes, text and raw bytes, of which many form one value
WHOLE_NUMBERS = {1: "B", 3: "H", 4: "L", 16: "Q"}  # field type -> struct's code

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, DESCRIPTION = 256, 257, 258, 259, 262, 270
SUBFILE, SAMPLES, PLANAR, EXTRA, KIND, XMP = 254, 277, 284, 338, 339, 700
UNSIGNED, SIGNED, FLOAT, UNDEFINED = 1, 2, 3, 4
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3}
PALETTE, INKS, YCBCR, CIELAB = 3, 5, 6, 8
# Colour spaces in which Pillow keeps no further samples except opacity -> number of samples.
PILLOWS_COLOURS = {PALETTE: 1, INKS: 4, YCBCR: 3, CIELAB: 3}
REDUCED, MASK = 1, 4  # bits of SUBFILE: a smaller copy of a page, and a transparency mask
MOST_PAGES = 64  # examined to see whether there are further pictures
PREMULTIPLIED, OPACITY = 1, 2  # kinds of extra samples; 0 is unspecified
MOST_VALUES = 4096  # read of a field, enough for any number of channels
MOST_TEXT = 1 << 20  # bytes read of a description


class TiffFacts(NamedTuple):
    """What the first directory says.

    Attributes:
        height: In pixels, as stored.
        width: In pixels, as stored.
        samples: Samples of a pixel, including opacity.
        bits: Bits of a sample.
        kind: UNSIGNED, SIGNED, FLOAT or UNDEFINED.
        photometric: Number of the colour space.
        extras: Kinds of the samples past grey or colour: PREMULTIPLIED, OPACITY, or another.
        compression: Number of the compression.
        orientation: EXIF orientation, 1 (upright) to 8.
        pages: Number of directories that are channels of one picture.
        big: Whether it is a BigTIFF.
        besides: What else the file holds that is not read, in the plural.
    """

    height: int
    width: int
    samples: int
    bits: int
    kind: int
    photometric: int
    extras: tuple[int, ...]
    compression: int
    orientation: int
    pages: int
    big: bool
    besides: tuple[str, ...] = ()

    @property
    def opacity(self) -> int | None:
        """The number of the sample that is opacity, if there is one."""
        first = self.samples - len(self.extras)
        marked = [first + k for k, e in enumerate(self.extras) if e in (PREMULTIPLIED, OPACITY)]
        return marked[0] if marked and self.pages == 1 else None

    @property
    def channels(self) -> int:
        """Channels of the decoded picture."""
        return self.samples * self.pages - (self.opacity is not None)

    @property
    def decoded_bits(self) -> int:
        """Bits of a sample of the decoded picture: 8 or 16."""
        return 8 if self.bits <= 8 else 16


def tiff_facts(file: BinaryIO) -> TiffFacts:
    """Read what a TIFF's first directory says.

    Raises:
        Unreadable: If it is damaged, or its samples are of a kind whose range is unknown.
    """
    order, big = SIGNATURES[_read(file, 0, 4)]
    directory = _number(order, _read(file, 8, 8) if big else _read(file, 4, 4))
    fields, following = _directory(file, order, big, directory)
    channels = _planes(_text(fields))
    pages = channels if _are_alike(file, order, big, fields, following, channels) else 1
    facts = _facts(fields, pages, big)
    facts = facts._replace(besides=_besides(file, order, big, facts, following))
    _refuse_unknown_ranges(facts)
    if for_tifffile(facts) and (facts.photometric not in COLOURS or facts.bits % 8):
        raise Unreadable(
            f"{facts.samples} channels of {facts.bits} bits in colour space "
            f"{facts.photometric} are not read; save it as grey or RGB with 8 or 16 bits"
        )
    return facts


def for_tifffile(facts: TiffFacts) -> bool:
    """Tell whether Pillow would lose bits or channels or could not read the picture."""
    if facts.big or facts.pages > 1 or (facts.bits in (32, 64) and facts.samples > 1):
        return True
    if facts.kind == FLOAT:
        return facts.bits != 32
    if facts.photometric not in COLOURS:
        return False
    usual = facts.samples - (facts.opacity is not None) == COLOURS[facts.photometric]
    return not usual or (facts.bits == 16 and facts.samples > 1)


_Fields = dict[int, tuple[int, ...] | bytes]


def _directory(
    file: BinaryIO, order: str, big: bool, at: int, *, strict: bool = True
) -> tuple[_Fields, int]:
    """Read a directory: -> its fields of whole numbers and text, and the next one's position.

    Raises:
        Unreadable: If it, or a value that it points to, lies beyond the end of the file.
    """
    entry, inline = (20, 8) if big else (12, 4)
    size = file.seek(0, 2)
    count = _number(order, _read(file, at, 8 if big else 2))
    start = at + (8 if big else 2)
    if count == 0 or start + count * entry + inline > size:
        raise Unreadable("the file is cut short")
    table = _read(file, start, count * entry + inline)
    fields: _Fields = {}
    for k in range(count):
        tag, kind, values = struct.unpack_from(f"{order}HH{'Q' if big else 'L'}", table, k * entry)
        length = values * FIELD_SIZES.get(kind, 0)
        raw = table[(k + 1) * entry - inline : (k + 1) * entry]
        place = None if length <= inline else _number(order, raw)
        if place is not None and place + length > size:
            raise Unreadable("the file is cut short")
        if strict and values != 1 and kind not in TEXTS and TiffTags.lookup(tag).length == 1:
            raise Unreadable(f"damaged: {values} values in field {tag}, which holds one")
        if tag not in fields and values:
            if tag == ORIENTATION:  # cameras and phones write it in any type
                data = raw if place is None else _read(file, place, length)
                said = first_number(kind, order, data[:length])
                fields[tag] = () if said is None or said % 1 else (int(said),)
            elif tag == XMP and kind in TEXTS:
                fields[tag] = raw if place is None else _read(file, place, min(values, MOST_TEXT))
            elif kind in WHOLE_NUMBERS or kind == 2:
                fields[tag] = _values(file, order, kind, values, raw, place)
    return fields, _number(order, table[-inline:])


def _values(
    file: BinaryIO, order: str, kind: int, count: int, raw: bytes, place: int | None
) -> tuple[int, ...] | bytes:
    """Read a field's values, from the entry itself if they fit into it."""
    if kind == 2:
        return raw[:count] if place is None else _read(file, place, min(count, MOST_TEXT))
    count = min(count, MOST_VALUES)
    code = f"{order}{count}{WHOLE_NUMBERS[kind]}"
    return struct.unpack_from(
        code, raw if place is None else _read(file, place, struct.calcsize(code))
    )


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    data = file.read(count)
    if len(data) < count:
        raise Unreadable("the file is cut short")
    return data


def _number(order: str, data: bytes) -> int:
    """Read an unsigned number from all bytes of `data`."""
    return int.from_bytes(data, "little" if order == "<" else "big")


def _whole(fields: _Fields, tag: int, default: int) -> int:
    values = fields.get(tag)
    return values[0] if isinstance(values, tuple) and values else default


def _several(fields: _Fields, tag: int) -> tuple[int, ...]:
    values = fields.get(tag)
    return values if isinstance(values, tuple) else ()


def _text(fields: _Fields) -> str:
    value = fields.get(DESCRIPTION)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _orientation(fields: _Fields) -> int:
    said, xmp = _several(fields, ORIENTATION), fields.get(XMP)
    return orientation_of(said[0] if said else None, xmp if isinstance(xmp, bytes) else b"")


def _facts(fields: _Fields, pages: int, big: bool) -> TiffFacts:
    """Collect the facts from the fields, with TIFF's defaults.

    Raises:
        Unreadable: If there are no channels, or they differ in depth.
    """
    bits = _several(fields, BITS) or (1,)
    samples = _whole(fields, SAMPLES, 1)
    if samples == 0:
        raise Unreadable("damaged: pixels without samples")
    if len(set(bits)) > 1:
        raise Unreadable(f"channels of {min(bits)} and {max(bits)} bits; {REMEDY}")
    photometric = _whole(fields, PHOTOMETRIC, BLACK_IS_ZERO)
    known = COLOURS.get(photometric)
    unmarked = (0,) * max(0, samples - known) if known else ()
    return TiffFacts(
        height=_whole(fields, HEIGHT, 0),
        width=_whole(fields, WIDTH, 0),
        samples=samples,
        bits=bits[0],
        kind=_whole(fields, KIND, UNSIGNED),
        photometric=photometric,
        extras=(_several(fields, EXTRA) or unmarked)[:samples],
        compression=_whole(fields, COMPRESSION, 1),
        orientation=_orientation(fields),
        pages=pages,
        big=big,
    )


def _besides(
    file: BinaryIO, order: str, big: bool, facts: TiffFacts, following: int
) -> tuple[str, ...]:
    """Name what of a file is not read: pages after the first picture, samples after its colours."""
    found: list[str] = []
    if facts.pages == 1 and _has_pages(file, order, big, following):
        found.append("pages")
    known = PILLOWS_COLOURS.get(facts.photometric)
    if known and facts.samples > known and not set(facts.extras) & {PREMULTIPLIED, OPACITY}:
        found.append("channels")
    return tuple(found)


def _has_pages(file: BinaryIO, order: str, big: bool, following: int) -> bool:
    """Tell whether a further page is a picture, not a reduced copy or a mask of another."""
    seen: set[int] = set()
    while following and following not in seen and len(seen) < MOST_PAGES:
        seen.add(following)
        try:
            fields, following = _directory(file, order, big, following, strict=False)
        except Unreadable:
            return False
        if not _whole(fields, SUBFILE, 0) & (REDUCED | MASK):
            return True
    return False


def _refuse_unknown_ranges(facts: TiffFacts) -> None:
    """Refuse samples whose least and greatest values do not follow from their kind.

    Signed 16 bits are left to the decoder: many programs write them for values without a sign.
    """
    if facts.kind == FLOAT and facts.bits in (16, 32, 64):
        return
    signed = facts.kind == SIGNED and (facts.bits != 16 or facts.samples > 1)
    if facts.bits > 16 or signed or facts.kind == FLOAT:
        kind = {SIGNED: "signed ", FLOAT: "floating-point "}.get(facts.kind, "")
        raise Unreadable(f"{kind}pixels of {facts.bits} bits, whose range is unknown; {REMEDY}")


def _planes(description: str) -> int:
    """Count the pages that are channels of one picture, as ImageJ and OME describe; 1 otherwise.

    A stack in depth or time is not one picture: only its first page is read, as in any other file
    of several pages.
    """
    if description.startswith("ImageJ="):
        said = dict(re.findall(r"^(images|channels|slices|frames)=(\d{1,4})$", description, re.M))
        channels = int(said.get("channels", 1))
        return channels if int(said.get("images", 1)) == channels else 1
    if "<OME" in description:
        said = dict(re.findall(r'\bSize([CZT])="(\d{1,4})"', description))
        alone = said.get("Z") == said.get("T") == "1" and description.count("<Pixels") == 1
        return int(said.get("C", 1)) if alone else 1
    return 1


def _are_alike(
    file: BinaryIO, order: str, big: bool, first: _Fields, following: int, pages: int
) -> bool:
    """Tell whether there are `pages` grey pages, all of the first one's form."""
    same = (WIDTH, HEIGHT, BITS, KIND, SAMPLES)
    if pages < 2 or _whole(first, SAMPLES, 1) != 1:
        return False
    for _ in range(pages - 1):
        if not following:
            return False
        fields, following = _directory(file, order, big, following, strict=False)
        if any(fields.get(tag) != first.get(tag) for tag in same):
            return False
    return True
