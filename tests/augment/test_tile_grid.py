"""Tiles: each within its cell, at random places, and in the order asked for."""

import pytest
import torch

from selfsight.augment.tile_grid import cut_tiles, put_together, side_of_tiles
from selfsight.data.pictures.batch import Images


def numbered(count: int, side: int) -> Images:
    """Make pictures whose pixels tell their place: row and column."""
    line = torch.arange(float(side))
    pixels = torch.stack([line[:, None].expand(side, side), line.expand(side, side)])
    return Images.of(pixels.expand(count, 2, side, side).contiguous())


def test_tiles_that_fill_their_cells_are_the_cells() -> None:
    batch = numbered(1, 7)  # a pixel is left over on the right and below

    tiles = cut_tiles(batch.images, batch, 2, 3)

    assert tiles.shape == (1, 4, 2, 3, 3)
    assert tiles[0, :, 0, 0, 0].tolist() == [0, 0, 3, 3]  # the top row of each
    assert tiles[0, :, 1, 0, 0].tolist() == [0, 3, 0, 3]


def test_cells_come_in_the_order_that_is_asked_for() -> None:
    batch = numbered(2, 6)
    cells = torch.tensor([[3, 0], [1, 1]])

    tiles = cut_tiles(batch.images, batch, 2, 3, cells=cells)

    assert tiles[:, :, 0, 0, 0].tolist() == [[3, 0], [0, 0]]
    assert tiles[:, :, 1, 0, 0].tolist() == [[3, 0], [3, 3]]


def test_a_tile_is_whole_and_anywhere_in_its_cell() -> None:
    batch = numbered(400, 32)

    tiles = cut_tiles(batch.images, batch, 2, 12)

    top, left = tiles[:, :, 0, 0, 0].long(), tiles[:, :, 1, 0, 0].long()
    cell = torch.tensor([[0, 0], [0, 16], [16, 0], [16, 16]])
    for offset in (top - cell[:, 0], left - cell[:, 1]):
        counts = offset.flatten().bincount()
        assert len(counts) == 5  # 0 to 16 - 12
        assert (counts > 1600 / 5 * 0.8).all()
    rows = tiles[:, :, 0, :, 0] - top[..., None]
    assert (rows == torch.arange(12)).all()


def test_places_within_the_cells_of_a_picture_are_independent() -> None:
    batch = numbered(2000, 32)

    tiles = cut_tiles(batch.images, batch, 2, 12)

    places = (tiles[:, :, :, 0, 0] % 16).flatten(1)  # (2000, 8)
    correlation = torch.corrcoef(places.T) - torch.eye(8)
    assert correlation.abs().max() < 0.1


def test_another_name_draws_other_places() -> None:
    batch = numbered(50, 32)

    one = cut_tiles(batch.images, batch, 2, 12)

    assert torch.equal(one, cut_tiles(batch.images, batch, 2, 12))
    assert not torch.equal(one, cut_tiles(batch.images, batch, 2, 12, name="others"))


def test_cells_put_together_are_the_picture() -> None:
    crops = torch.rand(3, 2, 12, 12)

    tiles = cut_tiles(crops, Images.of(crops), 3, 4)

    assert torch.equal(put_together(tiles, 3), crops)


def test_the_papers_tiles_have_its_sides() -> None:
    assert side_of_tiles(255, 3, 0.75) == 64


@pytest.mark.parametrize("share", [0.0, 1.1, float("nan")])
def test_a_share_of_the_cell_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share of its cell must be above 0 and at most 1, got"):
        side_of_tiles(32, 2, share)


def test_a_crop_without_a_pixel_a_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="crops must have 3 pixels or more for 3 cells, got 2"):
        side_of_tiles(2, 3, 0.75)
