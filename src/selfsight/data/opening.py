"""Opening: from what the user typed to a source of pictures, or a sentence why not.

A path is looked at before the embedded names, so a folder of one's own called `photos` is found.
"""

from collections.abc import Callable
from pathlib import Path

from selfsight.data.arrays import open_arrays
from selfsight.data.embedded import EMBEDDED
from selfsight.data.folder import Folder, is_picture_name, picture_paths
from selfsight.data.parquet import ParquetTable
from selfsight.data.source import Parts, Source, same_classes
from selfsight.errors import SelfsightError

SUPPORTED = "a folder of pictures, a .parquet file or an .npz file"
TEST_PARTS = ("test", "val")  # the first that is there


def open_data(where: str | Path) -> Parts:
    """Open a data set by path or embedded name.

    Args:
        where: A folder of pictures, perhaps with `train/` and `test/` (or `val/`) in it; a
            .parquet or .npz file, or a folder with one of these or with `train.*` and `test.*`;
            `photos` or `digits`.

    Returns:
        The training part, and the test part if the data has one.

    Raises:
        SelfsightError: If there is nothing of the kind.
    """
    path = Path(where)
    if path.is_dir():
        return _open_folder(path)
    if path.is_file():
        return _open_file(path)
    if str(where) in EMBEDDED:
        return EMBEDDED[str(where)]()
    raise SelfsightError(
        f"there is no file or folder {str(where)!r}, and no embedded data of that name; "
        f"embedded: {', '.join(sorted(EMBEDDED))}. Give the path of {SUPPORTED}."
    )


def _open_folder(root: Path) -> Parts:
    """Look for parts, then pictures, then a single file of pictures."""
    train, test = (
        _part(root, "train"),
        next(filter(None, (_part(root, p) for p in TEST_PARTS)), None),
    )
    if train and (test or _is_all_there_is(train, root)):
        return _joined(_whole(train), _whole(test) if test else None)
    if paths := picture_paths(root):
        return Parts(Folder(root, paths), None)
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
    files = _tables(path)
    if len(files) != 1:
        raise SelfsightError(_nothing_in(path, files))
    return _open_file(files[0]).train


def _joined(train: Source, test: Source | None) -> Parts:
    return Parts(train, None if test is None else same_classes(train, test))


def _tables(root: Path) -> list[Path]:
    """List the files directly in a folder that hold many pictures each."""
    return sorted(
        path for path in root.iterdir() if path.suffix in OPENERS and not path.name.startswith(".")
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


OPENERS: dict[str, Callable[[Path], Parts]] = {".parquet": _open_table, ".npz": open_arrays}
