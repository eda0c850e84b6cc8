"""Arrays: decoded pictures in .npz and .npy files, plain or with MedMNIST's keys.

Plain: `images` and perhaps `labels`, or `x` and `y`. MedMNIST: `train_images`, `train_labels`, and
the same for `val` and `test`, in any of the words of `part_names`; the validation part is used only
if there is no test part. The keys are names inside an .npz file, or of .npy files in a folder. An
.npy file is not loaded: a picture is read when it is needed.
"""

import hashlib
import io
import lzma
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
from torch import Tensor

from selfsight.data.file_array import FileArray
from selfsight.data.pictures.files.decode import LEAST_SIDE, Header, usable
from selfsight.data.pictures.files.header import check_memory
from selfsight.data.pictures.forms.classes import (
    NO_LABELS,
    Labels,
    classes_of,
    labels_or_reason,
    several_a_picture,
    unusable,
)
from selfsight.data.pictures.forms.part_names import (
    TRAIN,
    VAL,
    part_of_word,
    tested_part,
    told_of_unused,
)
from selfsight.data.pictures.forms.sample_values import REMEDY, as_picture, as_samples
from selfsight.data.pictures.source import PictureParts, PictureSource
from selfsight.data.source import Unreadable, open_regular, same_classes, stamp_of
from selfsight.errors import SelfsightError, in_a_line

MOST_CHANNELS = 64  # a longer last axis is taken for one of space
FEW_CHANNELS = 32  # a second axis up to this length, before two of space, is taken for channels
AS_NPY = "save its arrays as .npy files in a folder, which are read row by row"
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
HEADER_LENGTHS = {(1, 0): 2, (2, 0): 4}  # bytes that hold the length of a header
MOST_HEADER = 10_000  # bytes; numpy does not trust longer headers
ROWS_CHECKED = 16  # rows of floats checked at opening; decoding checks every picture again
IMAGES, LABELS = "images", "labels"
KINDS = {  # what a word in a key means
    **dict.fromkeys(("images", "image", "imgs", "pictures", "x"), IMAGES),
    **dict.fromkeys(("labels", "label", "targets", "target", "y"), LABELS),
}
WORDS = re.compile(r"[^\W_]+")


class Arrays(PictureSource):
    """Pictures in one array, in memory or in a file.

    Args:
        name: Where they come from.
        images: (N, H, W) or (N, H, W, C), any C: uint8, uint16, bool, or float in [0, 1].
        labels: The pictures' labels.
        files: The files they are read from, for the stamp; without files, pixels are hashed.
        key: Name of the array in these files, for the stamp.
    """

    def __init__(
        self,
        name: str,
        images: np.ndarray | FileArray,
        labels: Labels = NO_LABELS,
        *,
        files: tuple[Path, ...] = (),
        key: str = "",
    ) -> None:
        self.name = name
        self.classes, self.labels, self.unlabelled = labels
        self._images = images
        self._files = files
        self._key = key

    def __len__(self) -> int:
        return len(self._images)

    def title(self, i: int) -> str:
        """Name picture i for messages."""
        return f"row {i}"

    def header(self, i: int) -> Header:
        """Give its size, channels and depth."""
        height, width, channels = (*self._images.shape[1:], 1)[:3]
        bits = 16 if self._images.dtype.kind == "f" or self._images.dtype.itemsize == 2 else 8
        usable(height, width, channels, bits)
        return Header(height, width, channels, bits)

    def decode(self, i: int) -> Tensor:
        """Give its pixels: -> (C, H, W) uint8 or uint16."""
        self.header(i)
        return as_picture(as_samples(np.array(self._images[i])))

    def stamp(self) -> Iterator[str]:
        """Give the files' stamps, or a hash of the pixels if there are no files."""
        yield from map(stamp_of, self._files)
        yield self._key
        if isinstance(self._images, np.ndarray) and not self._files:
            yield hashlib.sha256(np.ascontiguousarray(self._images).data).hexdigest()


def open_arrays(path: Path, memory: int | None = None) -> PictureParts:
    """Read an .npz file.

    Args:
        path: The file.
        memory: Bytes of memory, of which its arrays may take half; by default this machine's.

    Raises:
        SelfsightError: If it is damaged, holds objects or arrays of another kind than named above,
            or its headers promise more than may be taken.
    """
    taken, packed = 0, 0
    with _reading(path), _regular(path) as opened:
        if opened.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
            raise SelfsightError(f"{path} is a single array; call it .npy, not .npz.")
        opened.seek(0)
        with zipfile.ZipFile(opened) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}

            def load(key: str) -> np.ndarray:
                nonlocal taken, packed
                with _reading(path):
                    taken += _promised(archive, members[key])
                packed += archive.getinfo(members[key]).compress_size
                check_memory(f"what is read of {path}", taken, AS_NPY, memory, packed=packed)
                with _reading(path), archive.open(members[key]) as file:
                    return np.lib.format.read_array(file, allow_pickle=False)

            return _parts(path, members, load, lambda key: (path,))


def _promised(archive: zipfile.ZipFile, name: str) -> int:
    """Give the bytes of an array according to its header, without unpacking it."""
    with archive.open(name) as file:
        shape, _, kind = _header(file)
    return math.prod(shape) * kind.itemsize  # Python's whole numbers do not overflow


def open_array(path: Path) -> PictureParts:
    """Open the pictures of one .npy file, unlabelled.

    Raises:
        SelfsightError: If it is damaged or not an array of pictures.
    """
    images = _lying_in(path)
    _check(str(path), images)
    return PictureParts(Arrays(str(path), images, files=(path,)), None)


def open_array_folder(root: Path) -> PictureParts | None:
    """Open the .npy files of a folder, named by the keys above; None if there are none."""
    keys = [path.stem for path in sorted(root.glob("*.npy")) if not path.name.startswith(".")]
    if not any(kind == IMAGES for _, kind in _meant(keys)):
        return None

    def files(key: str) -> tuple[Path, ...]:
        return (root / f"{key}.npy",)

    return _parts(root, keys, lambda key: _lying_in(files(key)[0]), files)


class _reading:
    """Turn numpy's errors on damaged files into a sentence, as a context."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, MemoryError):
            raise SelfsightError(
                f"{self.path} holds more than fits in memory; {AS_NPY}."
            ) from error
        if isinstance(
            error,
            ValueError
            | TypeError
            | OSError
            | EOFError
            | KeyError
            | SyntaxError
            | RuntimeError
            | NotImplementedError
            | zipfile.BadZipFile
            | OverflowError
            | lzma.LZMAError
            | zlib.error,
        ):
            raise SelfsightError(
                f"{self.path} cannot be read as arrays of numbers: {in_a_line(error)}"
            ) from error


def _lying_in(path: Path) -> FileArray:
    """Read the header of an .npy file.

    Raises:
        SelfsightError: If it is damaged or cut short, or holds objects, which are never unpickled.
    """
    with _reading(path), _regular(path) as file:
        shape, fortran, kind = _header(file)
        if kind.hasobject:
            raise ValueError("it holds objects")
        if 0 in shape:
            raise SelfsightError(f"{path} is empty; give a file with pictures in it.")
        start = file.tell()
    return FileArray(path, shape or (1,), kind, start, fortran=fortran)


def _regular(path: Path) -> BinaryIO:
    """Open a regular file; anything else, such as a pipe, is refused in a sentence."""
    try:
        return open_regular(path)
    except Unreadable as reason:
        raise SelfsightError(f"{path} cannot be read: it is {reason}.") from reason


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of an array: -> its shape, whether it is in Fortran order, its dtype.

    Raises:
        ValueError: If it is damaged, or longer than numpy would trust.
    """
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"version {version} of the format is not read")
    width = HEADER_LENGTHS[version]
    length = file.read(width)
    said = int.from_bytes(length, "little")
    if said > MOST_HEADER:
        raise ValueError(f"a header of {said} bytes")
    header = io.BytesIO(length + file.read(said))
    try:
        shape, fortran, kind = HEADERS[version](header)
    except Exception as error:  # it is parsed as a Python literal, which raises many errors
        raise ValueError("its header describes no array") from error
    if any(side < 0 for side in shape):
        raise ValueError(f"an array of shape {shape}")
    return shape, fortran, kind


def _parts(
    path: Path,
    keys: Collection[str],
    load: Callable[[str], np.ndarray | FileArray],
    files: Callable[[str], tuple[Path, ...]],
) -> PictureParts:
    """Find the parts among the keys, and read them."""
    meant = _meant(keys)

    def part(name: str) -> PictureSource:
        key, named = meant[name, IMAGES], meant.get((name, LABELS))
        images = load(key)
        _check(f"`{key}` of {path}", images)
        labels = NO_LABELS
        if named is not None:
            what = f"`{named}` of {path}"
            labels = labels_or_reason(lambda: _labels_in(load(named), len(images), what))
        return Arrays(str(path), images, labels, files=files(key), key=key)

    parts = [name for name, kind in meant if kind == IMAGES]
    if "" in parts:
        return PictureParts(part(""), None)
    if TRAIN not in parts:
        raise SelfsightError(
            f"an .npz file needs `images` or `train_images`; {path} has "
            f"{', '.join(keys) or 'nothing'}."
        )
    train, other = part(TRAIN), tested_part(parts)
    train.notes += told_of_unused(str(path), f"`{meant.get((VAL, IMAGES))}`", parts)
    return PictureParts(train, same_classes(train, part(other)) if other else None)


def _meant(keys: Collection[str]) -> dict[tuple[str, str], str]:
    """Interpret keys: -> (part or "", `IMAGES` or `LABELS`) to the key."""
    meant: dict[tuple[str, str], str] = {}
    for key in keys:
        words = WORDS.findall(key.lower())
        kinds = [KINDS[word] for word in words if word in KINDS]
        parts = [part for part in map(part_of_word, words) if part]
        if len(kinds) == 1 and len(parts) == len(words) - 1 <= 1:
            meant.setdefault((parts[0] if parts else "", kinds[0]), key)
    return meant


def _labels_in(values: np.ndarray | FileArray, count: int, what: str) -> Labels:
    """Read and number the labels of `count` pictures."""
    if isinstance(values, FileArray):
        check_memory(what, values.nbytes, "give one label a picture")
        try:
            values = values.whole()
        except Unreadable as reason:
            raise SelfsightError(f"{what} cannot be read: {reason}") from reason
    return array_labels(values, count, what)


def _check(what: str, images: np.ndarray | FileArray) -> None:
    """Refuse arrays that are not pictures, and say how to convert them."""
    kind = images.dtype.kind
    if kind not in "bf" and not (kind == "u" and images.dtype.itemsize <= 2):
        raise SelfsightError(
            f"pictures in arrays must be uint8, uint16, bool or float in [0, 1]; {what} is "
            f"{images.dtype}. Scale it to one of these and convert it."
        )
    if images.ndim not in (3, 4):
        raise SelfsightError(
            "pictures in arrays must be (N, H, W) or (N, H, W, C), channels last; "
            f"{what} is {images.shape}."
        )
    if images.ndim == 4 and _is_channels_first(*images.shape[1:]):
        raise SelfsightError(
            f"pictures in arrays must be (N, H, W, C), channels last; {what} is {images.shape}, "
            "which looks like channels first. Save images.transpose(0, 2, 3, 1)."
        )
    if not images.size:
        raise SelfsightError(f"{what} is empty; give a file with pictures in it.")
    if kind == "f":
        _check_range(what, images)


def _is_channels_first(second: int, third: int, fourth: int) -> bool:
    """Tell whether a shape is (N, C, H, W) rather than (N, H, W, C).

    It is if the second axis is short and cannot be rows, or the last axis cannot be channels.
    """
    if second > FEW_CHANNELS or min(third, fourth) < LEAST_SIDE:
        return False
    return second < LEAST_SIDE or fourth > MOST_CHANNELS or second != third == fourth


def _check_range(what: str, images: np.ndarray | FileArray) -> None:
    """Refuse floats outside [0, 1], checked on some evenly spaced pictures."""
    rows = np.unique(np.linspace(0, len(images) - 1, ROWS_CHECKED).astype(int))
    for row in rows.tolist():
        try:
            picture = np.asarray(images[row])
        except Unreadable as reason:
            raise SelfsightError(f"{what} cannot be read: {reason}.") from reason
        if not (picture.min() >= 0 and picture.max() <= 1):  # written so that NaN is refused too
            raise SelfsightError(
                f"floating-point pictures in arrays must lie in [0, 1]; {what} has "
                f"{picture.min():g} to {picture.max():g} in row {row}. For each picture, {REMEDY}."
            )


def array_labels(labels: np.ndarray, count: int, what: str) -> Labels:
    """Number the classes of labels (N,) or (N, 1): whole numbers, words, or few decimals.

    Args:
        labels: The stored labels.
        count: Number of pictures.
        what: What holds the labels, for the reason why they cannot be used.
    """
    if reason := several_a_picture(labels.shape, count, what):
        return unusable(reason)
    if labels.dtype.kind not in "iufbUS":
        return unusable(f"{what} is {labels.dtype}; a label is one whole number or word a picture")
    words = labels.astype(str) if labels.dtype.kind == "S" else labels
    return classes_of(words.ravel().tolist(), what)
