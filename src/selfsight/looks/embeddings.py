"""Embeddings: a file of features with one row for each picture, written completely or not at all.

A Parquet file is written in row groups as features arrive, so memory stays bounded. An .npz file is
written at the end, from features kept in memory. Parquet's schema metadata, or further arrays of
the .npz file, describe the network and the data.
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
        split: The part of the data they belong to; None where the data has no parts.
        labels: (B,) int64 class numbers, None where no picture has a class.
        classes: The classes' names, "" for a picture without one; None where no picture has one.
        features: (B, D) float32.
    """

    paths: list[str]
    split: str | None
    labels: Tensor | None
    classes: list[str] | None
    features: Tensor


class EmbeddingFile(ABC):
    """A context that writes a file of embeddings completely or not at all.

    Args:
        path: Where it goes.
        about: What is stored with the features: network, layer, size, data.
        another: The remedy named where the file cannot be written; see `atomic.written`.
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
        """Store or write some rows, as the format needs."""

    @abstractmethod
    def finish(self) -> None:
        """Put the file in its place."""

    @abstractmethod
    def give_up(self) -> None:
        """Remove what was written so far."""


class ParquetFile(EmbeddingFile):
    """Writes full row groups to a temporary file, which is renamed at the end."""

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
        """Close the temporary file and remove it."""
        with contextlib.suppress(_GivenUp), self._open:
            with contextlib.suppress(OSError, SelfsightError, pa.ArrowException):
                self._close()
            raise _GivenUp

    def _close(self) -> None:
        """Close the Parquet table, unless it is closed already."""
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
    """Raised to abandon a file before it is complete."""


class NpzFile(EmbeddingFile):
    """Keeps all features in memory and writes them at the end."""

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
    """Convert rows to Arrow, with `embedding` as a list of fixed size D."""
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
