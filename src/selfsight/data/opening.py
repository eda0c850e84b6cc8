"""Opening: from what the user typed to a source of pictures, or a sentence why not.

A path is looked at before any name, so a folder of one's own called `photos` or `cifar10` is found.
"""

from collections.abc import Callable
from pathlib import Path

from selfsight.data.arrays import open_array, open_array_folder, open_arrays
from selfsight.data.embedded import EMBEDDED
from selfsight.data.folder import Folder, is_picture_name, picture_paths
from selfsight.data.idx import is_idx, open_idx, open_idx_folder
from selfsight.data.lists import open_list
from selfsight.data.named import NAMED, open_named
from selfsight.data.parquet import ParquetTable
from selfsight.data.photo import open_photo
from selfsight.data.shards import (
    has_braces,
    open_braces,
    open_shard,
    open_shard_folder,
    refuse_compressed,
)
from selfsight.data.source import Parts, Source, same_classes
from selfsight.errors import SelfsightError
from selfsight.names import PHOTO, nothing_called

SUPPORTED = (
    "a folder of pictures, a .parquet, .npz or .npy file, a .csv or .txt list of pictures, "
    "MNIST's idx3-ubyte files, or .tar shards"
)
# What DATA may be, for people; names are in EMBEDDED and NAMED.
FORMS = {
    "a folder": "its pictures and those of its subfolders, which are classes if there are several; "
    "train/ and test/ (or val/) are parts",
    "FILE.csv": "a list with a header: column path (or the first), and perhaps label and split",
    "FILE.txt": "a list, a path a line",
    "FILE.parquet": "a column image with bytes (or a binary one), and perhaps label and class",
    "FILE.npz": "arrays images and perhaps labels, or train_images, test_images, ... (MedMNIST)",
    "FILE.npy": "an array (N, H, W) or (N, H, W, C), read from the disk as it is needed",
    "*-idx3-ubyte[.gz]": "MNIST's files, or a folder of them",
    "FILE.tar": "WebDataset's shards, one, a folder of them, or NAME-{0000..0009}.tar",
    "photo:FILE": "crops of one photograph, always the same ones",
}
TEST_PARTS = ("test", "val")  # the first that is there


def open_data(where: str | Path) -> Parts:
    """Open a data set by path or name.

    Args:
        where: A folder of pictures, perhaps with `train/` and `test/` (or `val/`) in it; a file of
            a form in `SUPPORTED`, or a folder with one of these, or with `train` and `test` ones;
            several shards, `shards-{0000..0003}.tar`; `photo:FILE` for crops of one photograph; a
            name in `EMBEDDED` or `NAMED`.

    Returns:
        The training part, and the test part if the data has one.

    Raises:
        SelfsightError: If there is nothing of the kind.
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
    if name in EMBEDDED:
        return EMBEDDED[name]()
    if name in NAMED:
        return open_named(name)
    raise SelfsightError(nothing_called(name))


def _open_folder(root: Path) -> Parts:
    """Look for parts, then pictures, then files of many pictures."""
    train, test = (
        _part(root, "train"),
        next(filter(None, (_part(root, p) for p in TEST_PARTS)), None),
    )
    if train and (test or _is_all_there_is(train, root)):
        return _joined(_whole(train), _whole(test) if test else None)
    if paths := picture_paths(root):
        return Parts(Folder(root, paths), None)
    return _open_files_of(root)


def _open_files_of(root: Path) -> Parts:
    """Look in a folder for files that hold many pictures each."""
    for opener in FOLDER_OPENERS:
        if parts := opener(root):
            return parts
    files = _tables(root)
    by_name = {file.stem: file for file in files}
    other = next((by_name[part] for part in TEST_PARTS if part in by_name), None)
    if "train" in by_name and (other or len(files) == 1):
        return _joined(
            _open_file(by_name["train"]).train, _open_file(other).train if other else None
        )
    if len(files) == 1:
        return _open_file(files[0])
    raise SelfsightError(_nothing_in(root, files))


def _part(root: Path, name: str) -> Path | None:
    return root / name if (root / name).is_dir() else None


def _is_all_there_is(part: Path, root: Path) -> bool:
    """Tell a lone `train/` from a class that happens to have this name."""
    beside = [p for p in root.iterdir() if p != part and not p.name.startswith(".")]
    return not any(p.is_dir() or is_picture_name(p.name) for p in beside)


def _whole(path: Path) -> Source:
    """Open a part's folder, which has no parts of its own."""
    if paths := picture_paths(path):
        return Folder(path, paths)
    return _open_files_of(path).train


def _joined(train: Source, test: Source | None) -> Parts:
    return Parts(train, None if test is None else same_classes(train, test))


def _tables(root: Path) -> list[Path]:
    """List the files directly in a folder that hold many pictures each."""
    return sorted(
        path
        for path in root.iterdir()
        if path.suffix.lower() in TABLES and not path.name.startswith(".")
    )


def _nothing_in(root: Path, files: list[Path]) -> str:
    """Say why a folder cannot be opened."""
    if files:
        return (
            f"{root} holds no pictures but {len(files)} files of them "
            f"({', '.join(file.name for file in files[:5])}); name one of these, "
            "or call them train and test."
        )
    return f"{root} holds no pictures, in it or in its subfolders. Give {SUPPORTED}."


def _open_file(path: Path) -> Parts:
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
    raise SelfsightError(f"{path} is no data that can be read here; give {SUPPORTED}.")


def _open_table(path: Path) -> Parts:
    return Parts(ParquetTable(path), None)


OPENERS: dict[str, Callable[[Path], Parts]] = {
    ".parquet": _open_table,
    ".npz": open_arrays,
    ".npy": open_array,
    ".csv": open_list,
    ".txt": open_list,
    ".tar": open_shard,
}
TABLES = (".parquet", ".npz", ".npy")  # looked for in folders; lists there are often notes
FOLDER_OPENERS: tuple[Callable[[Path], Parts | None], ...] = (
    open_array_folder,
    open_idx_folder,
    open_shard_folder,
)
