"""Opening: turns what the user typed into a source of pictures, or says why that is not possible.

Paths come before names, so a user's own folder called `photos` or `cifar10` is found.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

from selfsight.data.pictures.forms.arrays import open_array, open_array_folder, open_arrays
from selfsight.data.pictures.forms.embedded import EMBEDDED
from selfsight.data.pictures.forms.folder import open_pictures
from selfsight.data.pictures.forms.idx import is_idx, is_idx_name, open_idx, open_idx_folder
from selfsight.data.pictures.forms.left_out import is_foreign
from selfsight.data.pictures.forms.lists import open_list
from selfsight.data.pictures.forms.parquet import ParquetTable
from selfsight.data.pictures.forms.part_names import (
    TRAIN,
    VAL,
    in_parts,
    part_in_name,
    part_of_folder,
    tested_part,
    told_of_unused,
)
from selfsight.data.pictures.forms.photo import open_photo
from selfsight.data.pictures.forms.shards import (
    COMPRESSED,
    has_braces,
    open_braces,
    open_shard,
    open_shard_folder,
    refuse_compressed,
)
from selfsight.data.pictures.forms.suffixes import is_picture_name
from selfsight.data.pictures.forms.torchvision_sets import NAMED, open_named
from selfsight.data.pictures.forms.walking import walked
from selfsight.data.pictures.source import PictureParts, PictureSource
from selfsight.data.source import same_classes
from selfsight.errors import SelfsightError
from selfsight.system.paths import PHOTO, nothing_called

SUPPORTED = (
    "a folder of pictures, a .parquet, .npz or .npy file, a .csv, .tsv or .txt list of pictures, "
    "MNIST's idx3-ubyte files, or .tar shards"
)
# What DATA may be, for people; names are in EMBEDDED and NAMED.
FORMS = {
    "a folder": "its pictures and those of its subfolders, which are classes if there are several; "
    "train/ and test/ (or val/) are parts, also written Training, valid, test_set, ...",
    "FILE.csv, FILE.tsv": "a list with a header: a column such as path, filename or image_id, and "
    "perhaps label, class, target or category, and split",
    "FILE.txt": "a list with one path in a line, perhaps followed by a class",
    "FILE.parquet": "a column image with bytes (or a binary one), and perhaps label and class; or "
    "a folder of train-00000-of-00002.parquet, ..., as Hugging Face's hub has it",
    "FILE.npz": "arrays images and perhaps labels (or x and y), or train_images, test_images, ...",
    "FILE.npy": "an array (N, H, W) or (N, H, W, C), read from the disk when needed",
    "*-idx3-ubyte[.gz]": "MNIST's files, or a folder of them",
    "FILE.tar": "WebDataset's shards, one, a folder of them, or NAME-{0000..0009}.tar",
    "photo:FILE": "crops of one photograph, always the same ones",
}


def open_data(where: str | Path) -> PictureParts:
    """Open a data set by path or name.

    Args:
        where: A folder of pictures, perhaps with `train/` and `test/` (or `val/`) in it; a file of
            a form in `SUPPORTED`, or a folder with one of these or with `train` and `test` ones;
            several shards, `shards-{0000..0003}.tar`; `photo:FILE` for crops of one photograph; a
            name in `EMBEDDED` or `NAMED`.

    Returns:
        The training part, and the test part if the data has one.

    Raises:
        SelfsightError: If it is none of these.
    """
    path, name = Path(where), str(where)
    if path.is_dir():
        return _open_folder(path)
    if path.is_file():
        return _open_file(path)
    if has_braces(name):
        return open_braces(name)
    if name.startswith(PHOTO):
        return open_photo(Path(name.removeprefix(PHOTO)))
    return open_called(name)


def open_called(name: str) -> PictureParts:
    """Open data by its name alone, whatever files there are of that name.

    Raises:
        SelfsightError: If no data has that name.
    """
    if name in EMBEDDED:
        return EMBEDDED[name]()
    if name in NAMED:
        return open_named(name)
    raise SelfsightError(nothing_called(name))


def _open_folder(root: Path) -> PictureParts:
    """Look for pictures, then for files of many pictures."""
    there = walked(root)
    if there.paths:
        return open_pictures(root, there, _unread_beside(root))
    parts = _open_files_of(root)
    if parts is None:
        why = "".join(f"\n  {note}" for note in there.left_out.notes)
        raise SelfsightError(
            f"{root} holds no pictures, nor do its subfolders. Give {SUPPORTED}.{why}"
        )
    return parts


def _unread_beside(root: Path) -> tuple[str, ...]:
    """Name files of many pictures that are not read because they lie beside pictures."""
    files = [file for file in _files_of(root, (*TABLES, ".tar")) if part_in_name(file.stem)]
    if not files:
        return ()
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return (
        f"{root} holds pictures, so {files[0].name}{more} beside them is not read; to learn from "
        "it, give that file, or a folder with only such files",
    )


def _open_files_of(root: Path) -> PictureParts | None:
    """Look for files that hold many pictures each, in a folder or in folders of parts below it.

    A single folder around everything is entered, such as `data` in downloads from Hugging Face.
    """
    if parts := _open_files_in(root):
        return parts
    below = [folder for folder in _folders_of(root) if _holds_files(folder)]
    named: dict[str, list[Path]] = {}
    for folder in below:
        named.setdefault(part_of_folder(folder.name), []).append(folder)
    folders = {part: found[0] for part, found in named.items() if part and len(found) == 1}
    other = tested_part(folders)
    if TRAIN in folders and other is not None:
        train, test = (_open_files_of(folders[part]) for part in (TRAIN, other))
        assert train is not None  # `_holds_files` has checked this
        assert test is not None
        return PictureParts(train.train, same_classes(train.train, test.train))
    if len(below) > 1:
        raise SelfsightError(
            f"{root} holds several folders with files of pictures "
            f"({', '.join(folder.name for folder in below[:5])}); name one of these, or call them "
            "train and test."
        )
    return _open_files_of(below[0]) if below else None


def _open_files_in(root: Path) -> PictureParts | None:
    """Open files of many pictures that lie directly in a folder; None if there are none."""
    for opener in FOLDER_OPENERS:
        if parts := opener(root):
            return parts
    files = _files_of(root, TABLES)
    if len(files) == 1:
        return _open_file(files[0])
    if not files:
        return None
    if not any(part_in_name(file.stem) for file in files) and not _numbered(files):
        raise SelfsightError(
            f"{root} holds {len(files)} files of pictures "
            f"({', '.join(file.name for file in files[:5])}); give one of these, "
            "or call them train and test."
        )
    parts = in_parts(str(root), files)
    train = _open_joined(str(root), parts[TRAIN])
    other = tested_part(parts)
    if other is None:
        return PictureParts(train, None)
    train.notes += told_of_unused(str(root), _counted(parts.get(VAL, [])), parts)
    return PictureParts(train, same_classes(train, _open_joined(str(root), parts[other])))


def _open_joined(name: str, files: list[Path]) -> PictureSource:
    """Open the files of one part."""
    if len(files) == 1:
        return _open_file(files[0]).train
    other = next((file for file in files if file.suffix.lower() != ".parquet"), None)
    if other is not None:
        raise SelfsightError(
            f"only Parquet files of the same part are joined; in {name}, {other.name} is not "
            "Parquet. Keep one file for each part, or give one of them."
        )
    return ParquetTable(*files, name=name)


def _counted(files: list[Path]) -> str:
    return f"{len(files)} file{'s' if len(files) != 1 else ''}"


def _numbered(files: list[Path]) -> bool:
    """Tell whether names differ only in their numbers, as those of a table in pieces do."""
    return len({re.sub(r"\d+", "0", file.name) for file in files}) == 1


def _folders_of(root: Path) -> list[Path]:
    """List the folders in a folder, except hidden ones and those made by other programs."""
    return sorted(
        path
        for path in root.iterdir()
        if path.is_dir() and not path.name.startswith(".") and not is_foreign(path.name)
    )


def _holds_files(folder: Path) -> bool:
    """Tell whether files of many pictures lie anywhere below a folder."""
    suffixes = (*TABLES, ".tar", *COMPRESSED)
    return any(
        file.lower().endswith(suffixes) or is_idx_name(file)
        for _, _, files in os.walk(folder)
        for file in files
        if not file.startswith(".")
    )


def _files_of(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """List the files directly in a folder, except hidden ones, with one of these suffixes."""
    return sorted(
        path
        for path in root.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )


def _open_file(path: Path) -> PictureParts:
    """Open a file by its suffix."""
    if is_idx(path):
        return open_idx(path)
    refuse_compressed(path)
    opener = OPENERS.get(path.suffix.lower())
    if opener:
        return opener(path)
    if is_picture_name(path.name):
        raise SelfsightError(
            f"{path} is a single picture; to learn, give the folder that holds the pictures."
        )
    raise SelfsightError(f"{path} is not data that can be read here; give {SUPPORTED}.")


def _open_table(path: Path) -> PictureParts:
    return PictureParts(ParquetTable(path), None)


OPENERS: dict[str, Callable[[Path], PictureParts]] = {
    ".parquet": _open_table,
    ".npz": open_arrays,
    ".npy": open_array,
    ".csv": open_list,
    ".tsv": open_list,
    ".txt": open_list,
    ".tar": open_shard,
}
TABLES = (".parquet", ".npz", ".npy")  # searched for in folders; text files there are often notes
FOLDER_OPENERS: tuple[Callable[[Path], PictureParts | None], ...] = (
    open_array_folder,
    open_idx_folder,
    open_shard_folder,
)
