"""Holes: places worked out by hand, the area they cover, and the draws they depend on."""

import math

import pytest
import torch
from torch import Tensor

from selfsight.augment.holes import ASPECT, KINDS, KNOTS, Kind, grown, holes_in
from selfsight.data.pictures.batch import Images
from selfsight.errors import UsageError

every_kind = pytest.mark.parametrize("kind", KINDS)


def batch(count: int, *, seed: int = 0) -> Images:
    return Images.of(torch.zeros(count, 1, 4, 4), seed=seed)


def test_the_central_square_of_eight_pixels_by_hand() -> None:
    hole = holes_in(batch(2), 8, kind="centre", share=0.25)

    assert hole.shape == (2, 1, 8, 8)
    assert hole[1, 0].nonzero().tolist() == [[y, x] for y in range(2, 6) for x in range(2, 6)]


def test_blocks_are_those_of_a_plain_loop() -> None:
    size, blocks, share = 20, 3, 0.3
    some = batch(40)

    found = holes_in(some, size, kind="blocks", share=share, blocks=blocks)

    wanted = torch.zeros(40, 1, size, size, dtype=torch.bool)
    for row, drawn in enumerate(some.draws.uniform("hole", 3 * blocks).tolist()):
        for stretch, down, right in zip(drawn[:3], drawn[3:6], drawn[6:], strict=True):
            side = size * math.sqrt(share / blocks)
            tall = round(side * ASPECT ** (stretch - 0.5))
            wide = round(side / ASPECT ** (stretch - 0.5))
            top, left = int(down * (size - tall + 1)), int(right * (size - wide + 1))
            wanted[row, 0, top : top + tall, left : left + wide] = True
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
def test_one_block_covers_its_share_and_is_a_rectangle(share: float) -> None:
    hole = holes_in(batch(200), 64, kind="blocks", share=share, blocks=1)[:, 0]

    tall, wide = hole.any(dim=2).sum(dim=1), hole.any(dim=1).sum(dim=1)
    covered = hole.sum(dim=(1, 2))
    assert torch.equal(covered, tall * wide)
    assert (covered / 64**2 / share - 1).abs().max() < 0.08  # sides are whole pixels
    assert (tall / wide).max() <= 1.1 * ASPECT
    assert (wide / tall).max() <= 1.1 * ASPECT


def test_several_blocks_cover_at_most_the_share() -> None:
    covered = (
        holes_in(batch(300), 64, kind="blocks", share=0.4, blocks=5).float().mean(dim=(1, 2, 3))
    )

    assert covered.max() < 0.43
    # Of independent blocks of a share of 0.08 each, 1 - 0.92^5 would be covered; here the middle,
    # which more places of a block reach, is covered twice more often than that.
    assert 0.25 < covered.mean().item() < 1 - 0.92**5 + 0.01


def test_a_block_lies_anywhere() -> None:
    ever = holes_in(batch(500), 16, kind="blocks", share=0.2, blocks=1).float().mean(dim=0)

    assert ever.min() > 0
    assert ever[0, 8, 8] > ever[0, 0, 0]  # fewer of its places reach a corner


@pytest.mark.parametrize("share", [0.1, 0.25, 0.6])
@pytest.mark.parametrize("size", [24, 100])
def test_a_free_hole_covers_its_share(size: int, share: float) -> None:
    covered = holes_in(batch(50), size, kind="free", share=share).float().mean(dim=(1, 2, 3))

    assert (covered - share).abs().max() < 0.03


def test_a_free_hole_is_where_the_field_is_high() -> None:
    size, some = 12, batch(3)

    found = holes_in(some, size, kind="free", share=0.25)

    drawn = some.draws.uniform("hole", KNOTS**2).double().reshape(-1, KNOTS, KNOTS)

    def height(row: int, y: int, x: int) -> float:
        total = 0.0
        for i in range(KNOTS):
            for j in range(KNOTS):
                down = min(1.0, abs((y + 0.5) * (KNOTS - 1) / size - i))
                across = min(1.0, abs((x + 0.5) * (KNOTS - 1) / size - j))
                weight = (1 + math.cos(math.pi * down)) * (1 + math.cos(math.pi * across)) / 4
                total += weight * drawn[row, i, j].item()
        return total

    for row in range(3):
        heights = sorted(
            ((height(row, y, x), y, x) for y in range(size) for x in range(size)), reverse=True
        )
        highest = {(y, x) for _, y, x in heights[: size**2 // 4]}
        assert {(y, x) for y, x in found[row, 0].nonzero().tolist()} == highest


@every_kind
@pytest.mark.parametrize("share", [0.001, 0.999])
@pytest.mark.parametrize("size", [2, 3, 17])
def test_something_is_hidden_and_something_is_left(kind: Kind, share: float, size: int) -> None:
    hole = holes_in(batch(50), size, kind=kind, share=share, blocks=7).flatten(1)

    assert hole.any(dim=1).all()
    assert not hole.all(dim=1).any()


@pytest.mark.parametrize("kind", ["blocks", "free"])
def test_a_hole_belongs_to_its_sample(kind: Kind) -> None:
    whole = batch(8)
    rows = torch.tensor([6, 1])
    draws = type(whole.draws)(0, 0, whole.index[rows])
    some = whole._replace(images=whole.images[rows], index=rows, draws=draws)

    together = holes_in(whole, 16, kind=kind)

    assert torch.equal(holes_in(some, 16, kind=kind), together[rows])
    assert not torch.equal(together[6], together[1])
    assert not torch.equal(holes_in(batch(8, seed=1), 16, kind=kind), together)
    assert not torch.equal(holes_in(whole, 16, kind=kind, name="other"), together)


def test_a_grown_hole_is_that_of_a_plain_loop() -> None:
    hole = holes_in(batch(6), 15, kind="free", share=0.2)

    found = grown(hole, 2)

    def near(mask: Tensor, y: int, x: int) -> bool:
        return bool(mask[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].any())

    wanted = [[[near(m[0], y, x) for x in range(15)] for y in range(15)] for m in hole]
    assert found[:, 0].tolist() == wanted
    assert torch.equal(grown(hole, 0), hole)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"kind": "round"}, "holes must be 'centre', 'blocks' or 'free', got 'round'"),
        ({"share": 0.0}, "share must be of the picture's area, above 0 and below 1, got 0.0"),
        ({"share": 1.0}, "got 1.0"),
        ({"share": math.nan}, "got nan"),
        ({"blocks": 0}, "blocks must be at least 1, got 0"),
        ({"size": 1}, "must have a side of at least 2, got 1"),
    ],
)
def test_what_cannot_be_cut_is_refused(setting: dict[str, object], message: str) -> None:
    settings: dict[str, object] = {"size": 8, **setting}

    with pytest.raises(UsageError, match=message):
        holes_in(batch(2), **settings)  # pyright: ignore[reportArgumentType] -- wrong on purpose
