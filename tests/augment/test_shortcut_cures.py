"""Shortcut cures: what is removed is gone, and what is kept is what plain references keep."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import kstest, uniform
from torch import Tensor

from selfsight.augment import colors_dropped, resampled
from selfsight.augment.shortcut_cures import LEAST_PIXELS, shrunk_and_enlarged
from selfsight.data.pictures.batch import Images
from selfsight.draws import Draws
from selfsight.errors import UsageError


def of(tiles: Tensor, *rows: int) -> Images:
    """Wrap tiles as a batch of which only the draws are looked at."""
    index = torch.tensor(rows) if rows else torch.arange(len(tiles))
    return Images(tiles, torch.ones(len(index), 2), index, Draws(0, 0, index))


def test_one_channel_is_kept_and_the_others_are_narrow_noise_around_its_mean() -> None:
    tiles = torch.rand(300, 4, 3, 6, 6)

    found = colors_dropped(tiles, of(tiles), noise=0.01)

    same = (found == tiles).all(dim=(-2, -1))  # (300, 4, 3)
    assert (same.sum(dim=2) == 1).all()
    assert torch.allclose(same.float().mean(dim=(0, 1)), torch.full((3,), 1 / 3), atol=0.06)
    middle = tiles[same].mean(dim=(-2, -1))  # (1200,) in the order of the tiles
    away = found[~same].view(1200, 2, 6, 6) - middle[:, None, None, None]
    assert kstest(away.flatten()[::7].numpy(), uniform(-0.005, 0.01).cdf).pvalue > 1e-3


def test_tiles_of_a_picture_keep_channels_of_their_own() -> None:
    tiles = torch.rand(20, 9, 3, 4, 4)

    kept = (colors_dropped(tiles, of(tiles)) == tiles).all(dim=(-2, -1)).int().argmax(dim=2)

    assert (kept.amax(dim=1) > kept.amin(dim=1)).all()
    assert not torch.equal(kept[0], kept[1])


def test_dropping_colours_of_one_channel_changes_nothing() -> None:
    tiles = torch.rand(2, 1, 4, 4)

    assert colors_dropped(tiles, of(tiles)) is tiles


@pytest.mark.parametrize("side", [8, 17, 32])
def test_shrinking_and_enlarging_is_torchs(side: int) -> None:
    kept = torch.arange(1, side + 1)
    lines = torch.rand(2, side)

    found = lines @ shrunk_and_enlarged(side, kept.float()).mT  # (side, 2, side)

    for one, count in zip(found, kept.tolist(), strict=True):
        small = F.interpolate(lines[None, :, None], (1, count), mode="bilinear", antialias=True)
        expected = F.interpolate(small, (1, side), mode="bilinear")[0, :, 0]
        assert torch.allclose(one, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(60, 3, 12, 12), (20, 3, 1, 12, 9)])
def test_tiles_are_resampled_as_torch_does_one_by_one(shape: tuple[int, ...]) -> None:
    tiles = torch.rand(shape)
    height, width = shape[-2:]

    found = resampled(tiles, of(tiles), share=0.5, least=0.1).view(60, -1, height, width)

    drawn = of(tiles).draws.uniform("patches/resampled", 120 // len(tiles)).view(60, 2)
    for one, tile, row in zip(found, tiles.view_as(found), drawn.tolist(), strict=True):
        factor = (0.1 + 0.9 * row[1]) ** 0.5
        kept = (round(height * factor), round(width * factor))
        small = F.interpolate(tile[None], kept, mode="bilinear", antialias=True)
        changed = F.interpolate(small, (height, width), mode="bilinear")[0]
        assert torch.allclose(one, changed if row[0] < 0.5 else tile, atol=1e-5)


def test_a_third_of_the_tiles_is_resampled() -> None:
    tiles = torch.rand(300, 9, 1, 8, 8)

    found = resampled(tiles, of(tiles), least=0.02)

    changed = (found != tiles).any(dim=(-3, -2, -1)).float().mean()
    smaller = ((7.5 / 8) ** 2 - 0.02) / 0.98  # the others round to 8 pixels, and do not change
    assert changed == pytest.approx(smaller / 3, abs=0.03)


def test_the_least_is_a_hundred_of_96_by_96_pixels() -> None:
    assert pytest.approx(100 / 9216) == LEAST_PIXELS


@pytest.mark.parametrize("side", [8, 10, 24, 33])
def test_a_tile_does_not_depend_on_other_pictures(side: int) -> None:
    tiles = torch.rand(40, 4, 3, side, side)

    for change in (resampled, colors_dropped):
        together = change(tiles, of(tiles))
        for row in (0, 3, 39):
            assert torch.equal(change(tiles[row : row + 1], of(tiles[:1], row))[0], together[row])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"share": -0.1}, "share must be a share of the tiles, from 0 to 1, got -0.1"),
        ({"least": 0.0}, "least must be a share of a tile's pixels, 0 < least <= 1, got 0.0"),
    ],
)
def test_settings_outside_their_ranges_are_refused(setting: dict[str, Any], said: str) -> None:
    tiles = torch.rand(2, 3, 8, 8)

    with pytest.raises(UsageError, match=said):
        resampled(tiles, of(tiles), **setting)
