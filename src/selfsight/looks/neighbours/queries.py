"""Queries: the pictures that are searched, those used as queries, and those drawn on the sheet.

Queries are chosen once, at random, from the test part of the data if it has one, else from the
pictures that are searched; of patches only structured ones are chosen. The sheet shows queries of
as many classes as possible, of as many pictures as possible where they are patches, or the files
that the user named.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from selfsight.data.pictures.source import PictureSource
from selfsight.looks.neighbours.gallery import (
    Cut,
    Gallery,
    owners_among,
    random_order,
    read_gallery,
    spread_over_groups,
)
from selfsight.looks.neighbours.patch_cutting import structured
from selfsight.looks.neighbours.search import NOBODY

MEASURED = 300  # queries


class QueryRows(NamedTuple):
    """Rows of a gallery whose neighbours are looked for.

    Attributes:
        gallery: The gallery.
        rows: (Q,) int64, which rows of it.
        owners: (Q,) int64, the picture of the bank that each belongs to, or `NOBODY`.
    """

    gallery: Gallery
    rows: Tensor
    owners: Tensor

    @property
    def labels(self) -> Tensor | None:
        """Give (Q,) int64 class numbers, None when unlabelled."""
        labels = self.gallery.labels
        return None if labels is None else labels[self.rows]


@dataclass
class SearchData:
    """The pictures of a search, to be read at any network's size; queries are chosen once.

    Attributes:
        bank: What is searched.
        test: Where queries are chosen; None for the bank itself.
        files: The pictures that the user named, None if queries are chosen.
        cut: How patches are cut, None for whole pictures.
        drawn: Queries on the sheet, at least.
        limit: Pictures of the bank at most; None for all.
        seed: Seed of the choice.
        chosen: Rows measured and rows drawn, once they are chosen.
    """

    bank: PictureSource
    test: PictureSource | None
    files: PictureSource | None
    cut: Cut | None
    drawn: int
    limit: int | None
    seed: int
    chosen: tuple[Tensor, Tensor] | None = None

    def read(self, size: int, channels: int) -> tuple[Gallery, QueryRows, QueryRows]:
        """Read everything for a network: the bank, the queries measured and those drawn."""
        bank = self._gallery(self.bank, size, channels, self.limit)
        test = bank if self.test is None else self._gallery(self.test, size, channels)
        files = test if self.files is None else self._gallery(self.files, size, channels)
        if self.chosen is None:
            measured = _candidates(test, self.seed)
            wanted = _candidates(files, self.seed) if self.files else measured
            self.chosen = measured[:MEASURED], self._on_the_sheet(files, wanted)
        rows, drawn = self.chosen
        owners = bank.owners if test is bank else torch.full((len(test),), NOBODY)
        theirs = owners if self.files is None else owners_among(bank, files)
        return (
            bank,
            QueryRows(test, rows, owners[rows]),
            QueryRows(files, drawn, theirs[drawn]),
        )

    def _on_the_sheet(self, gallery: Gallery, rows: Tensor) -> Tensor:
        """Choose the queries of the sheet: every file the user named, else a variety."""
        if self.files is not None and self.cut is None:
            return torch.arange(len(gallery))
        by_class = gallery.labels is not None and self.cut is None
        groups = gallery.labels if by_class else gallery.owners
        assert groups is not None
        asked = 0 if self.files is None else len(self.files)
        return spread_over_groups(rows, groups[rows])[: max(self.drawn, asked)]

    def _gallery(
        self, source: PictureSource, size: int, channels: int, limit: int | None = None
    ) -> Gallery:
        return read_gallery(source, size=size, channels=channels, cut=self.cut, limit=limit)


def _candidates(gallery: Gallery, seed: int) -> Tensor:
    """List possible queries in a random order: every picture, or the structured patches."""
    rows = structured(gallery.images) if gallery.cut else torch.arange(len(gallery))
    return rows[random_order(len(rows), seed)]


def available(bank: Gallery, queries: QueryRows) -> int:
    """Count the rows that are possible answers for every query."""
    most = int(bank.owners.bincount().max())
    return len(bank) - (most if bool((queries.owners != NOBODY).any()) else 0)
