"""Photograph: reads single pictures at their full size, and writes the results."""

import io
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from selfsight.data.pictures import open_data
from selfsight.data.pictures.files.signature import SIGNED
from selfsight.data.pictures.forms.folder import Folder
from selfsight.data.pictures.forms.lists import Listed
from selfsight.data.pictures.forms.suffixes import is_picture_name
from selfsight.data.pictures.forms.walking import walked
from selfsight.data.pictures.scaling import as_float, with_channels
from selfsight.data.pictures.source import PictureSource, PictureView
from selfsight.data.source import Unreadable
from selfsight.errors import SelfsightError, UsageError
from selfsight.system import atomic
from selfsight.system.escaping import escaped

PNG_EFFORT = 3  # of 9: past that, files shrink little and take several times as long
WRITABLE = (1, 3)  # channels of the .png files


class Photograph(NamedTuple):
    """A photograph that the user named.

    Attributes:
        source: Where it is.
        row: Which of the source's pictures it is.
        name: Name of its results, without a suffix; may contain folders.
        title: Its name in messages.
        file: The file it is read from.
    """

    source: PictureSource
    row: int
    name: str
    title: str
    file: str


def listed(files: Sequence[str]) -> list[Photograph]:
    """List the pictures that the user named: files, folders, or any other data.

    The results of a folder keep its structure of folders.

    Raises:
        SelfsightError: If something is not there, or holds no pictures.
    """
    found: list[Photograph] = []
    for file in files:
        if os.path.isdir(file) and (there := walked(Path(file))).paths:
            source = Folder(Path(file), there.paths, notes=there.left_out.notes)
            found += [_one_of(source, row, file) for row in range(len(source))]
        elif is_picture_name(Path(file).name):
            source = Folder(Path(), (file,))
            found.append(Photograph(source, 0, Path(file).stem, source.title(0), file))
        else:
            parts = open_data(file)
            for source in filter(None, (parts.train, parts.test)):
                found += [_one_of(source, row, file) for row in range(len(source))]
    return found


def _one_of(source: PictureSource, row: int, data: str) -> Photograph:
    """Take one picture of some data."""
    title, own = source.title(row), source.file(row)
    name = _plain(_relative(source, row) or title)
    return Photograph(source, row, name, escaped(own) if own else f"{data}: {title}", own or data)


def _relative(source: PictureSource, row: int) -> str | None:
    """Give a picture's path within its data; None if it has none."""
    if isinstance(source, PictureView):
        return _relative(source.base, source.index[row])
    return source.paths[row] if isinstance(source, Folder | Listed) else None


def _plain(title: str) -> str:
    """Make a safe name for results from a title, which may be any path, even outside the folder."""
    path = PurePosixPath(title.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        path = PurePosixPath(path.name)
    return str(path.with_suffix("") if is_picture_name(path.name) else path) or "picture"


def check_places(
    photographs: Sequence[Photograph], places: Sequence[Sequence[Path]], *also: str
) -> None:
    """Refuse to write two results into one file, or over an input.

    Args:
        photographs: The inputs.
        places: For each of them, the files that will be written.
        *also: Further inputs.

    Raises:
        UsageError: Naming the first such file.
    """
    read = {os.path.realpath(file): file for file in (*also, *(one.file for one in photographs))}
    taken: dict[str, str] = {}
    for one, files in zip(photographs, places, strict=True):
        for file in files:
            real = os.path.realpath(file)
            if real in read:
                raise UsageError(
                    f"{file} would be written over {read[real]}, which is read; name another "
                    "folder with --out"
                )
            if real in taken:
                raise UsageError(
                    f"{file} would hold the results of both {taken[real]} and {one.title}; apply "
                    "to them one by one, each with an --out of its own"
                )
            taken[real] = one.title


def read_photograph(one: Photograph, channels: int) -> Tensor:
    """Decode a picture at its own size: -> (channels, H, W) uint8 or uint16.

    Raises:
        Unreadable: If it cannot be decoded, or its channels cannot be turned into so many.
    """
    return with_channels(one.source.decode(one.row), channels)


def write_png(path: Path, picture: Tensor) -> None:
    """Write a picture (1 or 3, H, W) uint8, signed, whole or not at all."""
    pixels = picture.permute(1, 2, 0).contiguous().numpy()
    buffer = io.BytesIO()
    plain = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    texts = PngInfo()
    for key, text in SIGNED.items():
        texts.add_text(key, text)
    plain.save(buffer, format="png", compress_level=PNG_EFFORT, pnginfo=texts)
    atomic.write_bytes(path, buffer.getvalue())


def hole_of_boxes(boxes: Sequence[str], height: int, width: int, title: str) -> Tensor:
    """Mark boxes: "LEFT,TOP,WIDTH,HEIGHT" each -> (H, W) bool.

    Raises:
        UsageError: If one reaches out of the picture, or nothing is left of it.
    """
    hole = torch.zeros(height, width, dtype=torch.bool)
    for box in boxes:
        left, top, wide, high = (int(word) for word in box.split(","))
        if left + wide > width or top + high > height:
            raise UsageError(
                f"--box {box} must lie within {title}, which is {width} x {height} pixels"
            )
        hole[top : top + high, left : left + wide] = True
    return _checked(hole, f"--box leaves nothing of {title}")


def read_mask(file: str) -> Tensor:
    """Read a picture as a hole, white or lighter than middle grey: -> (H, W) bool.

    Raises:
        SelfsightError: If it cannot be read.
        UsageError: If it is black all over, or white all over.
    """
    try:
        grey = with_channels(Folder(Path(), (file,)).decode(0), 1)[0]
    except Unreadable as error:
        raise SelfsightError(f"--mask {file} cannot be read: {error}") from error
    hole = as_float(grey) >= 0.5
    if not hole.any():
        raise UsageError(
            f"--mask {file} has no hole: paint white what is to be filled in, the rest black"
        )
    return _checked(hole, f"--mask {file} is white all over")


def _checked(hole: Tensor, fault: str) -> Tensor:
    if hole.all():
        raise UsageError(f"{fault}, and a hole is filled from what is around it; leave some")
    return hole
