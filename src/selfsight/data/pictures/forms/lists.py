"""Lists: a .csv, .tsv or .txt file that names pictures, and perhaps their classes and parts.

A .csv or .tsv file has a header: a column such as `path`, `filename` or `image_id` names the
pictures (else the first column that does not number rows), one such as `label`, `class` or
`category` their classes, and `split` their parts; columns are separated by commas, semicolons or
tabs. A .txt file has one path in a line, perhaps followed by a class; blank lines and lines that
start with # are skipped.

Paths are relative to the list's folder. If none of them exists as written, they are searched for as
other systems write them: with backslashes, without a suffix, or from another folder. A missing
picture counts as unreadable, so that one lost file does not stop a run.
"""

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from selfsight.data.pictures.files.header import check_memory
from selfsight.data.pictures.forms.classes import NO_LABELS, Labels, classes_of, unusable
from selfsight.data.pictures.forms.column_names import LABELS, PATHS, SPLITS, first_of, plain
from selfsight.data.pictures.forms.part_names import (
    TRAIN,
    VAL,
    part_of_word,
    tested_part,
    told_of_unused,
)
from selfsight.data.pictures.forms.suffixes import is_picture_name
from selfsight.data.pictures.forms.walking import walked
from selfsight.data.pictures.source import EncodedSource, PictureParts
from selfsight.data.source import Lost, Unreadable, open_regular, same_classes, stamp_of
from selfsight.errors import SelfsightError
from selfsight.system.escaping import escaped

LIST_BYTES = 8  # bytes of memory that a byte of a list may take, as text and in rows
TABLES = (".csv", ".tsv")  # with a header; other lists have one path in a line
PARTINGS = ",;\t"
NO_VALUE = {"", "nan", "<na>"}  # what pandas writes for missing values, in lower case
COUNTING = re.compile(r"(unnamed:_\d+|index)?")  # pandas' column of row numbers
# A picture's name followed by a label, as mmcls and many others write.
BEHIND = re.compile(r"(?P<path>.*\.\w{2,5})(?:\s*[,;\t]\s*|\s+)(?P<label>\S.*)")


class ListRow(NamedTuple):
    """A line of a list.

    Attributes:
        line: Its number, from 1.
        path: As written.
        label: Class; "" if there is none.
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
        labels: The pictures' labels.
        files: The files that the names were read from, for the stamp.
    """

    by_file = True

    def __init__(
        self,
        name: str,
        root: Path,
        paths: tuple[str, ...],
        labels: Labels = NO_LABELS,
        *,
        files: tuple[Path, ...] = (),
    ) -> None:
        self.name = name
        self.root = root
        self.paths = paths
        self.classes, self.labels, self.unlabelled = labels
        self._files = files

    def __len__(self) -> int:
        return len(self.paths)

    def title(self, i: int) -> str:
        """Name picture i for messages."""
        return escaped(self.paths[i])

    def file(self, i: int) -> str:
        """Name the file of picture i."""
        return os.path.join(self.root, self.paths[i])

    def opened(self, i: int) -> BinaryIO:
        """Open its bytes for reading."""
        try:
            return open_regular(self.root / self.paths[i])
        except FileNotFoundError:
            raise Lost(f"does not exist; relative paths start at {self.root}") from None

    def stamp(self) -> Iterator[str]:
        """Give the stamps of the list and of every picture."""
        yield from map(stamp_of, self._files)
        for path in self.paths:
            yield stamp_of(self.root / path)


def open_list(path: Path) -> PictureParts:
    """Read a .csv, .tsv or .txt list.

    Raises:
        SelfsightError: If it is not text, names no picture, or lacks paths or parts.
    """
    text = _text(path)
    rows = _rows_of_csv(path, text) if path.suffix.lower() in TABLES else _rows_of_txt(text)
    if not rows:
        raise SelfsightError(f"{path} names no picture; give one path in each line.")
    rows, notes = _found(path.parent, str(path), rows)
    parts = {part: [row for row in rows if row.part == part] for part in {r.part for r in rows}}
    if TRAIN not in parts:
        raise SelfsightError(
            f"column `split` of {path} assigns no picture to train; write train in some rows."
        )
    train = _source(path, parts[TRAIN])
    other = tested_part(parts)
    unused = f"{len(parts.get(VAL, ())):,} rows"
    train.notes = (*notes, *told_of_unused(str(path), unused, parts))
    if other is None:
        return PictureParts(train, None)
    return PictureParts(train, same_classes(train, _source(path, parts[other])))


def _text(path: Path) -> str:
    """Read a list; one that is not UTF-8 is accepted if it names files that are not UTF-8."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            check_memory(f"the list {path}", LIST_BYTES * size, "split it into several lists")
            file.seek(0)
            data = file.read()
    except Unreadable as reason:
        raise SelfsightError(f"{path} cannot be read: it is {reason}.") from reason
    except OSError as error:
        raise SelfsightError(f"{path} cannot be opened: {error.strerror or error}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text = data.decode("utf-8-sig", "surrogateescape")
        if "\0" not in text and _names_a_file(path.parent, text):
            return text
        raise SelfsightError(
            f"a list of pictures must be text in UTF-8; {path} has an invalid byte at position "
            f"{error.start}. Save it as UTF-8."
        ) from error


def _names_a_file(root: Path, text: str) -> bool:
    """Tell whether some word with bytes that are not UTF-8 is the name of a file."""
    words = (word.strip(' "') for word in re.split(r"[,;\t\r\n]", text))
    return any(escaped(word) != word and os.path.isfile(root / word) for word in words)


def _rows_of_txt(text: str) -> list[ListRow]:
    # Not splitlines, which also splits at characters that a name may contain.
    lines = enumerate((line.strip() for line in io.StringIO(text, newline=None)), start=1)
    return [
        ListRow(number, *_path_and_label(line), TRAIN)
        for number, line in lines
        if line and not line.startswith("#")
    ]


def _path_and_label(line: str) -> tuple[str, str]:
    """Split a line after the picture's name: -> path, label or ""."""
    behind = BEHIND.fullmatch(line)
    if (
        behind
        and not is_picture_name(Path(line).name)
        and is_picture_name(Path(behind["path"]).name)
    ):
        return behind["path"], behind["label"]
    return line, ""


class _Columns(NamedTuple):
    """The numbers of the columns that are used.

    Attributes:
        cells: Number of cells in the header.
        path: Column of the pictures' names.
        label: Column of the classes, or None.
        split: Column of the parts, or None.
    """

    cells: int
    path: int
    label: int | None
    split: int | None


def _rows_of_csv(path: Path, text: str) -> list[ListRow]:
    """Read the columns that are used, by their names in the header."""
    text, parting = _parting(text)
    reader = csv.reader(
        io.StringIO(text, newline=""), strict=True, delimiter=parting, skipinitialspace=True
    )
    try:
        columns = _columns(path, next(reader, []))
        return [
            _row(path, reader.line_num, cells, columns)
            for cells in reader
            if any(cell.strip() for cell in cells)
        ]
    except csv.Error as error:
        raise SelfsightError(
            f"{path} is not well-formed CSV at line {reader.line_num}: {error}. Correct that line."
        ) from error


def _parting(text: str) -> tuple[str, str]:
    """Find the separator of columns: -> the text from its header on, and the separator.

    Spreadsheets in countries with decimal commas write semicolons, and may say so in a first line.
    """
    first, newline, rest = text.partition("\n")
    said = re.fullmatch(r'"?sep=(.)"?\s*', first)
    if said and newline:
        return rest, said[1]
    names = re.sub(r'"[^"]*"', "", first)  # ignore separators in quotes
    return text, next((sign for sign in PARTINGS if sign in names), ",")


def _columns(path: Path, header: list[str]) -> _Columns:
    """Find the columns that are used.

    Raises:
        SelfsightError: If the first line is not a header, or names such a column twice.
    """
    if header and is_picture_name(Path(_path_and_label(header[0].strip())[0]).name):
        raise SelfsightError(
            f"a .csv file needs a header, such as path,label; {path} starts with the picture "
            f"{header[0]!r}. Add a first line with the columns' names, or call it .txt if it has "
            "one path in a line, perhaps followed by a class."
        )
    names = [plain(name) for name in header]
    place, label, split = (_place(path, names, among) for among in (PATHS, LABELS, SPLITS))
    if place is None:
        taken = (label, split)
        place = next(
            (k for k, name in enumerate(names) if k not in taken and not COUNTING.fullmatch(name)),
            0,
        )
    return _Columns(len(header), place, label, split)


def _place(path: Path, names: Sequence[str], among: Sequence[str]) -> int | None:
    """Find the first of several names in a header: -> its column, or None."""
    name = first_of(among, names)
    if name is None:
        return None
    if names.count(name) > 1:
        raise SelfsightError(
            f"a column's name must occur once in the header; {path} has `{name}` "
            f"{names.count(name)} times. Rename the others."
        )
    return names.index(name)


def _row(path: Path, line: int, cells: list[str], columns: _Columns) -> ListRow:
    """Read a row; missing cells at its end count as empty."""
    if any(cell.strip() for cell in cells[columns.cells :]):
        raise SelfsightError(
            f"a row must have no more cells than the header, {columns.cells}; {path} has "
            f"{len(cells)} in line {line}. Put cells that contain a comma into quotes."
        )

    def cell(place: int | None) -> str:
        return cells[place].strip() if place is not None and place < len(cells) else ""

    label = cell(columns.label)
    part = TRAIN if columns.split is None else _part(path, line, cell(columns.split))
    return ListRow(line, cell(columns.path), "" if label.lower() in NO_VALUE else label, part)


def _part(path: Path, line: int, word: str) -> str:
    part = part_of_word(word)
    if not part:
        raise SelfsightError(
            f"column `split` must hold train, val or test in every row; {path} has {word!r} in "
            f"line {line}. Correct it, or rename the column to use no parts."
        )
    return part


def _found(root: Path, name: str, rows: list[ListRow]) -> tuple[list[ListRow], tuple[str, ...]]:
    """Search for the pictures elsewhere if none exists as written: -> rows, notes.

    Args:
        root: The list's folder.
        name: The list.
        rows: Its rows.
    """
    nameless = next((row for row in rows if not row.path), None)
    if nameless:
        raise SelfsightError(
            f"every row must name a picture; {name} has none in line {nameless.line}. Fill it in, "
            "or remove the line."
        )
    if any(os.path.isfile(root / row.path) for row in rows):
        return rows, ()
    known = _by_tails(walked(root).paths)
    paths = [_sought(row.path, known) for row in rows]
    count = sum(path is not None for path in paths)
    if not count:
        return rows, ()
    first = next(k for k, path in enumerate(paths) if path)
    note = (
        f"no picture of {name} exists as written; {count:,} of {len(rows):,} were found by the "
        f"end of their paths, {rows[first].path!r} as {paths[first]}"
    )
    found = [row._replace(path=path or row.path) for row, path in zip(rows, paths, strict=True)]
    return found, (note,)


def _by_tails(paths: Sequence[str]) -> dict[str, str | None]:
    """Index pictures by every end of their paths, with and without suffix; None if ambiguous."""
    known: dict[str, str | None] = {}
    for path in paths:
        for tail in _tails(path):
            for key in (tail, os.path.splitext(tail)[0]):
                known[key] = None if known.get(key, path) != path else path
    return known


def _tails(path: str) -> Iterator[str]:
    """Give a path, the path without its first folder, and so on down to the file's name."""
    parts = path.split("/")
    return ("/".join(parts[k:]) for k in range(len(parts)))


def _sought(written: str, known: dict[str, str | None]) -> str | None:
    """Find the picture that a path means, by the longest end that matches one picture."""
    for tail in _tails(written.replace("\\", "/")):
        if (path := known.get(tail)) is not None:
            return path
    return None


def _source(path: Path, rows: list[ListRow]) -> Listed:
    """Make the source of one part."""
    paths = tuple(row.path for row in rows)
    return Listed(str(path), path.parent, paths, _labels(path, rows), files=(path,))


def _labels(path: Path, rows: list[ListRow]) -> Labels:
    """Number the classes of one part, if it has any."""
    bare = [row for row in rows if not row.label]
    if len(bare) == len(rows):
        return NO_LABELS
    if bare:
        return unusable(
            f"every row must have a class, or none may; {path} has none in line {bare[0].line}. "
            "Fill it in, or move these rows to another list"
        )
    return classes_of([row.label for row in rows], f"the column of classes of {path}")
