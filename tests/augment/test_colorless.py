"""Colourless: greys of the same lightness, colours on the grid, and both joined again."""

import pytest
import torch
from torch import Tensor

from selfsight.augment.colorless import (
    at_network_size,
    colours_of,
    colours_on_grid,
    grey,
    has_colour,
    with_lightness,
    without_colour,
)
from selfsight.data.pictures.batch import Images
from selfsight.encoders import build
from selfsight.encoders.cielab import lab, lightness
from selfsight.errors import UsageError


def pictures(count: int = 2, height: int = 8, width: int = 8) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_greys_have_the_lightness_of_the_picture_and_no_colour() -> None:
    greys = without_colour(pictures())

    found = lab(greys)
    assert torch.allclose(found[:, :1], 100 * lightness(pictures()), atol=1e-3)
    assert found[:, 1:].abs().max() < 0.02


def test_grey_undoes_lightness_from_black_to_white() -> None:
    levels = torch.linspace(0, 1, 1001).view(1, 1, 1, -1)

    assert torch.allclose(lightness(grey(levels)), levels, atol=1e-5)
    assert grey(levels)[..., [0, -1]].flatten().tolist() == pytest.approx([0, 1], abs=1e-5)


def test_each_place_of_the_grid_has_the_colour_of_its_four_by_four_pixels() -> None:
    blocks = pictures(1, 3, 2)
    picture = blocks.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)[:, :, :10]

    assert torch.allclose(colours_on_grid(picture), lab(blocks)[:, 1:], atol=1e-3)


def test_colours_joined_with_their_lightness_are_the_picture() -> None:
    levels = lightness(pictures())

    assert torch.allclose(with_lightness(lab(pictures())[:, 1:], levels), pictures(), atol=1e-3)


def test_only_fields_with_a_strong_colour_somewhere_are_coloured() -> None:
    ab = torch.zeros(3, 2, 2, 2)
    ab[1, 0, 0, 0] = 4.9
    ab[2, 1, 1, 1] = -5.1

    assert has_colour(ab).tolist() == [0, 0, 1]


def test_colours_are_of_the_pictures_that_have_any() -> None:
    images = torch.cat([pictures(3), pictures(1)[:, :1].expand(-1, 3, -1, -1)])

    ab, share = colours_of(Images.of(images), 8, "a task")

    assert ab.shape == (3 * 2 * 2, 2)
    assert share.item() == 0.75


def test_data_without_any_colour_is_refused() -> None:
    greys = without_colour(pictures())

    with pytest.raises(UsageError, match="a task needs pictures with colours, and none of the 2"):
        colours_of(Images.of(greys), 8, "a task")


@pytest.mark.parametrize(
    ("given", "seen"), [((32, 32), (32, 32)), ((48, 96), (32, 64)), ((70, 40), (56, 32))]
)
def test_the_shorter_side_becomes_the_size(given: tuple[int, int], seen: tuple[int, int]) -> None:
    encoder = build("small", size=32, arguments={"stem": 8, "widths": (8, 8)})  # of stride 8

    assert at_network_size(pictures(1, *given), encoder, 32).shape[-2:] == seen


def test_a_network_of_one_size_sees_squares() -> None:
    arguments = {"depth": 1, "embed_dim": 24, "num_heads": 2}
    encoder = build("vit_tiny_patch16_224", size=32, arguments=arguments)

    assert at_network_size(pictures(1, 48, 96), encoder, 32).shape[-2:] == (32, 32)
