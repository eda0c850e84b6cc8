"""Lists: a .csv or .txt file that names pictures, and perhaps their classes and parts.

A .csv file has a header; its column `path`, or else its first, names the pictures, `label` their
classes and `split` their parts. A .txt file has a path a line; blank lines and those that start
with # are skipped. Paths are relative to the list's folder. A picture that is not there is
unreadable like any other, so that one lost file does not stop a run.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from torch import Tensor

from selfsight.data.classes import numbered_words
from selfsight.data.decode import Unreadable
from selfsight.data.folder import is_picture_name
from selfsight.data.source import EncodedSource, Parts, open_regular, same_classes, stamp_of
from selfsight.errors import SelfsightError

LISTS = (".csv", ".txt")
# What may stand in the column `split`. The test part is preferred to the validation part.
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


class Row(NamedTuple):
    """A line of a list.

    Attributes:
        line: Its number, from 1.
        path: As written.
        label: Class; "" where there is none.
        part: "train", "val" or "test".
    """

    line: int
    path: str
    label: str
    part: str


class Listed(EncodedSource):
    """Pictures named one by one.

    Args:
        name: Where their names come from.
        root: The folder that relative paths start from.
        paths: Each picture's path.
        classes: K class names; () when unlabelled.
        labels: (N,) int64 class numbers, or None.
        files: What the names were read from, for the stamp.
    """

    by_file = True

    def __init__(
        self,
        name: str,
        root: Path,
        paths: tuple[str, ...],
        classes: tuple[str, ...],
        labels: Tensor | None,
        *,
        files: tuple[Path, ...] = (),
    ) -> None:
        self.name = name
        self.root = root
        self.paths = paths
        self.classes = classes
        self.labels = labels
        self._files = files

    def __len__(self) -> int:
        return len(self.paths)

    def title(self, i: int) -> str:
        """Name picture i for messages."""
        return self.paths[i]

    def opened(self, i: int) -> BinaryIO:
        """Open its bytes for reading."""
        try:
            return open_regular(self.root / self.paths[i])
        except FileNotFoundError:
            raise Unreadable(f"not there; relative paths start at {self.root}") from None

    def stamp(self) -> Iterator[str]:
        """Stamp the list, and every picture that is there."""
        yield from map(stamp_of, self._files)
        for path in self.paths:
            yield stamp_of(self.root / path)


def open_list(path: Path) -> Parts:
    """Read a .csv or .txt list.

    Raises:
        SelfsightError: If it is no text, names no picture, or leaves labels or parts out.
    """
    text = _text(path)
    rows = _rows_of_csv(path, text) if path.suffix.lower() == ".csv" else _rows_of_txt(text)
    if not rows:
        raise SelfsightError(f"{path} names no picture; give a path a line.")
    train = [row for row in rows if row.part == "train"]
    if not train:
        raise SelfsightError(
            f"column `split` of {path} gives no picture to train; write train in some rows."
        )
    other = [row for row in rows if row.part == "test"]
    other = other or [row for row in rows if row.part == "val"]
    source = _source(path, train)
    return Parts(source, same_classes(source, _source(path, other)) if other else None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SelfsightError(
            f"a list of pictures must be text in UTF-8; {path} has another byte at place "
            f"{error.start}. Save it as UTF-8."
        ) from error
    except OSError as error:
        raise SelfsightError(f"{path} cannot be opened: {error.strerror or error}") from error


def _rows_of_txt(text: str) -> list[Row]:
    lines = enumerate((line.strip() for line in text.splitlines()), start=1)
    return [Row(n, line, "", "train") for n, line in lines if line and not line.startswith("#")]


def _rows_of_csv(path: Path, text: str) -> list[Row]:
    """Read the columns that count, by their names in the header."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        _check_header(path, header)
        place = header.index("path") if "path" in header else 0
        label = header.index("label") if "label" in header else None
        split = header.index("split") if "split" in header else None
        return [
            Row(
                reader.line_num,
                _cell(cells, place),
                _cell(cells, label),
                "train" if split is None else _part(path, reader.line_num, _cell(cells, split)),
            )
            for cells in reader
            if any(cell.strip() for cell in cells)
        ]
    except csv.Error as error:
        raise SelfsightError(
            f"{path} is not well-formed CSV at line {reader.line_num}: {error}. Mend that line."
        ) from error


def _check_header(path: Path, header: list[str]) -> None:
    """Refuse a first line that is no header, or is split by semicolons."""
    if header and is_picture_name(header[0]):
        raise SelfsightError(
            f"a .csv file needs a header, such as path,label; {path} starts with the picture "
            f"{header[0]!r}. Add a first line with the columns' names."
        )
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        raise SelfsightError(
            f"the columns of a .csv file are parted by commas; {path} has {header[0]!r}. "
            "Save it with commas."
        )


def _cell(cells: list[str], place: int | None) -> str:
    """Read one cell; short rows end in empty ones."""
    return cells[place].strip() if place is not None and place < len(cells) else ""


def _part(path: Path, line: int, word: str) -> str:
    part = SPLITS.get(word.lower())
    if part is None:
        raise SelfsightError(
            f"column `split` must hold train, val or test in every row; {path} has {word!r} in "
            f"line {line}. Correct it, or remove the column."
        )
    return part


def _source(path: Path, rows: list[Row]) -> Listed:
    """Check one part, and number its classes where it has some."""
    nameless = next((row for row in rows if not row.path), None)
    if nameless:
        raise SelfsightError(
            f"every row must name a picture; {path} has none in line {nameless.line}. Fill it in, "
            "or remove the line."
        )
    labelled = any(row.label for row in rows)
    bare = next((row for row in rows if not row.label), None)
    if labelled and bare:
        raise SelfsightError(
            f"column `label` must be filled in every row or in none; {path} has nothing in line "
            f"{bare.line}. Fill it in, or keep these rows in a list of their own."
        )
    classes, labels = numbered_words([row.label for row in rows]) if labelled else ((), None)
    paths = tuple(row.path for row in rows)
    return Listed(str(path), path.parent, paths, classes, labels, files=(path,))
