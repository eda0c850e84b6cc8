"""Colour sequence: against torchvision's functions, one picture and one operation at a time."""

import math
from collections import Counter
from itertools import permutations
from typing import Any

import pytest
import torch
from scipy.stats import ks_2samp
from torch import Tensor
from torchvision.transforms.v2 import ColorJitter as Theirs
from torchvision.transforms.v2 import functional as reference

from selfsight.augment import ColorJitter, jitter_colors
from selfsight.augment.color_sequence import greyed, one_after_another
from selfsight.data.pictures.batch import Images
from selfsight.draws import Draws

BY_NUMBER = (
    reference.adjust_brightness,
    reference.adjust_contrast,
    reference.adjust_saturation,
    reference.adjust_hue,
)
EXACT = ColorJitter(exact=True)


def by_torchvision(crops: Tensor, strengths: Tensor, order: Tensor) -> Tensor:
    results: list[Tensor] = []
    for crop, strength, places in zip(crops, strengths.tolist(), order.tolist(), strict=True):
        for number in places:
            crop = BY_NUMBER[number](crop, strength[number])
        results.append(crop)
    return torch.stack(results)


def test_every_order_is_torchvisions() -> None:
    order = torch.tensor(list(permutations(range(4))))
    generator = torch.Generator().manual_seed(0)
    crops = torch.rand(24, 3, 9, 9, generator=generator)
    factors = torch.rand(24, 3, generator=generator) * 1.8
    turns = torch.rand(24, 1, generator=generator) - 0.5
    strengths = torch.cat([factors, turns], dim=1)

    found = one_after_another(crops, strengths, order)

    # Float hues lose digits where a colour is nearly grey; over all 24 orders they stay below this.
    assert torch.allclose(found, by_torchvision(crops, strengths, order), atol=2e-5)


def test_a_turn_by_a_third_sends_red_to_green_to_blue() -> None:
    red, green, blue = torch.eye(3).view(3, 1, 3, 1, 1)
    turn = torch.tensor([[1.0, 1.0, 1.0, 1 / 3]])
    hue_alone = torch.tensor([[3, -1, -1, -1]])

    assert torch.allclose(one_after_another(red, turn, hue_alone), green, atol=1e-6)
    assert torch.allclose(one_after_another(green, turn, hue_alone), blue, atol=1e-6)
    assert torch.allclose(one_after_another(blue, turn, hue_alone), red, atol=1e-6)


def test_greys_black_and_white_have_no_hue_to_turn() -> None:
    greys = torch.linspace(0, 1, 16).view(1, 1, 4, 4).expand(1, 3, 4, 4)
    strengths, order = torch.tensor([[1.0, 1, 1, 0.3]]), torch.tensor([[3, -1, -1, -1]])

    assert torch.equal(one_after_another(greys, strengths, order), greys)


def test_grey_is_torchvisions() -> None:
    crops = torch.rand(2, 3, 8, 8)

    assert torch.allclose(greyed(crops), reference.rgb_to_grayscale(crops, 3), atol=1e-6)


def test_what_is_drawn_is_what_is_done() -> None:
    crops = torch.rand(40, 3, 6, 6)
    batch = Images.of(crops)

    found = jitter_colors(crops, batch, EXACT)

    drawn = batch.draws.uniform("view/colors", 6)
    strengths = torch.cat([0.2 + 1.6 * drawn[:, :3], -0.2 + 0.4 * drawn[:, 3:4]], dim=1)
    order = batch.draws.uniform("view/order", 4).argsort(dim=1)
    changed = by_torchvision(crops, strengths, order)
    expected = torch.where((drawn[:, 4] < 0.8)[:, None, None, None], changed, crops)
    grey = reference.rgb_to_grayscale(expected, 3)
    expected = torch.where((drawn[:, 5] < 0.2)[:, None, None, None], grey, expected)
    assert torch.allclose(found, expected, atol=2e-5)


def test_all_orders_are_drawn_alike() -> None:
    index = torch.arange(6000)
    order = Draws(0, 0, index).uniform("view/order", 4).argsort(dim=1)

    counts = Counter(map(tuple, order.tolist()))

    assert len(counts) == 24
    spread = math.sqrt(250 * 23 / 24)
    assert all(abs(count - 250) < 4 * spread for count in counts.values())


@pytest.mark.parametrize("colour", [(0.8, 0.3, 0.2), (0.1, 0.5, 0.4)])
def test_colours_spread_as_torchvisions(colour: tuple[float, float, float]) -> None:
    crops = torch.tensor(colour).view(1, 3, 1, 1).expand(1000, 3, 1, 1)
    ours = jitter_colors(crops, Images.of(crops), EXACT._replace(share=1, grey=0))
    transform = Theirs(0.8, 0.8, 0.8, 0.2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torch.stack([transform(crop) for crop in crops])

    for channel in range(3):
        a, b = ours[:, channel, 0, 0], theirs[:, channel, 0, 0]
        found: Any = ks_2samp(a.numpy(), b.numpy())
        assert found.pvalue > 1e-3


def test_a_pictures_colours_do_not_depend_on_its_batch_mates() -> None:
    crops, rows = torch.rand(8, 3, 7, 7), torch.tensor([6, 2])
    batch = Images.of(crops)
    apart = batch._replace(index=rows, draws=Draws(0, 0, rows))

    together = jitter_colors(crops, batch, EXACT)

    assert torch.equal(together[rows], jitter_colors(crops[rows], apart, EXACT))
    assert not torch.equal(together, crops)


def test_the_pictures_given_are_not_written_to() -> None:
    crops = torch.rand(8, 3, 4, 4)
    before = crops.clone()

    jitter_colors(crops, Images.of(crops), EXACT)

    assert torch.equal(crops, before)
