"""Scaling: sizes by hand, pixels against Pillow's own antialiased filter."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from noise import noise_array
from selfsight.data.pictures.scaling import fitted, with_channels


def noise_pixels(channels: int, height: int, width: int) -> Tensor:
    return torch.from_numpy(noise_array("u1", height, width, channels)).permute(2, 0, 1)


def by_pillow(pixels: Tensor, box: tuple[int, int, int, int], size: tuple[int, int]) -> Tensor:
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy().squeeze())
    small = np.array(picture.crop(box).resize(size, Image.Resampling.BILINEAR))
    return torch.from_numpy(small.reshape(*size[::-1], len(pixels))).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((100, 50), (32, 16)),
        ((50, 100), (16, 32)),
        ((100, 33), (32, 11)),  # 33 * 32 / 100 = 10.56
        ((32, 20), (32, 20)),
        ((10, 12), (10, 12)),  # never enlarged
        ((8, 5000), (1, 32)),  # 8 * 32 / 5000 rounds to nothing
    ],
)
def test_a_canvas_holds_the_whole_picture(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitted(noise_pixels(3, *size), 32, "canvas").shape == (3, *expected)


def test_a_small_picture_keeps_its_pixels_on_a_canvas() -> None:
    pixels = noise_pixels(3, 10, 12)

    assert torch.equal(fitted(pixels, 32, "canvas"), pixels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [20, 32, 57])
def test_a_canvas_is_scaled_as_pillow_scales(channels: int, side: int) -> None:
    pixels = noise_pixels(channels, 90, 120)

    found = fitted(pixels, side, "canvas").int()

    plain = by_pillow(pixels, (0, 0, 120, 90), (side, round(90 * side / 120))).int()
    assert (found - plain).abs().max() <= 2


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [20, 32, 200])
def test_a_square_is_cut_from_the_middle_and_scaled_as_pillow_scales(
    channels: int, side: int
) -> None:
    pixels = noise_pixels(channels, 90, 121)

    found = fitted(pixels, side, "square").int()

    plain = by_pillow(pixels, (15, 0, 105, 90), (side, side)).int()
    assert found.shape == (channels, side, side)
    assert (found - plain).abs().max() <= 2


def test_grey_weighs_green_most() -> None:
    colours = torch.eye(3, dtype=torch.uint8)[:, None] * 255  # (3, 1, 3): a red, green, blue pixel

    assert with_channels(colours, 1).flatten().tolist() == [76, 150, 29]


def test_grey_is_repeated_for_colour() -> None:
    grey = noise_pixels(1, 8, 8)

    assert torch.equal(with_channels(grey, 3), torch.cat([grey, grey, grey]))
