"""Colours: each change against torchvision's, all of them against one after another in float64."""

import logging
import math

import pytest
import torch
from scipy.stats import kstest, uniform
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from selfsight.augment import ColorJitter, jitter_colors, solarise
from selfsight.augment.color import (
    LUMA,
    YIQ,
    color_matrices,
    composed,
    recolored,
    say_that_colors_stay,
)
from selfsight.augment.color_sequence import one_after_another as one_by_one
from selfsight.data.pictures.batch import Images
from selfsight.draws import Draws
from selfsight.errors import UsageError

# The BT.601 weights here have three digits, torchvision's have four.
DIGITS = 1e-3
STILL = ColorJitter(0, 0, 0, 0, share=0, grey=0)


def soft(batch: int = 5, size: int = 8) -> Tensor:
    """Colours far enough from black and white that no change here clamps them."""
    return 0.35 + 0.2 * Draws(0, 0, torch.arange(batch)).uniform("x", 3 * size**2).view(
        batch, 3, size, size
    )


def changed(
    crops: Tensor,
    brightness: float = 1,
    contrast: float = 1,
    saturation: float = 1,
    turn: float = 0,
) -> Tensor:
    factors = torch.tensor([[brightness, contrast, saturation]]).expand(len(crops), 3)
    angles = torch.full((len(crops),), 2 * math.pi * turn)
    return recolored(crops, composed(crops.mean(dim=(2, 3)), factors, angles))


def luma(colours: Tensor) -> Tensor:
    """Grey of colours (B, 3, S, S): -> (B, 1, S, S)."""
    red, green, blue = colours.unbind(dim=1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None]


def one_after_another(
    crops: Tensor, brightness: float, contrast: float, saturation: float, turn: float
) -> Tensor:
    """Apply the formulas of the file's docstring in turn, in float64."""
    x = brightness * crops.double()
    middle = luma(x).mean(dim=(1, 2, 3), keepdim=True)
    x = contrast * x + (1 - contrast) * middle
    x = saturation * x + (1 - saturation) * luma(x)
    table = torch.tensor(YIQ, dtype=torch.float64)
    y, i, q = torch.einsum("rc,bchw->brhw", table, x).unbind(dim=1)
    c, s = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
    turned = torch.stack([y, c * i + s * q, c * q - s * i], dim=1)
    return torch.einsum("rc,bchw->brhw", table.inverse(), turned)


@pytest.mark.parametrize("factor", [0.2, 0.8, 1.0, 1.5])
def test_brightness_is_torchvisions(factor: float) -> None:
    found = changed(soft(), brightness=factor)

    assert torch.allclose(found, reference.adjust_brightness(soft(), factor), atol=1e-6)


@pytest.mark.parametrize("factor", [0.2, 0.8, 1.0, 1.7])
def test_contrast_is_torchvisions(factor: float) -> None:
    found = changed(soft(), contrast=factor)

    assert torch.allclose(found, reference.adjust_contrast(soft(), factor), atol=DIGITS)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.7])
def test_saturation_is_torchvisions(factor: float) -> None:
    found = changed(soft(), saturation=factor)

    assert torch.allclose(found, reference.adjust_saturation(soft(), factor), atol=DIGITS)


def test_grey_is_torchvisions() -> None:
    found = jitter_colors(soft(), Images.of(soft()), STILL._replace(grey=1))

    assert torch.allclose(found, reference.rgb_to_grayscale(soft(), 3), atol=DIGITS)


def test_brightness_contrast_and_saturation_follow_torchvisions_in_this_order() -> None:
    expected = reference.adjust_brightness(soft(), 0.8)
    expected = reference.adjust_contrast(expected, 1.4)
    expected = reference.adjust_saturation(expected, 0.5)

    assert torch.allclose(changed(soft(), 0.8, 1.4, 0.5), expected, atol=2 * DIGITS)


@pytest.mark.parametrize(
    "strengths", [(0.7, 1.3, 1.6, 0.1), (1.2, 0.6, 0.4, -0.2), (1.0, 1.0, 1.0, 0.35)]
)
def test_one_matrix_is_all_changes_one_after_another(strengths: tuple[float, ...]) -> None:
    expected = one_after_another(soft(), *strengths)

    assert expected.min() > 0
    assert expected.max() < 1
    assert torch.allclose(changed(soft(), *strengths).double(), expected, atol=1e-5)


@pytest.mark.parametrize("turn", [0, 1, -1])
def test_no_turn_and_a_full_turn_change_nothing(turn: float) -> None:
    assert torch.allclose(changed(soft(), turn=turn), soft(), atol=1e-5)


@pytest.mark.parametrize("turn", [0.05, 0.1, -0.05, -0.1])
@pytest.mark.parametrize("pure", [0, 1, 2])
def test_hue_turns_a_colour_towards_the_same_neighbour_on_both_paths(
    pure: int, turn: float
) -> None:
    crops = torch.tensor([0.6, 0.4, 0.4]).roll(pure).view(1, 3, 1, 1)
    hue_alone = torch.tensor([[3, -1, -1, -1]])

    matrix = changed(crops, turn=turn)
    exact = one_by_one(crops, torch.tensor([[1.0, 1.0, 1.0, turn]]), hue_alone)

    for found in (matrix, exact, reference.adjust_hue(crops, turn)):
        following, last = found.flatten().roll(-pure)[1:]
        # Red has green in it on the way to yellow, green blue on the way to cyan, blue red.
        assert (following - last).sign() == math.copysign(1, turn)


@pytest.mark.parametrize("turn", [0.1, 0.25, -0.4, 0.5])
def test_hue_leaves_greys_and_keeps_luma(turn: float) -> None:
    greys = torch.linspace(0, 1, 64).view(1, 1, 8, 8).expand(1, 3, 8, 8)

    assert torch.allclose(changed(greys, turn=turn), greys, atol=1e-5)
    assert torch.allclose(luma(changed(soft(), turn=turn)), luma(soft()), atol=1e-5)
    assert not torch.allclose(changed(soft(), turn=turn), soft(), atol=0.01)


def test_a_turn_and_back_changes_nothing() -> None:
    assert torch.allclose(changed(changed(soft(), turn=0.2), turn=-0.2), soft(), atol=1e-5)


def test_colours_are_clamped() -> None:
    crops = torch.rand(50, 3, 8, 8)
    found = jitter_colors(crops, Images.of(crops), ColorJitter())

    assert found.min() == 0
    assert found.max() == 1


def test_no_strength_is_no_change() -> None:
    assert torch.allclose(jitter_colors(soft(), Images.of(soft()), STILL), soft(), atol=1e-6)


def test_shares_of_pictures_are_changed_and_lose_their_colour() -> None:
    crops = soft(3000, 2)

    found = jitter_colors(crops, Images.of(crops), ColorJitter(0.3, 0.3, 0.3, 0.1))

    greyed = (found.amax(dim=1) - found.amin(dim=1)).amax(dim=(1, 2)) < 1e-4
    kept = (found - crops).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert greyed.float().mean() == pytest.approx(0.2, abs=0.03)
    assert kept.float().mean() == pytest.approx(0.2 * 0.8, abs=0.03)


def test_factors_come_from_their_ranges() -> None:
    index = torch.arange(3000)
    batch = Images.of(torch.zeros(3000, 3, 2, 2))
    jitter = ColorJitter(0.6, 0, 0, 0, share=1, grey=0)

    matrix = color_matrices(torch.full((len(index), 3), 0.5), batch, jitter, "view")

    factors = matrix[:, 0, 0]  # brightness alone: a multiple of the identity
    levels = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    assert torch.allclose(factors.quantile(levels), 0.4 + 1.2 * levels, atol=0.05)


def test_a_pictures_colours_do_not_depend_on_its_batch_mates() -> None:
    crops, rows = soft(), torch.tensor([3, 1])
    batch = Images.of(crops)
    apart = batch._replace(index=rows, draws=Draws(0, 0, rows))

    together = jitter_colors(crops, batch, ColorJitter())

    assert torch.allclose(
        together[rows], jitter_colors(crops[rows], apart, ColorJitter()), atol=1e-5
    )


def test_another_view_has_other_colours() -> None:
    jitter = ColorJitter(share=1, grey=0)
    one, other = (
        jitter_colors(soft(), Images.of(soft()), jitter, name=name) for name in ("one", "other")
    )

    assert not torch.allclose(one, other, atol=0.01)


def test_autocast_changes_no_colour() -> None:
    plain = jitter_colors(soft(), Images.of(soft()), ColorJitter())

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(jitter_colors(soft(), Images.of(soft()), ColorJitter()), plain)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_come_back_untouched_and_it_is_said_once(
    channels: int, caplog: pytest.LogCaptureFixture
) -> None:
    say_that_colors_stay.cache_clear()
    crops = torch.rand(2, channels, 4, 4)

    with caplog.at_level(logging.WARNING, logger="selfsight"):
        for _ in range(3):
            assert jitter_colors(crops, Images.of(crops), ColorJitter()) is crops

    said = f"colours are not changed: that needs 3 channels, and the pictures have {channels}"
    assert caplog.messages == [said]


def test_factors_wider_than_one_start_at_zero_and_stay_evenly_spread() -> None:
    batch = Images.of(torch.zeros(3000, 3, 2, 2))
    jitter = ColorJitter(1.5, 0, 0, 0, share=1, grey=0)

    factors = color_matrices(torch.full((3000, 3), 0.5), batch, jitter, "view")[:, 0, 0]

    assert kstest(factors.numpy(), uniform(0, 2.5).cdf).pvalue > 1e-3


def test_solarising_inverts_from_the_threshold_on() -> None:
    crops = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]).expand(2, 1, 5, 5)

    found = solarise(crops, Images.of(crops), share=1)

    assert torch.equal(found[0, 0, 0], torch.tensor([0.0, 0.25, 0.5, 0.25, 0.0]))


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_solarising_is_torchvisions(threshold: float) -> None:
    crops = torch.rand(3, 3, 8, 8)

    found = solarise(crops, Images.of(crops), share=1, threshold=threshold)

    assert torch.equal(found, reference.solarize(crops, threshold))


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_share_of_the_pictures_is_solarised(share: float) -> None:
    crops = torch.full((3000, 1, 2, 2), 0.75)

    changed = solarise(crops, Images.of(crops), share=share)[:, 0, 0, 0] == 0.25

    assert changed.float().mean() == pytest.approx(share, abs=0.03 * (0 < share < 1))


def test_strength_scales_all_four_changes() -> None:
    assert ColorJitter.of_strength(1) == ColorJitter()
    assert ColorJitter.of_strength(0.5) == ColorJitter(0.4, 0.4, 0.4, 0.1)


def test_only_grey_changes_no_other_picture() -> None:
    crops = soft(2000, 2)

    found = jitter_colors(crops, Images.of(crops), ColorJitter.only_grey(0.66))

    greyed = (found.amax(dim=1) - found.amin(dim=1)).amax(dim=(1, 2)) < 1e-6
    assert greyed.float().mean() == pytest.approx(0.66, abs=0.04)
    assert torch.allclose(found[~greyed], crops[~greyed], atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"brightness": -0.1}, "brightness must be at least 0, got -0.1"),
        ({"contrast": math.nan}, "contrast must be at least 0, got nan"),
        ({"saturation": math.inf}, "saturation must be at least 0, got inf"),
        ({"hue": 0.6}, "hue must be a share of a turn, from 0 to 0.5, got 0.6"),
        ({"share": 1.2}, "share must be a share of the pictures, from 0 to 1, got 1.2"),
        ({"grey": -1.0}, "grey must be a share of the pictures, from 0 to 1, got -1.0"),
    ],
)
def test_strengths_outside_their_ranges_are_refused(setting: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        jitter_colors(soft(), Images.of(soft()), ColorJitter()._replace(**setting))


@pytest.mark.parametrize(("share", "threshold"), [(1.5, 0.5), (0.5, -0.1)])
def test_solarising_outside_its_ranges_is_refused(share: float, threshold: float) -> None:
    with pytest.raises(UsageError, match="must be from 0 to 1, got"):
        solarise(soft(), Images.of(soft()), share=share, threshold=threshold)
