"""Colour bins: the gamut counted, soft targets and weights by the paper's formulas."""

import math

import pytest
import torch
from torch import Tensor

from selfsight.encoders.cielab import lab
from selfsight.layers.color_bins import LEAST_TEMPERATURE, SPREAD, ColorBins, bins_on_screen
from selfsight.layers.color_scale import ColorScale


def colours(count: int = 200) -> Tensor:
    pixels = torch.rand(1, 3, count, 1, generator=torch.Generator().manual_seed(0))
    return lab(pixels)[0, 1:, :, 0].T


def test_bins_are_the_squares_that_some_colour_of_a_screen_falls_into() -> None:
    pixels = torch.rand(1, 3, 100_000, 1, generator=torch.Generator().manual_seed(0))
    met = (lab(pixels.double())[0, 1:, :, 0].T / 10).round().long().unique(dim=0)

    bins = {tuple(pair) for pair in (bins_on_screen() / 10).long().tolist()}
    assert len(bins) == 261
    assert {tuple(pair) for pair in met.tolist()} <= bins
    assert len(met) > 230  # and those at its rim are met too rarely to be drawn


def test_a_colour_in_the_middle_of_its_bin_belongs_to_it_and_its_neighbours() -> None:
    bins = ColorBins(neighbours=5)

    row = bins.rows(torch.tensor([10.0, 20.0]))

    numbers, shares = bins.numbers[row], bins.shares[row]
    side = math.exp(-(10**2) / (2 * 5**2))
    assert bins.middles[numbers[0]].tolist() == [10, 20]
    near = {tuple(pair) for pair in bins.middles[numbers[1:]].tolist()}
    assert near == {(0, 20), (20, 20), (10, 10), (10, 30)}
    assert shares.tolist() == pytest.approx([1 / (1 + 4 * side)] + [side / (1 + 4 * side)] * 4)


def test_the_cost_is_that_of_the_formula() -> None:
    bins, ab = ColorBins(neighbours=4), colours()
    bins.look_at(colours(1000))
    logits = torch.randn(len(ab), bins.channels, generator=torch.Generator().manual_seed(1))

    found = bins.costs(logits, ab)

    whole, middles = ab.round().double(), bins.middles.double()
    compared = 0
    for row in range(len(ab)):
        distances = (middles - whole[row]).square().sum(dim=1)
        ordered = distances.sort().values
        if ordered[0] == ordered[1] or ordered[3] == ordered[4]:
            continue  # bins as near as each other: either will do
        compared += 1
        near = distances.argsort()[:4]
        share = (-distances[near] / (2 * SPREAD**2)).exp()
        share = share / share.sum()
        guessed = logits[row].double().softmax(dim=0)[near]
        weight = bins.weights[near[0]].double()
        assert found[row].item() == pytest.approx(
            (-weight * (share * guessed.log()).sum()).item(), rel=1e-4
        )
    assert compared > 100


def test_a_blind_guess_costs_the_logarithm_until_colours_were_seen() -> None:
    bins = ColorBins()

    costs = bins.costs(torch.zeros(5, bins.channels), colours(5))

    assert costs.tolist() == pytest.approx([math.log(261)] * 5, rel=1e-5)
    assert bins.blind == pytest.approx(math.log(261))


def test_no_constant_guess_costs_less_than_blind() -> None:
    bins, ab = ColorBins(), colours(100)
    bias = bins.look_at(ab)

    def cost(logits: Tensor) -> float:
        return bins.costs(logits.expand(len(ab), -1), ab).mean().item()

    assert cost(bias) == pytest.approx(bins.blind, rel=1e-4)
    learned = bias.clone().requires_grad_()
    optimizer = torch.optim.Adam([learned], lr=0.05)
    for _ in range(40):
        optimizer.zero_grad()
        bins.costs(learned.expand(len(ab), -1), ab).mean().backward()
        optimizer.step()
    assert cost(learned.detach()) > bins.blind - 0.02  # kept for colours that were not seen


def test_rare_colours_weigh_more_and_the_average_is_one() -> None:
    ab = torch.tensor([[0.0, 0.0]] * 99 + [[60.0, 40.0]])
    bins = ColorBins(rebalanced=0.5)
    bins.look_at(ab)

    assert bins.rarity(ab).mean().item() == pytest.approx(1)
    # w = 1 / (p / 2 + 1 / (2 Q)); with one neighbour p would be 0.99 and 0.01.
    alone = ColorBins(neighbours=1, rebalanced=0.5)
    alone.look_at(ab)
    ratio = (0.99 + 1 / 261) / (0.01 + 1 / 261)
    weights = alone.rarity(ab)
    assert (weights[-1] / weights[0]).item() == pytest.approx(ratio, rel=1e-4)


def test_without_rebalancing_all_weigh_one() -> None:
    bins = ColorBins(rebalanced=0)
    bins.look_at(colours())

    assert torch.allclose(bins.rarity(colours()), torch.ones(200))


def test_annealing_goes_from_the_mean_to_the_mode() -> None:
    bins = ColorBins()
    red, blue = (bins.rows(torch.tensor(pair)) for pair in ([60.0, 40.0], [20.0, -60.0]))
    logits = torch.full((bins.channels,), -100.0)
    logits[bins.numbers[red, 0]], logits[bins.numbers[blue, 0]] = math.log(0.6), math.log(0.4)

    assert bins.decoded(logits, 1.0).tolist() == pytest.approx([44, 0], abs=1e-3)
    assert bins.decoded(logits, 0.05).tolist() == pytest.approx([60, 40], abs=0.1)


def test_two_likely_colours_become_grey_by_regression_and_stay_colours_as_classes() -> None:
    ab = torch.tensor([[60.0, 0.0], [-60.0, 10.0]]).repeat(50, 1)
    bins, scale = ColorBins(rebalanced=0), ColorScale()
    learned: dict[str, Tensor] = {}
    for name, colors in {"classes": bins, "regression": scale}.items():
        answer = (colors.look_at(ab) + 0.01).requires_grad_()
        optimizer = torch.optim.Adam([answer], lr=0.05)
        for step in range(60):
            optimizer.zero_grad()
            # One of the two is seen a little more often.
            rows = ab if step % 2 else ab[[0, 0, 1]]
            colors.costs(answer.expand(len(rows), -1), rows).mean().backward()
            optimizer.step()
        learned[name] = answer.detach()

    assert scale.decoded(learned["regression"]).norm().item() < 20
    assert bins.decoded(learned["classes"], 0.05).norm().item() > 50


def test_the_mean_colour_costs_one_on_the_scale() -> None:
    scale, ab = ColorScale(), colours()

    first = scale.look_at(ab)

    assert scale.costs(first.expand(len(ab), -1), ab).mean().item() == pytest.approx(1)
    assert torch.allclose(scale.decoded(scale.scaled(ab)), ab, atol=1e-3)


def test_settings_outside_their_ranges_are_refused() -> None:
    for neighbours in (0, 262):
        with pytest.raises(ValueError, match=f"from 1 to 261, got {neighbours}"):
            ColorBins(neighbours=neighbours)
    for rebalanced in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match="rebalanced must be at least 0 and below 1, got"):
            ColorBins(rebalanced=rebalanced)
    for temperature in (0.0, 9e-4, math.nan):
        with pytest.raises(ValueError, match=r"temperature must be at least 0\.001, got"):
            ColorBins(temperature=temperature)
        with pytest.raises(ValueError, match=r"temperature must be at least 0\.001, got"):
            ColorBins().decoded(torch.zeros(261), temperature)


def test_the_lowest_temperature_gives_the_mode() -> None:
    logits = torch.full((261,), -40.0)
    logits[7] = 40.0
    bins = ColorBins(temperature=LEAST_TEMPERATURE)

    assert torch.equal(bins.decoded(logits), bins.middles[7])
