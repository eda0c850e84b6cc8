"""Parquet: a table with a column of encoded pictures and perhaps one of labels.

The layout is that of Hugging Face: `image` is a struct with `bytes`, `label` a number, and (here)
`class` its name. A plain binary column does as well.
"""

import io
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from selfsight.data.classes import numbered_words
from selfsight.data.decode import Unreadable
from selfsight.data.source import EncodedSource, numbered, stamp_of
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
        self.classes, self.labels = _labels(self._file, self.name)

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
        return pq.ParquetFile(path)
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


def _labels(file: pq.ParquetFile, name: str) -> tuple[tuple[str, ...], Tensor | None]:
    """Read labels (N,) from `label`, named by `class` where both are there."""
    columns = [c for c in ("label", "class") if c in file.schema_arrow.names]
    if not columns:
        return (), None
    table = file.read(columns=columns).to_pydict()
    values = table[columns[0]]
    if not (all(type(v) is int for v in values) or all(type(v) is str for v in values)):
        raise SelfsightError(
            f"column `{columns[0]}` must hold a whole number or a word in every row; {name} has "
            f"{_first_odd(values)!r}. Fill it in, or rename the column to go without labels."
        )
    words = bool(values) and type(values[0]) is str
    classes, labels = numbered_words(values) if words else numbered(values)
    if len(columns) == 2 and all(type(v) is str for v in table["class"]):
        named = dict(zip(labels.tolist(), table["class"], strict=True))
        if len(set(named.values())) == len(classes):
            classes = tuple(named[k] for k in range(len(classes)))
    return classes, labels


def _first_odd(values: list[Any]) -> object:
    """Return the first value that is neither number nor word, else a word among numbers."""
    odd = [v for v in values if type(v) not in (int, str)]
    return (odd or [v for v in values if type(v) is str])[0]
