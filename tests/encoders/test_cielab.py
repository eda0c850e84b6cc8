"""CIELAB: scikit-image's conversion is the oracle."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab
from torch import Tensor

from selfsight.encoders.cielab import lab, lightness, rgb


def oracle(pictures: Tensor) -> Tensor:
    rows = rgb2lab(pictures.permute(0, 2, 3, 1).numpy().astype(np.float64))
    return torch.from_numpy(rows).permute(0, 3, 1, 2)


def test_colours_agree_with_scikit_image_and_come_back() -> None:
    pictures = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) ** 2

    assert torch.allclose(lab(pictures.double()), oracle(pictures), atol=1e-3)
    assert torch.allclose(lab(pictures).double(), oracle(pictures), atol=2e-3)
    assert torch.allclose(rgb(lab(pictures)), pictures, atol=1e-4)


def test_lightness_is_that_of_all_three_and_grey_is_its_own_colour() -> None:
    pictures = torch.rand(2, 3, 8, 8)
    grey = torch.rand(2, 1, 8, 8)

    assert torch.allclose(100 * lightness(pictures), lab(pictures)[:, :1], atol=1e-3)
    assert torch.allclose(lightness(grey), lightness(grey.expand(-1, 3, -1, -1)), atol=1e-4)
    assert lab(grey.expand(-1, 3, -1, -1))[:, 1:].abs().max() < 0.01


def test_colours_that_no_screen_shows_are_clamped() -> None:
    shown = rgb(torch.tensor([50.0, 100.0, 100.0]).view(1, 3, 1, 1))

    assert shown.min() >= 0
    assert shown.max() <= 1


def test_lightness_of_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or 3 channels, got 4"):
        lightness(torch.rand(1, 4, 2, 2))
