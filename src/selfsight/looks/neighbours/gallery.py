"""Gallery: pictures that are searched or used as queries, whole or in patches, at a network's size.

Of whole pictures a network gets the largest centred square. Patches are cut from pictures on a
canvas of at most `CANVAS` times a patch's side, so that a patch shows a part of an object rather
than a plain surface.
"""

import os
import statistics
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from selfsight.data.pictures import Pictures, read, survey
from selfsight.data.pictures.canvases import Canvases
from selfsight.data.pictures.files.decode import LEAST_SIDE
from selfsight.data.pictures.reading_progress import read_with_progress
from selfsight.data.pictures.source import PictureSource
from selfsight.data.source import Unreadable
from selfsight.draws import Draws
from selfsight.errors import SelfsightError
from selfsight.looks.neighbours.patch_cutting import Patches, patches_a_picture, random_places
from selfsight.looks.neighbours.search import NOBODY

CANVAS = 4  # times a patch's side
HEADERS = 200  # that are read to choose a patch's side
SHOWN_SIDE = 160  # pixels a picture of a sheet has at most


class Cut(NamedTuple):
    """How patches are cut.

    Attributes:
        side: Side p of a patch, in pixels of the picture on its canvas.
        canvas: Side of the canvas, in pixels; larger pictures are shrunk to it.
        a_picture: Patches of each picture.
        seed: Seed of their places.
    """

    side: int
    canvas: int
    a_picture: int
    seed: int


@dataclass(frozen=True)
class Gallery:
    """Rows that are searched or used as queries: pictures, or patches of them.

    Attributes:
        source: Where the pictures come from.
        pictures: The pictures as read.
        images: (M, C, S, S) stored rows: `pictures.images`, or patches of them.
        owners: (M,) int64, the picture in `pictures` that each row belongs to.
        cut: How patches were cut; None for whole pictures.
    """

    source: PictureSource
    pictures: Pictures
    images: Tensor | Canvases
    owners: Tensor
    cut: Cut | None

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def labels(self) -> Tensor | None:
        """Give (M,) int64 class numbers, None when unlabelled."""
        return None if self.pictures.labels is None else self.pictures.labels[self.owners]

    @property
    def too_small(self) -> int:
        """Count the pictures that are too small for a patch."""
        return len(self.pictures) - len(self.owners.unique())

    def title(self, row: int) -> str:
        """Name the picture that a row belongs to."""
        return self.pictures.titles[int(self.owners[row])]

    def for_sheet(self, rows: Tensor) -> dict[int, Tensor]:
        """Get rows (B,) for a sheet: patches as cut, pictures whole: -> (C, h, w) by row."""
        rows = rows.unique()
        if self.cut is not None:
            return dict(zip(rows.tolist(), self.images[rows], strict=True))
        assert self.pictures.origins is not None  # as of all that are read from a source
        chosen = self.source.subset(self.pictures.origins[self.owners[rows]])
        whole = read(chosen, side=SHOWN_SIDE, steady=True)  # they were readable before
        return {row: _trimmed(whole, k) for k, row in enumerate(rows.tolist())}


def read_gallery(
    source: PictureSource,
    *,
    size: int,
    channels: int,
    cut: Cut | None = None,
    limit: int | None = None,
    listed_in: str = "the record",
) -> Gallery:
    """Read pictures for a network, whole or in patches.

    Args:
        source: The pictures.
        size: Side of the network's input, in pixels.
        channels: Channels of the network's input.
        cut: How patches are cut; None for whole pictures.
        limit: How many pictures at most.
        listed_in: Where the user finds all that was skipped.

    Raises:
        SelfsightError: If too many cannot be read, or every one is smaller than a patch.
    """
    pictures = read_with_progress(
        source,
        side=cut.canvas if cut else size,
        fit="canvas" if cut else "square",
        channels=channels,
        limit=limit,
        steady=True,
        listed_in=listed_in,
    )
    if cut is None:
        owners = torch.arange(len(pictures))
        return Gallery(source, pictures, pictures.images, owners, None)
    owners, corners = random_places(pictures.extent, cut.side, cut.a_picture, cut.seed)
    if not len(owners):
        raise SelfsightError(
            f"every picture of {source.name} has a side under {cut.side} pixels, so no patch of "
            "that side fits; ask for a smaller one with --patch-size"
        )
    return Gallery(
        source, pictures, Patches(pictures.images, owners, corners, cut.side), owners, cut
    )


def chosen_cut(
    source: PictureSource, size: int, *, asked: int | None, limit: int | None, seed: int
) -> Cut:
    """Choose how patches are cut.

    Args:
        source: The pictures searched among.
        size: Side of the network's input, in pixels; for one that learned from tiles, the side of
            a tile.
        asked: Side of a patch; by default `size` where the median picture's shorter side is
            larger, else half of that side.
        limit: How many pictures are read at most.
        seed: Of the places.

    Raises:
        SelfsightError: If no header can be read.
    """
    side = asked or _usual_side(source, size)
    canvas = min(survey(source).longest, CANVAS * side)
    count = min(len(source), limit or len(source))
    return Cut(side, max(canvas, side), patches_a_picture(count), seed)


def owners_among(bank: Gallery, asked: Gallery) -> Tensor:
    """Find the picture of the bank that each query row belongs to: -> (M,) int64, or `NOBODY`.

    Two pictures are the same if their files are, with links followed.
    """
    known = {real: row for row, real in enumerate(_real_places(bank))}
    mine = [known.get(real, NOBODY) for real in _real_places(asked)]
    return torch.tensor(mine)[asked.owners]


def spread_over_groups(rows: Tensor, groups: Tensor) -> Tensor:
    """Reorder so that every group's first comes first, then every group's second, and so on.

    Args:
        rows: (M,) int64 numbers of any kind; their order is kept within a group.
        groups: (M,) int64, the group of each.

    Returns:
        (M,) the rows in their new order.
    """
    by_group = groups.argsort(stable=True)
    sizes = groups.unique(return_counts=True)[1]
    first = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    turn = torch.empty_like(groups)
    turn[by_group] = torch.arange(len(rows)) - first
    return rows[turn.argsort(stable=True)]


def random_order(count: int, seed: int) -> Tensor:
    """Draw an order of `count` rows: -> (count,) int64."""
    return Draws(seed, 0, torch.arange(count)).order("queries")


def _usual_side(source: PictureSource, size: int) -> int:
    """Take the network's size where the median picture is larger, else half of that picture."""
    shorter: list[int] = []
    for i in random_order(len(source), 0)[:HEADERS].tolist():
        try:
            header = source.header(i)
        except Unreadable:  # reading says so, for all of them at once
            continue
        shorter.append(min(header.height, header.width))
    middle = statistics.median_low(shorter) if shorter else size
    return size if middle > size else max(LEAST_SIDE, middle // 2)


def _real_places(gallery: Gallery) -> list[str]:
    """Give each picture's file with links followed, or a unique name where several share a file."""
    assert gallery.pictures.origins is not None  # as of all that are read from a source
    rows = gallery.pictures.origins.tolist()
    files = (gallery.source.file(row) for row in rows)
    return [
        os.path.realpath(file or f"{gallery.source.name}#{row}")
        for row, file in zip(rows, files, strict=True)
    ]


def _trimmed(pictures: Pictures, row: int) -> Tensor:
    """Cut a picture out of its canvas: -> (C, h, w)."""
    images, extent, _ = pictures.taken(torch.tensor([row]))
    height, width = extent[0].tolist()
    return images[0, :, :height, :width]
