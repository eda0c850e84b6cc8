"""Filling: squares worked out by hand, pixels left unchanged, and where a painting is placed."""

import math

import pytest
import torch
from torch import Tensor

from selfsight.augment.filling import box_mean, fill_holes, separate_holes, squares_around

FILL = torch.full((1, 1, 1), 2.0)  # no picture has it: painters of these tests know a hole by it


def mask(height: int, width: int, *boxes: tuple[int, int, int, int]) -> Tensor:
    """Cut boxes (top, left, height, width) out of a mask."""
    hole = torch.zeros(height, width, dtype=torch.bool)
    for top, left, tall, wide in boxes:
        hole[top : top + tall, left : left + wide] = True
    return hole


def plane(height: int, width: int) -> Tensor:
    """A picture (1, H, W) whose brightness is linear in both coordinates."""
    down = torch.arange(height)[:, None] / height
    return (0.2 + 0.3 * down + 0.4 * torch.arange(width) / width)[None]


def fit_planes(seen: Tensor) -> Tensor:
    """Paint by the plane through what is visible, which is right for `plane`."""
    painted: list[Tensor] = []
    for picture in seen.double():
        side = picture.shape[-1]
        down, across = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        terms = torch.stack([torch.ones(side, side), down, across], dim=-1).double()
        shown = picture[0] < 1.5
        fit = torch.linalg.lstsq(terms[shown], picture[0][shown][:, None]).solution
        painted.append((terms @ fit)[None, ..., 0])
    return torch.stack(painted).float()


def test_holes_that_lie_apart_are_separate() -> None:
    hole = mask(40, 64, (2, 3, 5, 6), (20, 40, 8, 3), (28, 43, 4, 4))

    apart = list(separate_holes(hole))

    assert len(apart) == 2  # the last two touch at a corner
    assert torch.equal(torch.stack(apart).sum(dim=0), hole.long())
    assert sorted(int(one.sum()) for one in apart) == [30, 40]


def test_a_winding_hole_is_one() -> None:
    hole = torch.zeros(32, 32, dtype=torch.bool)
    hole[::4] = True
    hole[:, 0::31] = False
    for number, row in enumerate(range(0, 28, 4)):
        hole[row : row + 5, 30 if number % 2 else 1] = True

    assert len(list(separate_holes(hole))) == 1


@pytest.mark.parametrize(
    ("hole", "wanted"),
    [
        # 10 x 10 pixels at a share of 1/4 want a square of 20, about the middle at (55, 45).
        (mask(100, 100, (50, 40, 10, 10)), (45, 35, 20)),
        # The same in the corner: the square stays within the picture.
        (mask(100, 100, (0, 90, 10, 10)), (0, 80, 20)),
        # A long one wants 1.25 of its length.
        (mask(100, 100, (50, 10, 2, 40)), (26, 5, 50)),
        # A small one is not enlarged: the network sees 16 pixels.
        (mask(100, 100, (50, 50, 2, 2)), (43, 43, 16)),
        # As wide as the picture, which is taller: beyond it there is nothing to see.
        (mask(100, 30, (40, 0, 30, 30)), (40, 0, 30)),
        # Longer than the picture is high: the square reaches beyond, as far above as below.
        (mask(20, 100, (5, 10, 4, 60)), (-20, 10, 60)),
        (mask(8, 8, (2, 2, 2, 2)), (0, 0, 8)),
    ],
)
def test_where_it_looks(hole: Tensor, wanted: tuple[int, int, int]) -> None:
    (square,) = squares_around(hole, size=16, share=0.25)

    assert (square.top, square.left, square.side) == wanted
    assert torch.equal(square.hole, hole[square.rows, square.columns])
    assert square.hole.sum() == hole.sum()


@pytest.mark.parametrize(
    "hole",
    [
        mask(60, 90, (20, 30, 12, 20)),
        mask(90, 60, (0, 50, 30, 10), (70, 5, 9, 9)),
        mask(16, 16, (4, 4, 8, 8)),
        mask(200, 150, (60, 40, 80, 60)),
        mask(12, 10, (4, 4, 3, 3)),
    ],
)
def test_a_painting_lands_where_it_should(hole: Tensor) -> None:
    picture = plane(*hole.shape)

    result = fill_holes(
        picture.masked_fill(hole, 0.0), hole, fit_planes, size=16, share=0.25, color=FILL
    )

    error = (result - picture).abs()
    assert error[:, hole].max() < 0.01  # half a pixel of what it sees would be 0.02 of the last
    assert torch.equal(result[:, ~hole], picture[:, ~hole])


def test_what_the_hole_hides_is_not_seen() -> None:
    hole = mask(50, 70, (10, 20, 25, 20), (44, 60, 4, 4))
    picture, other = plane(50, 70), plane(50, 70).masked_fill(hole, math.nan)

    results = [
        fill_holes(p, hole, fit_planes, size=16, share=0.25, color=FILL) for p in (picture, other)
    ]

    assert torch.equal(*results)
    assert results[0].isfinite().all()


def test_every_pixel_that_touches_a_hole_has_its_color() -> None:
    looks: list[Tensor] = []

    def paint(seen: Tensor) -> Tensor:
        looks.append(seen)
        return seen.clamp(0, 1)

    hole = mask(100, 100, (33, 41, 21, 23))
    fill_holes(torch.rand(1, 100, 100), hole, paint, size=16, share=0.25, color=FILL)

    (look,) = looks
    assert ((look == 2) | (look <= 1)).all()
    assert 0.2 < (look == 2).float().mean().item() < 0.4


def test_no_seam_shows_and_the_middle_is_as_painted() -> None:
    hole = mask(64, 64, (16, 16, 32, 32))
    picture = torch.full((1, 64, 64), 0.5)

    def too_bright(seen: Tensor) -> Tensor:
        return torch.full_like(seen, 0.7)

    row = fill_holes(picture, hole, too_bright, size=32, share=0.25, color=FILL)[0, 32]

    assert (row[1:] - row[:-1]).abs().max() < 0.07  # of a difference of 0.2
    torch.testing.assert_close(row[22:42], torch.full((20,), 0.7))


@pytest.mark.parametrize("reach", [1, 3, 20])
def test_a_box_mean_is_that_of_a_plain_loop(reach: int) -> None:
    values = torch.rand(2, 9, 14)

    wanted = torch.stack(
        [
            torch.stack(
                [
                    values[
                        :, max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1
                    ].mean(dim=(1, 2))
                    for x in range(14)
                ],
                dim=-1,
            )
            for y in range(9)
        ],
        dim=-2,
    )

    torch.testing.assert_close(box_mean(values, reach), wanted)


def test_no_hole_leaves_all() -> None:
    picture = torch.rand(3, 20, 30)

    result = fill_holes(
        picture, mask(20, 30), fit_planes, size=16, share=0.25, color=FILL.expand(3, 1, 1)
    )

    assert torch.equal(result, picture)


def test_a_picture_that_is_all_hole_is_painted() -> None:
    def grey(seen: Tensor) -> Tensor:
        assert (seen == 2).all()
        return torch.full_like(seen, 0.4)

    hole = torch.ones(20, 30, dtype=torch.bool)

    result = fill_holes(torch.rand(1, 20, 30), hole, grey, size=16, share=0.25, color=FILL)

    torch.testing.assert_close(result, torch.full((1, 20, 30), 0.4))
