"""Parquet: a table with a column of encoded pictures and perhaps one of labels.

The layout is that of Hugging Face: `image` is a struct with `bytes`, `label` a number, and (here)
`class` its name. A plain binary column does as well.
"""

import io
import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selfsight.data.classes import NO_LABELS, Labels, classes_of, labels_or_reason, unusable
from selfsight.data.decode import Unreadable
from selfsight.data.source import EncodedSource, stamp_of
from selfsight.errors import SelfsightError

GROUPS_HELD = 2  # row groups kept in memory: the one being read, and its neighbour


class ParquetTable(EncodedSource):
    """The pictures of a Parquet file; a row group is read when one of its rows is asked for.

    Args:
        path: The file.

    Raises:
        SelfsightError: If it is no Parquet file, has no column of pictures, or no rows.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._file = _opened(path)
        self._column, self._inner = _picture_column(self._file.schema_arrow, self.name)
        rows = self._file.metadata
        sizes = [rows.row_group(g).num_rows for g in range(rows.num_row_groups)]
        self._ends = np.cumsum([0, *sizes])  # (groups + 1,), where each row group starts and ends
        if self._ends[-1] == 0:
            raise SelfsightError(f"{self.name} holds no rows; give a file with pictures in it.")
        self._held: OrderedDict[int, Any] = OrderedDict()
        self._lock = Lock()
        self.classes, self.labels, self.unlabelled = labels_or_reason(
            lambda: _labels(self._file, self.name)
        )

    def __len__(self) -> int:
        return int(self._ends[-1])

    def title(self, i: int) -> str:
        """Name picture i for messages."""
        return f"row {i}"

    def opened(self, i: int) -> BinaryIO:
        """Open its bytes for reading."""
        group = int(np.searchsorted(self._ends, i, side="right")) - 1
        value = self._group(group)[i - int(self._ends[group])]
        value = value[self._inner] if self._inner and value.is_valid else value
        if not value.is_valid:
            raise Unreadable("the row holds no bytes")
        return io.BytesIO(value.as_buffer())

    def stamp(self) -> Iterator[str]:
        """Stamp the file."""
        yield stamp_of(Path(self.name))

    def _group(self, group: int) -> Any:
        """Return a row group's column of pictures, from memory if it was used lately."""
        with self._lock:
            if group not in self._held:
                table = self._file.read_row_group(group, columns=[self._column])
                self._held[group] = table.column(0)
                if len(self._held) > GROUPS_HELD:
                    self._held.popitem(last=False)
            self._held.move_to_end(group)
            return self._held[group]


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(pa.OSFile(os.fsencode(path)))  # as text it takes only UTF-8
    except (pa.ArrowException, OSError) as error:
        raise SelfsightError(f"{path} cannot be read as Parquet: {error}") from error


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _picture_column(schema: pa.Schema, name: str) -> tuple[str, str | None]:
    """Find the column of encoded pictures: -> its name, and the field inside it if a struct."""
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


def _labels(file: pq.ParquetFile, name: str) -> Labels:
    """Read labels (N,) from `label`, named by `class` where both are there."""
    columns = [c for c in ("label", "class") if c in file.schema_arrow.names]
    if not columns:
        return NO_LABELS
    what = f"column `{columns[0]}` of {name}"
    kind = file.schema_arrow.field(columns[0]).type
    if reason := _no_label(kind, what):
        return unusable(reason)
    try:
        table = file.read(columns=columns).to_pydict()
    except (pa.ArrowException, OSError) as error:
        raise SelfsightError(f"{what} cannot be read: {error}") from error
    found = classes_of(table[columns[0]], what)
    return found if len(columns) == 1 else _named(found, table["class"])


def _named(found: Labels, words: list[object]) -> Labels:
    """Name the classes by words (N,), where each class always has the same one of its own."""
    if found.numbers is None or not all(type(word) is str for word in words):
        return found
    names = dict(zip(found.numbers.tolist(), map(str, words), strict=True))
    if len(set(names.values())) < len(found.classes):
        return found
    return found._replace(classes=tuple(names[k] for k in range(len(names))))


def _no_label(kind: pa.DataType, what: str) -> str:
    """Say why a column of this kind holds no label a picture; "" if it may. Nothing is read."""
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
