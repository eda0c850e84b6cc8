"""Tiles: large pictures cut into small ones, without decoding a large one for every tile.

The tiles of a picture form a grid from the top left and do not overlap, except that those at the
right and bottom edges are moved inward, so that every tile is whole and every pixel is in one.
Split pictures into training and test parts before cutting them, since tiles of one picture are
similar.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

from selfsight.data.pictures.decoding import AT_ONCE, workers
from selfsight.data.pictures.files.decode import LEAST_SIDE, Header
from selfsight.data.pictures.source import PictureSource
from selfsight.data.source import Unreadable
from selfsight.errors import UsageError

LEAST_HELD = 2  # decoded pictures kept however large they are: the current one and its neighbour
HELD_BYTES = 256 << 20  # most bytes of decoded pictures kept beyond that


class Tile(NamedTuple):
    """One tile.

    Attributes:
        picture: The number of its picture in the base source.
        row: Row of the grid from 0; -1 if the picture's header cannot be read.
        column: Column of the grid from 0.
        top: In pixels.
        left: In pixels.
        height: In pixels.
        width: In pixels.
    """

    picture: int
    row: int
    column: int
    top: int
    left: int
    height: int
    width: int


@dataclass
class _Held:
    """A large picture that is decoded, or being decoded by the thread that holds the lock."""

    lock: Lock = field(default_factory=Lock)
    pixels: Tensor | Unreadable | None = None

    @property
    def bytes(self) -> int:
        return self.pixels.nbytes if isinstance(self.pixels, Tensor) else 0


class Tiles(PictureSource):
    """The tiles of every picture of another source.

    Args:
        base: The large pictures; their headers are read at once.
        side: Side of a tile, in pixels, 8 or more; a smaller picture is one tile.

    Raises:
        UsageError: If `side` is outside its range.
    """

    def __init__(self, base: PictureSource, side: int) -> None:
        if side < LEAST_SIDE:
            raise UsageError(f"side of a tile must be at least {LEAST_SIDE} pixels, got {side}")
        self.base = base
        self.side = side
        self.name = base.name
        self.classes = base.classes
        self.by_file = base.by_file
        self.notes = base.notes
        self._headers = _headers(base)
        self._tiles = [
            tile for i, header in enumerate(self._headers) for tile in _tiles_of(i, header, side)
        ]
        pictures = torch.tensor([tile.picture for tile in self._tiles], dtype=torch.int64)
        self.labels = None if base.labels is None else base.labels[pictures]
        self.unlabelled = base.unlabelled
        self._held: OrderedDict[int, _Held] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._tiles)

    def title(self, i: int) -> str:
        """Name tile i for messages: its picture, and its row and column from 0."""
        tile = self._tiles[i]
        title = self.base.title(tile.picture)
        return title if tile.row < 0 else f"{title} [{tile.row}, {tile.column}]"

    def header(self, i: int) -> Header:
        """Tell its size, channels and depth."""
        tile = self._tiles[i]
        header = self._headers[tile.picture] or self.base.header(tile.picture)
        return Header(tile.height, tile.width, header.channels, header.bits)

    def decode(self, i: int) -> Tensor:
        """Decode it: -> (C, h, w) uint8 or uint16, h and w at most `side`."""
        tile = self._tiles[i]
        pixels = self._decoded(tile.picture)
        header = self._headers[tile.picture]
        if header is None or pixels.shape[1:] != (header.height, header.width):
            raise Unreadable("its size does not match its header")
        bottom, right = tile.top + tile.height, tile.left + tile.width
        return pixels[:, tile.top : bottom, tile.left : right].clone()  # frees the large picture

    def identities(self) -> list[str]:
        """Give the identity of each tile's picture."""
        known = self.base.identities()
        return [known[tile.picture] for tile in self._tiles]

    def stamp(self) -> Iterator[str]:
        """Give the base's stamp and the side."""
        yield from self.base.stamp()
        yield f"tiles of {self.side}"

    def _decoded(self, picture: int) -> Tensor:
        """Decode a large picture once, in the first thread that needs it; others wait for it."""
        with self._lock:
            held = self._held.setdefault(picture, _Held())
            self._held.move_to_end(picture)
        with held.lock:
            if held.pixels is None:
                held.pixels = self._tried(picture)
        self._forget()
        if isinstance(held.pixels, Unreadable):
            raise Unreadable(str(held.pixels)) from held.pixels
        return held.pixels

    def _tried(self, picture: int) -> Tensor | Unreadable:
        try:
            return self.base.decode(picture)
        except Unreadable as error:
            return error

    def _forget(self) -> None:
        """Drop the pictures used longest ago until the limit is kept."""
        with self._lock:
            total = sum(held.bytes for held in self._held.values())
            while len(self._held) > LEAST_HELD and total > HELD_BYTES:
                _, oldest = self._held.popitem(last=False)
                total -= oldest.bytes


def _headers(base: PictureSource) -> list[Header | None]:
    """Read all headers in decoding threads: -> in order, None for unreadable ones."""
    bundles = [range(len(base))[k : k + AT_ONCE] for k in range(0, len(base), AT_ONCE)]
    with workers() as pool:
        found = pool.map(lambda rows: [_header(base, i) for i in rows], bundles)
        return [header for bundle in found for header in bundle]


def _header(base: PictureSource, i: int) -> Header | None:
    try:
        return base.header(i)
    except Unreadable:
        return None


def _tiles_of(picture: int, header: Header | None, side: int) -> Iterator[Tile]:
    """Give the tiles of one picture; an unreadable one gives one tile, to be counted as skipped."""
    if header is None:
        yield Tile(picture, -1, 0, 0, 0, side, side)
        return
    height, width = min(side, header.height), min(side, header.width)
    for row in range(ceil(header.height / side)):
        for column in range(ceil(header.width / side)):
            top = min(row * side, header.height - height)
            left = min(column * side, header.width - width)
            yield Tile(picture, row, column, top, left, height, width)
