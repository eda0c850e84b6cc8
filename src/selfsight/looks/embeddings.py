"""Embeddings: a file of features, a row a picture, there whole or not at all.

Parquet is written in row groups as the features come, so memory stays bounded; .npz keeps them all
and writes at the end. What the features are of stands in the schema's metadata, or in the arrays.
"""

import contextlib
import io
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from selfsight.errors import SelfsightError
from selfsight.system import atomic

ROWS_A_GROUP = 4096  # of Parquet
UNLABELLED = -1  # the class number of a picture without a class, where others have one


class Rows(NamedTuple):
    """Some rows of the file.

    Attributes:
        paths: B titles.
        split: The part they are of; None where the data has none.
        labels: (B,) int64 class numbers, None where no picture has a class.
        classes: Their names, "" for none; None likewise.
        features: (B, D) float32.
    """

    paths: list[str]
    split: str | None
    labels: Tensor | None
    classes: list[str] | None
    features: Tensor


class EmbeddingFile(ABC):
    """A file of embeddings that is there whole or not at all, as a context.

    Args:
        path: Where it goes.
        about: What is kept with it: network, layer, size, data.
        another: What to do where nothing can be written, as `atomic` says it.
    """

    def __init__(self, path: Path, about: dict[str, str], *, another: str = atomic.ANOTHER) -> None:
        self.path, self.about, self.another = path, about, another
        self.count = self.features = 0
        self.splits: dict[str, int] = {}

    def __enter__(self) -> "EmbeddingFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.finish()
        else:
            self.give_up()

    def add(self, rows: Rows) -> None:
        """Write some rows."""
        if not len(rows.features):
            return
        self.count, self.features = self.count + len(rows.features), rows.features.shape[1]
        if rows.split is not None:
            self.splits[rows.split] = self.splits.get(rows.split, 0) + len(rows.features)
        self.write(rows)

    @abstractmethod
    def write(self, rows: Rows) -> None:
        """Take some rows."""

    @abstractmethod
    def finish(self) -> None:
        """Put the file in its place."""

    @abstractmethod
    def give_up(self) -> None:
        """Leave nothing behind."""


class ParquetFile(EmbeddingFile):
    """Row groups are written beside the place as they fill, and the file is renamed at the end."""

    def __init__(self, path: Path, about: dict[str, str], *, another: str = atomic.ANOTHER) -> None:
        super().__init__(path, about, another=another)
        self._open = contextlib.ExitStack()
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.RecordBatch] = []

    def write(self, rows: Rows) -> None:
        """Keep rows until a row group is full."""
        self._waiting.append(_batch(rows, self.about))
        if sum(len(batch) for batch in self._waiting) >= ROWS_A_GROUP:
            self._flush()

    def finish(self) -> None:
        """Write what is left, close and rename."""
        try:
            self._flush()
            self._close()
        except BaseException:
            self.give_up()
            raise
        self._open.close()

    def give_up(self) -> None:
        """Close and take away what was written."""
        with contextlib.suppress(_GivenUp), self._open:
            with contextlib.suppress(OSError, SelfsightError, pa.ArrowException):
                self._close()
            raise _GivenUp

    def _close(self) -> None:
        """Write the end of the table, once."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting)
        self._waiting = []
        if self._writer is None:
            stream = self._open.enter_context(atomic.written(self.path, another=self.another))
            self._writer = pq.ParquetWriter(stream, table.schema)
        self._writer.write_table(table)


class _GivenUp(Exception):
    """Ends a file before it is whole."""


class NpzFile(EmbeddingFile):
    """Everything is kept and written at the end."""

    def __init__(self, path: Path, about: dict[str, str], *, another: str = atomic.ANOTHER) -> None:
        super().__init__(path, about, another=another)
        self._rows: list[Rows] = []

    def write(self, rows: Rows) -> None:
        """Keep rows."""
        self._rows.append(rows)

    def finish(self) -> None:
        """Put all rows together and write them."""
        kept = self._rows
        arrays: dict[str, Any] = {
            "embedding": torch.cat([rows.features for rows in kept]).numpy(),
            "path": np.array([path for rows in kept for path in rows.paths]),
        }
        if kept[0].labels is not None:
            labels = [rows.labels for rows in kept if rows.labels is not None]
            arrays["label"] = torch.cat(labels).numpy()
            arrays["class"] = np.array([name for rows in kept for name in rows.classes or []])
        if kept[0].split is not None:
            arrays["split"] = np.array([rows.split for rows in kept for _ in rows.paths])
        buffer = io.BytesIO()
        arrays |= {key: np.array(value) for key, value in self.about.items()}
        np.savez(buffer, **arrays)
        atomic.write_bytes(self.path, buffer.getvalue(), another=self.another)

    def give_up(self) -> None:
        """Forget the rows."""
        self._rows.clear()


def _batch(rows: Rows, about: dict[str, str]) -> pa.RecordBatch:
    """Bring rows to Arrow: `embedding` is a list of fixed size D."""
    width = rows.features.shape[1]
    flat = pa.array(rows.features.contiguous().numpy().ravel())
    columns: dict[str, Any] = {"path": pa.array(rows.paths)}
    if rows.split is not None:
        columns["split"] = pa.array([rows.split] * len(rows.paths))
    if rows.labels is not None:
        columns["label"] = pa.array(rows.labels.numpy())
        columns["class"] = pa.array(rows.classes)
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, width)
    batch = pa.RecordBatch.from_pydict(columns)
    return batch.replace_schema_metadata(
        {f"selfsight.{key}": value for key, value in about.items()}
    )
