"""Tiles: their places, that they cover everything, and that a large picture is decoded once."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from selfsight.data.pictures import Header
from selfsight.data.pictures.forms.tiles import Tiles
from selfsight.data.pictures.source import PictureSource
from selfsight.data.source import Unreadable
from selfsight.errors import UsageError

SIZES = ((20, 30), (8, 50), (16, 16), (10, 9))
UNKNOWN = 4  # the number of a picture that cannot be read


class Large(PictureSource):
    """Pictures whose pixels count upward, decodings counted; the last cannot be read."""

    name = "large"
    classes = ("a", "b")
    labels = torch.tensor([0, 1, 0, 1, 1])

    def __init__(self) -> None:
        self.decodings: Counter[int] = Counter()

    def __len__(self) -> int:
        return 5

    def title(self, i: int) -> str:
        return f"{i}.png"

    def header(self, i: int) -> Header:
        if i == UNKNOWN:
            raise Unreadable("damaged")
        return Header(*SIZES[i], 2, 16)

    def decode(self, i: int) -> Tensor:
        self.decodings[i] += 1
        self.header(i)
        height, width = SIZES[i]
        pixels = torch.arange(2 * height * width, dtype=torch.int32) + 1000 * i
        return pixels.to(torch.uint16).reshape(2, height, width)

    def stamp(self) -> Iterator[str]:
        yield "large"


def readable(tiles: Tiles) -> range:
    return range(len(tiles) - 1)


def test_tiles_are_where_their_names_say() -> None:
    base = Large()
    tiles = Tiles(base, 16)

    titles = [tiles.title(i) for i in range(len(tiles))]

    assert titles[:4] == ["0.png [0, 0]", "0.png [0, 1]", "0.png [1, 0]", "0.png [1, 1]"]
    assert titles[4:8] == [f"1.png [0, {k}]" for k in range(4)]
    assert titles[8:] == ["2.png [0, 0]", "3.png [0, 0]", "4.png"]
    whole = base.decode(0)
    assert torch.equal(tiles.decode(0), whole[:, :16, :16])
    assert torch.equal(tiles.decode(3), whole[:, 4:20, 14:30])  # moved inward at both edges


@pytest.mark.parametrize("side", [8, 9, 16, 40, 1000])
def test_tiles_are_whole_and_cover_every_pixel(side: int) -> None:
    base = Large()
    tiles = Tiles(base, side)

    seen: dict[int, set[int]] = {}
    for i in readable(tiles):
        picture = int(tiles.title(i)[0])
        height, width = SIZES[picture]
        pixels = tiles.decode(i)
        assert pixels.shape == (2, min(side, height), min(side, width))
        assert tiles.header(i) == Header(min(side, height), min(side, width), 2, 16)
        seen.setdefault(picture, set()).update(pixels.int().flatten().tolist())

    assert seen == {i: set(base.decode(i).int().flatten().tolist()) for i in range(4)}


def test_headers_are_read_by_the_threads_that_decode() -> None:
    names: list[str] = []

    class Noting(Large):
        def header(self, i: int) -> Header:
            names.append(threading.current_thread().name)
            return super().header(i)

    Tiles(Noting(), 16)

    assert len(names) == 5
    assert all(name.startswith("decode") for name in names)


def test_labels_are_those_of_the_pictures() -> None:
    tiles = Tiles(Large(), 16)

    assert tiles.labels is not None
    assert tiles.labels.tolist() == [0] * 4 + [1] * 4 + [0, 1, 1]
    assert tiles.classes == ("a", "b")


def test_in_order_each_picture_is_decoded_once() -> None:
    base = Large()
    tiles = Tiles(base, 8)

    for i in readable(tiles):
        tiles.decode(i)

    assert base.decodings == dict.fromkeys(range(4), 1)


def test_threads_wait_for_one_decoding() -> None:
    base = Large()
    tiles = Tiles(base, 8)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(tiles.decode, readable(tiles)))

    assert base.decodings == dict.fromkeys(range(4), 1)
    fresh = Tiles(Large(), 8)
    assert all(torch.equal(pixels, fresh.decode(i)) for i, pixels in enumerate(found))


def test_only_the_last_large_pictures_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfsight.data.pictures.forms.tiles.HELD_BYTES", 1)
    base = Large()
    tiles = Tiles(base, 1000)  # one tile a picture

    for i in (0, 1, 0, 1, 2, 1, 0):
        tiles.decode(i)

    assert base.decodings == {0: 2, 1: 1, 2: 1}  # 2 replaced 0, which was used longest ago


def test_an_unreadable_picture_is_one_tile_that_says_so() -> None:
    tiles = Tiles(Large(), 16)

    for work in (tiles.header, tiles.decode):
        with pytest.raises(Unreadable, match="damaged"):
            work(len(tiles) - 1)


def test_the_stamp_tells_the_side() -> None:
    assert list(Tiles(Large(), 8).stamp()) != list(Tiles(Large(), 9).stamp())


def test_a_side_under_eight_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 8 pixels, got 7"):
        Tiles(Large(), 7)
