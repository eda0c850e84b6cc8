"""Parquet: a table with a column of encoded pictures and perhaps one of labels.

The layout is that of Hugging Face: `image` is a struct with `bytes`, `label` a number whose name is
in the metadata, or (here) in `class`. A plain binary column is read as well, and for labels a
column called `class`, `target` or `category`. A table may consist of several files.
"""

import io
import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selfsight.data.pictures.files.header import check_memory
from selfsight.data.pictures.forms.classes import (
    NO_LABELS,
    Labels,
    classes_of,
    labels_or_reason,
    unusable,
)
from selfsight.data.pictures.forms.column_names import LABELS, first_of
from selfsight.data.pictures.source import EncodedSource
from selfsight.data.source import Lost, Unreadable, open_regular, stamp_of, state_of
from selfsight.errors import SelfsightError, in_a_line
from selfsight.system import machine
from selfsight.system.escaping import escaped

NAMES = "class"  # the column of class names, beside one of class numbers
NOBODY_KNOWS = -1  # Hugging Face's label for the test part of a contest
AT_ONCE = 4 << 20  # bytes of small row groups, by their metadata, whose labels are read together
ROW_BYTES = 200  # bytes that any row takes in lists of all rows
GROUPS_HELD = 2  # row groups kept in memory: the one being read, and its neighbour
SMALL_FILE = 256 << 20  # bytes; smaller files are guarded against values repeated very often


class ParquetTable(EncodedSource):
    """The pictures of a table; a row group is read when one of its rows is needed.

    Args:
        paths: The Parquet file, or several with the same columns, one after the other.
        name: Their name in messages; by default the first one's path.
        memory: Bytes of memory, of which row groups may take half; by default this machine's.

    Raises:
        SelfsightError: If one is not a Parquet file or has no column of pictures, if there are no
            rows, or if the row groups are too large to be read.
    """

    def __init__(self, *paths: Path, name: str = "", memory: int | None = None) -> None:
        self.name = name or str(paths[0])
        self._paths = paths
        self._pieces = [_piece(path) for path in paths]
        self._column, self._inner = _picture_column(self._pieces[0].schema, str(paths[0]))
        for path, piece in zip(paths, self._pieces, strict=True):
            if _picture_column(piece.schema, str(path)) != (self._column, self._inner):
                raise SelfsightError(
                    f"files of one table must have the same columns; {path} has pictures in "
                    f"another column than {paths[0]}. Give one of them."
                )
        self._groups = [(k, g) for k, p in enumerate(self._pieces) for g in range(len(p.sizes))]
        sizes = [size for piece in self._pieces for size in piece.sizes]
        self._ends = np.cumsum([0, *sizes])  # (groups + 1,), where each row group starts and ends
        self._firsts = np.cumsum([0, *(sum(piece.sizes) for piece in self._pieces)])[:-1]
        if self._ends[-1] == 0:
            raise SelfsightError(f"{self.name} has no rows; give a file with pictures in it.")
        packed = sum(piece.state[0] for piece in self._pieces)
        check_memory(
            f"the list of the {len(self):,} rows of {self.name}",
            len(self) * ROW_BYTES,
            "give a file with a picture in every row",
            memory,
            packed=packed,
        )
        largest = sorted(size for p in self._pieces for size in _unpacked(p))
        check_memory(
            f"the data that is read at once from {self.name}, {GROUPS_HELD} row groups,",
            sum(largest[-GROUPS_HELD:]),
            "write it with smaller row groups, such as row_group_size=1000",
            memory,
            packed=packed,
        )
        self._held: OrderedDict[int, Any] = OrderedDict()
        self._lock = Lock()
        self.classes, self.labels, self.unlabelled = labels_or_reason(
            lambda: _labels(paths, self._pieces, self.name)
        )

    def __len__(self) -> int:
        return int(self._ends[-1])

    def title(self, i: int) -> str:
        """Name picture i for messages."""
        if len(self._paths) == 1:
            return f"row {i}"
        file = int(np.searchsorted(self._firsts, i, side="right")) - 1
        return f"{self._paths[file].name} row {i - int(self._firsts[file])}"

    def opened(self, i: int) -> BinaryIO:
        """Open its bytes for reading."""
        group = self._group_of(i)
        value = self._group(group)[i - int(self._ends[group])]
        value = value[self._inner] if self._inner and value.is_valid else value
        if not value.is_valid:
            raise Unreadable("the row holds no bytes")
        if isinstance(value, pa.DictionaryScalar):
            value = value.value
        return io.BytesIO(value.as_buffer())

    def stamp(self) -> Iterator[str]:
        """Stamp the files."""
        return map(stamp_of, self._paths)

    def _group_of(self, i: int) -> int:
        """Find the row group of picture i."""
        return int(np.searchsorted(self._ends, i, side="right")) - 1

    def _group(self, group: int) -> Any:
        """Give a row group's column of pictures, from memory if it was used recently."""
        with self._lock:
            if group not in self._held:
                self._held[group] = self._read(*self._groups[group])
                if len(self._held) > GROUPS_HELD:
                    self._held.popitem(last=False)
            self._held.move_to_end(group)
            return self._held[group]

    def _read(self, piece_number: int, group: int) -> Any:
        """Read the column of pictures of a row group of a file."""
        path, piece = self._paths[piece_number], self._pieces[piece_number]
        with open_regular(path) as file:
            if state_of(file) != piece.state:
                raise Lost(f"{path.name} has changed since it was opened")
        leaf = f"{self._column}.{self._inner}" if self._inner else self._column
        if piece.state[0] < SMALL_FILE:
            # Values that the file stores once for many rows are kept once in memory too: a megabyte
            # that a million rows refer to does not become a terabyte.
            with suppress(pa.ArrowCapacityError):  # impossible for over 2 GiB
                return self._pictures_of(path, piece, group, [leaf])
        return self._pictures_of(path, piece, group)

    def _pictures_of(
        self, path: Path, piece: "_Piece", group: int, apart: Sequence[str] = ()
    ) -> Any:
        """Read the column of pictures of a row group, with some columns as dictionaries."""
        with _opened(path, piece.metadata, apart) as opened:
            return opened.read_row_group(group, columns=[self._column]).column(0)


class _Piece(NamedTuple):
    """What is known of one file of a table, which is opened again whenever it is read.

    Attributes:
        schema: Its columns.
        metadata: Positions and sizes of its parts.
        sizes: Number of rows in each row group.
        state: The file's state, see `state_of`.
    """

    schema: pa.Schema
    metadata: pq.FileMetaData
    sizes: list[int]
    state: tuple[int, int]


def _piece(path: Path) -> _Piece:
    with _opened(path) as file:
        with open_regular(path) as plain:
            state = state_of(plain)
        rows = file.metadata
        sizes = [rows.row_group(g).num_rows for g in range(rows.num_row_groups)]
        return _Piece(file.schema_arrow, rows, sizes, state)


def _unpacked(piece: _Piece) -> list[int]:
    """Give the unpacked bytes of each row group according to its metadata.

    The metadata of a column would be more exact, but if it is damaged, reading it by pyarrow ends
    the process.
    """
    groups = range(piece.metadata.num_row_groups)
    return [piece.metadata.row_group(g).total_byte_size for g in groups]


def _opened(
    path: Path, metadata: pq.FileMetaData | None = None, apart: Sequence[str] = ()
) -> pq.ParquetFile:
    """Open a file.

    Args:
        path: The file.
        metadata: Its metadata, if they are known.
        apart: Columns to read as dictionaries, which keep equal values once.

    Raises:
        SelfsightError: If it is not a Parquet file.
    """
    try:
        open_regular(path).close()  # pyarrow would block on a pipe
        file = pa.OSFile(os.fsencode(path))  # as text, only UTF-8 is possible
        return pq.ParquetFile(file, metadata=metadata, read_dictionary=list(apart) or None)
    except Unreadable as reason:
        raise SelfsightError(f"{path} cannot be read as Parquet: it is {reason}") from reason
    except (pa.ArrowException, OSError) as error:
        raise SelfsightError(f"{path} cannot be read as Parquet: {in_a_line(error)}") from error


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _picture_column(schema: pa.Schema, name: str) -> tuple[str, str | None]:
    """Find the column of encoded pictures: -> its name, and the field inside it for a struct."""
    for field in sorted(schema, key=lambda field: field.name != "image"):
        if _is_binary(field.type):
            return field.name, None
        if pa.types.is_struct(field.type):
            at = field.type.get_field_index("bytes")
            if at >= 0 and _is_binary(field.type.field(at).type):
                return field.name, "bytes"
    raise SelfsightError(
        f"a Parquet file needs a column `image` with `bytes`, or a binary column; {name} has "
        f"{', '.join(schema.names)}."
    )


def _labels(paths: Sequence[Path], pieces: Sequence[_Piece], name: str) -> Labels:
    """Read labels (N,), with names from a column `class` beside them or from the metadata."""
    schema = pieces[0].schema
    column = first_of(LABELS, schema.names)
    if column is None:
        return NO_LABELS
    what = f"column `{column}` of {name}"
    if reason := _no_label(schema.field(column).type, what):
        return unusable(reason)
    names = NAMES if column != NAMES and NAMES in schema.names else None
    try:
        tables = [
            _columns(path, piece, column, names) for path, piece in zip(paths, pieces, strict=True)
        ]
    except (pa.ArrowException, OSError, KeyError, ValueError, OverflowError) as error:
        raise SelfsightError(f"{what} cannot be read: {in_a_line(error)}") from error
    values = [value for table in tables for value in table[column]]
    if set(values) == {NOBODY_KNOWS}:
        return NO_LABELS
    found = classes_of(values, what)
    if names is not None:
        return _named(found, [word for table in tables for word in table[names]])
    return _named_by_metadata(found, _names_in(schema, column))


def _columns(path: Path, piece: _Piece, *columns: str | None) -> dict[str, list[Any]]:
    """Read some columns of a file, without the pictures."""
    names = [column for column in columns if column]
    words = [name for name in names if pa.types.is_string(piece.schema.field(name).type)]
    what = f"{' and '.join(f'column `{name}`' for name in names)} of {path}"
    tables: list[pa.Table] = []
    taken, memory = 0, machine.memory()
    with _opened(path, piece.metadata, words) as file:
        for groups in _together(_unpacked(piece)):
            tables.append(file.read_row_groups(groups, columns=names))
            taken += tables[-1].nbytes
            check_memory(
                what,
                taken,
                "give one whole number or one word a picture",
                memory,
                packed=piece.state[0],
            )
    table = pa.concat_tables(tables)
    return {name: _values(table.column(name)) for name in names}


def _together(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Bundle row groups, given their sizes in bytes, into those to read together, in order."""
    groups: list[int] = []
    together = 0
    for group, size in enumerate(sizes):
        if groups and together + size > AT_ONCE:
            yield groups
            groups, together = [], 0
        groups.append(group)
        together += max(0, size)
    if groups:
        yield groups


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Give the values of a column (N,); rows share one object for a value that is stored once."""
    values: list[Any] = []
    for chunk in column.chunks:
        if isinstance(chunk, pa.DictionaryArray):
            words = chunk.dictionary.to_pylist()
            places = chunk.indices.to_pylist()
            values += [None if place is None else words[place] for place in places]
        else:
            values += chunk.to_pylist()
    return values


def _names_in(schema: pa.Schema, column: str) -> list[str]:
    """Find the class names that Hugging Face writes into a table's metadata; else []."""
    try:
        about = json.loads((schema.metadata or {})[b"huggingface"])
        names = about["info"]["features"][column]["names"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return []
    return [escaped(str(name)) for name in names] if isinstance(names, list) else []


def _named_by_metadata(found: Labels, names: list[str]) -> Labels:
    """Name numbered classes by a list of names, if each class has a different name."""
    numbers = (word.isdecimal() and len(word) <= len(str(len(names))) for word in found.classes)
    places = [
        int(word) if is_place else len(names)
        for word, is_place in zip(found.classes, numbers, strict=True)
    ]
    if not places or max(places) >= len(names) or len(set(names)) < len(names):
        return found
    return found._replace(classes=tuple(names[place] for place in places))


def _named(found: Labels, words: list[object]) -> Labels:
    """Name the classes by words (N,), if each class always has the same word, and only its own."""
    if found.numbers is None or not all(type(word) is str for word in words):
        return found
    names = dict(zip(found.numbers.tolist(), map(escaped, map(str, words)), strict=True))
    if len(set(names.values())) < len(found.classes):
        return found
    return found._replace(classes=tuple(names[k] for k in range(len(names))))


def _no_label(kind: pa.DataType, what: str) -> str:
    """Say, by its type alone, why a column cannot hold one label a picture; "" if it can."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return (
            f"{what} holds lists: several labels a picture are not read; give one whole number or "
            "one word a picture in a column of this name"
        )
    if _is_binary(kind) or pa.types.is_struct(kind):
        return (
            f"{what} holds {kind}: pictures as labels, such as masks, are not read; give one whole "
            "number or one word a picture in a column of this name"
        )
    return ""
