"""Patches: cut where they should be, never beyond the picture, and structured ones told apart."""

import pytest
import torch

from selfsight.looks.neighbours.patch_cutting import (
    Patches,
    deviation,
    patches_a_picture,
    random_places,
    structured,
)


def numbered(count: int, side: int) -> torch.Tensor:
    """Canvases (count, 2, side, side): the first channel the column, the second the row."""
    along = torch.arange(side, dtype=torch.uint8)
    one = torch.stack([along.expand(side, side), along[:, None].expand(side, side)])
    return one.expand(count, -1, -1, -1).clone()


def test_a_patch_is_what_a_slice_of_its_picture_is() -> None:
    images = torch.randint(0, 256, (3, 3, 20, 20), dtype=torch.uint8)
    owners, corners = torch.tensor([2, 0, 2]), torch.tensor([[0, 12], [5, 3], [12, 0]])
    patches = Patches(images, owners, corners, 8)
    rows = torch.tensor([2, 0, 1, 0])

    for cut, row in zip(patches[rows], rows.tolist(), strict=True):
        top, left = corners[row].tolist()
        assert cut.equal(images[owners[row], :, top : top + 8, left : left + 8])
    assert tuple(patches.shape) == (3, 3, 8, 8)
    assert patches.taken(rows).extent.tolist() == [[8, 8]] * 4


def test_sixteen_bits_stay_sixteen_bits() -> None:
    images = torch.full((1, 1, 9, 9), 40_000).to(torch.uint16)
    patches = Patches(images, torch.tensor([0]), torch.tensor([[1, 1]]), 8)

    assert patches.dtype == torch.uint16
    assert patches[torch.tensor([0])].int().unique().tolist() == [40_000]


def test_places_lie_within_the_picture_and_reach_both_ends() -> None:
    extent = torch.tensor([[10, 8], [9, 30]])
    owners, corners = random_places(extent, 8, 400, seed=3)
    room = extent[owners] - 8

    assert (corners >= 0).all()
    assert (corners <= room).all()
    for picture in (0, 1):
        mine = corners[owners == picture]
        assert mine.amin(dim=0).tolist() == [0, 0]
        assert mine.amax(dim=0).tolist() == (extent[picture] - 8).tolist()


def test_pictures_smaller_than_a_patch_have_none() -> None:
    owners, corners = random_places(torch.tensor([[10, 7], [8, 8]]), 8, 3, seed=0)

    assert owners.tolist() == [1, 1, 1]
    assert corners.tolist() == [[0, 0]] * 3


def test_places_belong_to_the_picture_and_the_seed() -> None:
    extent = torch.full((4, 2), 100)
    both = random_places(extent, 8, 5, seed=1)[1]

    assert random_places(extent[:2], 8, 5, seed=1)[1].equal(both[:10])
    assert not random_places(extent, 8, 5, seed=2)[1].equal(both)


def test_flat_patches_are_not_asked_about() -> None:
    images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    images[1, :, :4] = 255  # half black, half white: the greatest deviation there is
    images[3, :, :4] = 50

    assert deviation(images).tolist() == pytest.approx([0.0, 0.5, 0.0, 25 / 255])
    assert structured(images[[1, 0, 3]]).tolist() == [0, 2]


def test_few_pictures_give_many_patches_each_and_many_give_few() -> None:
    assert patches_a_picture(16) == 64
    assert patches_a_picture(1200) == 5
    assert patches_a_picture(60_000) == 4
