"""IDX: the files of MNIST and its relatives, plain or compressed with gzip.

An images file holds a magic number, the count, height and width as big-endian numbers of four
bytes, then uint8 pixels; a labels file holds magic number, count and labels (LeCun, Cortes and
Burges, http://yann.lecun.com/exdb/mnist/). The labels' file has the same name with `labels` for
`images` and `idx1` for `idx3`. No more is read than the header says and the file can hold.
"""

import gzip
import math
import re
import struct
import zlib
from pathlib import Path

import numpy as np

from selfsight.data.file_array import FileArray, cut_short
from selfsight.data.pictures.files.header import check_memory
from selfsight.data.pictures.forms.arrays import Arrays
from selfsight.data.pictures.forms.classes import Labels, classes_of, labels_or_reason
from selfsight.data.pictures.forms.part_names import (
    TRAIN,
    part_in_name,
    tested_part,
    told_of_unused,
)
from selfsight.data.pictures.source import PictureParts, PictureSource
from selfsight.data.source import Unreadable, open_regular, same_classes
from selfsight.errors import SelfsightError

IMAGES, LABELS = 0x803, 0x801  # magic numbers: uint8 with three dimensions, and with one
DIMENSIONS = {IMAGES: 3, LABELS: 1}
MOST_DEFLATED = 1032  # greatest compression ratio of gzip
NAME = re.compile(r"(?P<part>.*?)[-._]?images[-._]idx3[-._]ubyte(\.gz)?", re.IGNORECASE)


def is_idx(path: Path) -> bool:
    """Tell by its name whether an existing file holds pictures in this format."""
    return is_idx_name(path.name) and path.is_file()


def is_idx_name(name: str) -> bool:
    """Tell whether a file with this name should hold pictures in this format."""
    return NAME.fullmatch(name) is not None


def open_idx(path: Path) -> PictureParts:
    """Read one file of pictures, and the labels beside it.

    Raises:
        SelfsightError: If a file is damaged, cut short or too large.
    """
    return PictureParts(_source(path), None)


def open_idx_folder(root: Path) -> PictureParts | None:
    """Read the files of a folder, `train-...` and `t10k-...`; None if there are none."""
    files = _by_part(root)
    if not files:
        return None
    if len(files) == 1:
        return open_idx(next(iter(files.values())))
    parts = {part_in_name(name): path for name, path in files.items()}
    if TRAIN not in parts:
        raise SelfsightError(
            f"{root} holds {', '.join(sorted(path.name for path in files.values()))}; "
            "name one of these, or call them train and t10k."
        )
    source = _source(parts[TRAIN])
    other = tested_part(parts)
    source.notes += told_of_unused(str(root), "one file", parts)
    return PictureParts(source, same_classes(source, _source(parts[other])) if other else None)


def _by_part(root: Path) -> dict[str, Path]:
    """List a folder's files of pictures by the name before `images`, preferring uncompressed."""
    found: dict[str, Path] = {}
    for path in sorted(root.iterdir()):  # a name comes before the same name with .gz
        if is_idx(path) and (match := NAME.fullmatch(path.name)):
            found.setdefault(match["part"].lower(), path)
    return found


def _source(path: Path) -> PictureSource:
    """Read pictures and labels."""
    images = _read(path, IMAGES)
    beside = _labels_beside(path)
    if beside is None:
        return Arrays(str(path), images, files=(path,))
    labels = labels_or_reason(lambda: _labels(path, beside, len(images)))
    return Arrays(str(path), images, labels, files=(path, beside))


def _labels(path: Path, beside: Path, count: int) -> Labels:
    """Read the labels of `count` pictures."""
    values = _read(beside, LABELS)
    if isinstance(values, FileArray):
        try:
            values = values.whole()
        except Unreadable as reason:
            raise SelfsightError(f"{beside} cannot be read: {reason}.") from reason
    if len(values) != count:
        raise SelfsightError(
            f"{path} holds {count} pictures and {beside} {len(values)} labels; give files "
            "that belong together."
        )
    return classes_of(values.tolist(), str(beside))


def _labels_beside(path: Path) -> Path | None:
    """Find the labels file of an images file, compressed or not."""
    name = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    names = (path.with_name(name), path.with_name(f"{name}.gz"))
    return next((found for found in names if found.is_file()), None)


def _read(path: Path, magic: int) -> np.ndarray | FileArray:
    """Read a file: -> (N, H, W) or (N,) uint8; an uncompressed one is read when needed."""
    start = 4 + 4 * DIMENSIONS[magic]
    compressed = path.suffix.lower() == ".gz"
    try:
        with open_regular(path) as plain, gzip.open(plain) if compressed else plain as file:
            shape = _shape(path, file.read(start), magic)
            if not compressed:
                return FileArray(path, shape, np.dtype(np.uint8), start)
            count = _checked_count(path, shape)
            data = file.read(count)
    except Unreadable as reason:
        raise SelfsightError(f"{path} cannot be read: it is {reason}.") from reason
    except (OSError, EOFError, zlib.error) as error:
        raise SelfsightError(f"{path} is damaged or cut short: {error}") from error
    if len(data) < count:
        raise SelfsightError(cut_short(path, count, len(data)))
    return np.frombuffer(data, np.uint8).reshape(shape)


def _shape(path: Path, header: bytes, magic: int) -> tuple[int, ...]:
    """Read the shape in the header: -> (N, H, W) or (N,)."""
    dimensions = DIMENSIONS[magic]
    if len(header) < 4 + 4 * dimensions or header[:4] != magic.to_bytes(4, "big"):
        raise SelfsightError(
            f"an IDX file of this name must start with the number {magic:#010x}; {path} starts "
            f"with {header[:4].hex() or 'nothing'}. Give a file in this format."
        )
    shape = struct.unpack(f">{dimensions}L", header[4:])
    if 0 in shape:
        raise SelfsightError(f"{path} is empty; give a file with pictures in it.")
    return shape


def _checked_count(path: Path, shape: tuple[int, ...]) -> int:
    """Give the bytes that the header promises, after checking them against file and memory."""
    count = math.prod(shape)  # Python's whole numbers do not overflow
    size = path.stat().st_size
    most = size * MOST_DEFLATED
    if count > most:
        raise SelfsightError(cut_short(path, count, most))
    remedy = "unpack it with gunzip, so that it is not loaded"
    check_memory(str(path), count, remedy, packed=size)
    return count
