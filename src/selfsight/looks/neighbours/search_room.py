"""Hall: what is searched, what is measured and what is drawn, at the size of any network.

Queries are chosen once: from the data's test part if it has one, else from the pictures searched,
in a random order; of patches only structured ones. A sheet shows a spread of them over classes,
or over pictures where they are patches, or else the files asked for.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from selfsight.data.pictures.forms.folder import Folder
from selfsight.data.pictures.reading_progress import say_unlabelled
from selfsight.data.pictures.source import PictureSource
from selfsight.data.source import Unreadable
from selfsight.errors import SelfsightError
from selfsight.looks.neighbours.agreement import Asked
from selfsight.looks.neighbours.gallery import (
    Cut,
    Gallery,
    chosen_cut,
    owners_among,
    random_order,
    read_gallery,
    spread,
)
from selfsight.looks.neighbours.patch_cutting import structured
from selfsight.looks.neighbours.search import EXACT_UP_TO, NOBODY, require_faiss
from selfsight.probes.subject import Subject
from selfsight.settings import Neighbours

MEASURED = 300  # queries


@dataclass
class Hall:
    """Where pictures come from, to be read at any network's size; choices are made once.

    Attributes:
        bank: What is searched.
        test: Where queries are chosen; None for the bank itself.
        files: The pictures asked for by file, None if chosen.
        cut: How patches are cut, None for whole pictures.
        settings: What was asked.
        chosen: Rows measured and rows drawn, once they are chosen.
    """

    bank: PictureSource
    test: PictureSource | None
    files: PictureSource | None
    cut: Cut | None
    settings: Neighbours
    chosen: tuple[Tensor, Tensor] | None = None

    def asked(self, size: int, channels: int) -> tuple[Gallery, Asked, Asked]:
        """Read everything for a network: the bank, the queries measured and those drawn."""
        bank = self._read(self.bank, size, channels, self.settings.limit)
        test = bank if self.test is None else self._read(self.test, size, channels)
        files = test if self.files is None else self._read(self.files, size, channels)
        if self.chosen is None:
            measured = _candidates(test, self.settings.seed)
            wanted = _candidates(files, self.settings.seed) if self.files else measured
            self.chosen = measured[:MEASURED], self._drawn(files, wanted)
        rows, shown = self.chosen
        owners = bank.owners if test is bank else torch.full((len(test),), NOBODY)
        theirs = owners if self.files is None else owners_among(bank, files)
        return bank, Asked(test, rows, owners[rows]), Asked(files, shown, theirs[shown])

    def _drawn(self, gallery: Gallery, rows: Tensor) -> Tensor:
        """Choose the queries of the sheet: every file asked for, else a spread."""
        if self.files is not None and self.cut is None:
            return torch.arange(len(gallery))
        by_class = gallery.labels is not None and self.cut is None
        groups = gallery.labels if by_class else gallery.owners
        assert groups is not None
        return spread(rows, groups[rows])[: max(self.settings.queries, len(self.settings.query))]

    def _read(
        self, source: PictureSource, size: int, channels: int, limit: int | None = None
    ) -> Gallery:
        return read_gallery(source, size=size, channels=channels, cut=self.cut, limit=limit)


def open_hall(settings: Neighbours, subject: Subject) -> Hall:
    """Open the data and choose how patches are cut."""
    needs = f"neighbours {settings.run} needs DATA: pictures to search among"
    parts = subject.parts(settings.data, needs)
    say_unlabelled(parts.train, parts.test)
    files, cut, test = _files(settings.query), None, parts.test
    if settings.patches:
        cut = chosen_cut(
            parts.train,
            subject.size,
            asked=settings.patch_size,
            limit=settings.limit,
            seed=settings.seed,
        )
    rows = min(len(parts.train), settings.limit or len(parts.train)) * (cut.a_picture if cut else 1)
    if rows > EXACT_UP_TO:
        require_faiss(rows)  # before the hours that the features may take
    if test is not None:
        most = max(MEASURED, settings.queries)
        test = test.subset(random_order(len(test), settings.seed)[:most])
    return Hall(parts.train, test, files, cut, settings)


def _files(paths: tuple[str, ...]) -> PictureSource | None:
    """Open the pictures asked for, all of which must be readable.

    Raises:
        SelfsightError: Naming the first that is not, and why.
    """
    if not paths:
        return None
    files = Folder(Path(), paths)
    for i, path in enumerate(paths):
        try:
            files.decode(i)
        except Unreadable as error:
            raise SelfsightError(f"--query {path} cannot be read: {error}") from error
    return files.viewed(torch.arange(len(paths)), (), None)  # folders of files are no classes here


def _candidates(gallery: Gallery, seed: int) -> Tensor:
    """Put what may be asked in a random order: every picture, or the structured patches."""
    rows = structured(gallery.images) if gallery.cut else torch.arange(len(gallery))
    return rows[random_order(len(rows), seed)]


def available(bank: Gallery, asked: Asked) -> int:
    """Count what every query can be answered with."""
    most = int(bank.owners.bincount().max())
    return len(bank) - (most if bool((asked.owners != NOBODY).any()) else 0)
