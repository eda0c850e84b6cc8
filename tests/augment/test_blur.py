"""Blur: against torchvision's, one picture at a time, and against a plain loop in float64."""

import math

import pytest
import torch
from scipy.stats import kstest, uniform
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from selfsight.augment import blur
from selfsight.augment.blur import blurred, radius_of
from selfsight.data.pictures.batch import Images
from selfsight.draws import Draws
from selfsight.errors import UsageError


@pytest.mark.parametrize("size", [20, 33, 96, 130])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_blurring_is_torchvisions(size: int, channels: int) -> None:
    crops, sigma = torch.rand(4, channels, size, size), torch.tensor([0.1, 0.5, 1.3, 2.0])

    found = blurred(crops, sigma)

    width = 2 * radius_of(size) + 1
    for one, crop, deviation in zip(found, crops, sigma.tolist(), strict=True):
        expected = reference.gaussian_blur(crop, [width, width], [deviation, deviation])
        assert torch.allclose(one, expected, atol=1e-5)


def by_a_loop(row: list[float], sigma: float, radius: int) -> list[float]:
    """Blur one line of numbers, reflected at its ends."""
    weights = [math.exp(-(k**2) / (2 * sigma**2)) for k in range(-radius, radius + 1)]
    last = len(row) - 1
    result: list[float] = []
    for at in range(len(row)):
        seen = [abs(at + k) for k in range(-radius, radius + 1)]
        seen = [2 * last - i if i > last else i for i in seen]
        total = sum(w * row[i] for w, i in zip(weights, seen, strict=True))
        result.append(total / sum(weights))
    return result


def test_a_line_is_blurred_as_the_formula_says() -> None:
    row = torch.rand(40)
    lines = row.expand(1, 1, 40, 40)  # every row alike: only the blur across shows

    found = blurred(lines, torch.tensor([0.9]))[0, 0, 17]

    expected = by_a_loop(row.double().tolist(), 0.9, 2)
    assert torch.allclose(found.double(), torch.tensor(expected).double(), atol=1e-6)


@pytest.mark.parametrize(("size", "width"), [(32, 3), (96, 9), (224, 23), (19, 1)])
def test_the_kernel_is_a_tenth_of_the_side_and_odd(size: int, width: int) -> None:
    assert 2 * radius_of(size) + 1 == width


def test_even_grey_stays_and_a_kernel_of_one_pixel_changes_nothing() -> None:
    grey, small = torch.full((1, 3, 64, 64), 0.3), torch.rand(2, 3, 16, 16)

    assert torch.allclose(blurred(grey, torch.tensor([2.0])), grey, atol=1e-6)
    assert torch.equal(blurred(small, torch.tensor([2.0, 0.1])), small)


def stripes(count: int) -> Tensor:
    """Columns by turns 0 and 1: a blur by sigma leaves less contrast the wider it is."""
    return (torch.arange(40) % 2).float().expand(count, 1, 40, 40)


def test_half_are_blurred_and_deviations_come_evenly_from_their_range() -> None:
    crops = stripes(2000)

    found = blur(crops, Images.of(crops), sigma=(0.4, 0.8))

    # Far from the edge and with e = exp(-1 / 2 sigma^2), the kernel of 5 weighs e^4 e 1 e e^4.
    contrast = (found[:, 0, 20, 21] - found[:, 0, 20, 20]).double()
    changed = contrast < 1 - 1e-6
    grid = torch.linspace(0.4, 0.8, 1000).double()
    e = torch.exp(-1 / (2 * grid**2))
    expected = (1 - 2 * e + 2 * e**4) / (1 + 2 * e + 2 * e**4)  # falls with sigma
    place = torch.searchsorted(-expected, -contrast[changed]).clamp(max=999)
    assert changed.float().mean() == pytest.approx(0.5, abs=0.045)
    assert kstest(grid[place].numpy(), uniform(0.4, 0.4).cdf).pvalue > 1e-3


def test_those_not_drawn_come_back_untouched() -> None:
    crops = torch.rand(50, 3, 24, 24)
    batch = Images.of(crops)

    found = blur(crops, batch, share=0.3)

    kept = batch.draws.uniform("view/blur", 1)[:, 0] >= 0.3
    assert torch.equal(found[kept], crops[kept])
    assert not torch.isclose(found[~kept], crops[~kept]).all(dim=(1, 2, 3)).all()
    assert blur(crops, batch, share=0) is crops


def test_a_picture_alone_is_blurred_to_the_same_bits() -> None:
    crops = torch.rand(6, 3, 40, 40)
    together = blur(crops, Images.of(crops), share=1)

    for row in range(6):
        index = torch.tensor([row])
        batch = Images.of(crops[row : row + 1])._replace(index=index, draws=Draws(0, 0, index))
        assert torch.equal(blur(crops[row : row + 1], batch, share=1)[0], together[row])


def test_autocast_changes_no_blur() -> None:
    crops = torch.rand(4, 3, 40, 40)
    plain = blur(crops, Images.of(crops))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(blur(crops, Images.of(crops)), plain)


@pytest.mark.parametrize(
    ("share", "sigma", "said"),
    [
        (1.5, (0.1, 2.0), "blur must be a share of the pictures, from 0 to 1, got 1.5"),
        (0.5, (0.0, 2.0), r"sigma must be two widths in pixels.* got \(0.0, 2.0\)"),
        (0.5, (2.0, 1.0), r"sigma must be two widths in pixels.* got \(2.0, 1.0\)"),
    ],
)
def test_settings_outside_their_ranges_are_refused(
    share: float, sigma: tuple[float, float], said: str
) -> None:
    crops = torch.rand(2, 3, 24, 24)

    with pytest.raises(UsageError, match=said):
        blur(crops, Images.of(crops), share=share, sigma=sigma)


def test_the_pictures_given_are_left_as_they_were() -> None:
    crops = torch.rand(6, 3, 40, 40)
    before = crops.clone()

    found = blur(crops, Images.of(crops), share=1)

    assert torch.equal(crops, before)
    assert not torch.allclose(found, before, atol=0.01)


def test_the_gradient_comes_back_through_a_blur() -> None:
    # Every pixel's weights sum to 1, and what a pixel gives away in the middle does too.
    crops = torch.rand(2, 1, 40, 40, requires_grad=True)

    blur(crops, Images.of(crops), share=1).sum().backward()

    assert crops.grad is not None
    middle = crops.grad[..., 4:-4, 4:-4]
    assert torch.allclose(middle, torch.ones_like(middle), atol=1e-5)
