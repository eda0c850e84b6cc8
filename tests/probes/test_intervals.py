"""Intervals: published ends, chances counted out, plain loops as oracles, planted gains."""

import math
from itertools import product
from typing import Any

import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor

from selfsight.probes import intervals
from selfsight.probes.intervals import (
    SPREAD_LIMIT,
    SPREADS,
    Gain,
    Z,
    accuracy_interval,
    gains,
    wilson,
)


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    # Newcombe, Statistics in Medicine 1998, 17, 857: table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_has_the_published_ends(
    right: int, count: int, low: float, high: float
) -> None:
    assert wilson(right / count, count) == pytest.approx((low, high), abs=5e-5)
    table = (torch.arange(count) < right)[None]
    # The variance over pictures divides by one less, so the count is one less, too.
    nearly = wilson(right / count, count - 1) if right else wilson(0.0, count)
    assert accuracy_interval(table) == pytest.approx(nearly, abs=1e-9)


def test_copies_of_a_draw_narrow_nothing_and_draws_that_differ_widen() -> None:
    one = (torch.arange(200) < 120)[None]
    other = (torch.arange(200) < 80)[None]

    assert accuracy_interval(one.repeat(3, 1)) == pytest.approx(accuracy_interval(one))
    low, high = accuracy_interval(torch.cat([one, other]))
    plain = accuracy_interval((torch.arange(200) < 100)[None])
    assert high - low > 1.5 * (plain[1] - plain[0])


def answers(won: int, lost: int, tied: int) -> tuple[Tensor, Tensor]:
    """One network and one other: right where it won or both are."""
    trained = torch.tensor([1] * won + [0] * lost + [1] * tied)
    untrained = torch.tensor([0] * won + [1] * lost + [1] * tied)
    return trained.view(1, 1, -1), untrained.view(1, 1, 1, -1)


@pytest.mark.parametrize(("won", "lost", "tied"), [(9, 2, 30), (5, 0, 0), (0, 0, 12), (1, 7, 100)])
def test_pictures_alone_leave_bonett_and_prices_interval(won: int, lost: int, tied: int) -> None:
    count = won + lost + tied + 2
    p12, p21 = (won + 1) / count, (lost + 1) / count  # their formula, typed again
    half = Z * math.sqrt((p12 + p21 - (p12 - p21) ** 2) / count)

    found = gains(*answers(won, lost, tied))

    assert float(found.pictures[0]) == pytest.approx(half, rel=1e-12)
    centre = float(found.low[0] + found.high[0]) / 2
    if found.high[0] < 1 and found.low[0] > -1:
        assert centre == pytest.approx(p12 - p21, abs=1e-9)


@pytest.mark.parametrize("pictures", [2, 5, 6, 10, 30])
@pytest.mark.parametrize("unlike", [0.05, 0.2, 0.35, 0.5])
def test_counted_out_few_pictures_alarm_in_at_most_one_of_forty(
    pictures: int, unlike: float
) -> None:
    # Without a gain, a picture on which two networks are unlike is won or lost with one chance.
    # Networks that know nothing of two classes are unlike on half of them.
    alarm = 0.0
    for won, lost in product(range(pictures + 1), repeat=2):
        tied = pictures - won - lost
        if tied < 0 or float(gains(*answers(won, lost, tied)).low[0]) <= 0:
            continue
        ways = math.comb(pictures, won) * math.comb(pictures - won, lost)
        alarm += ways * (unlike / 2) ** (won + lost) * (1 - unlike) ** tied

    assert alarm <= 0.025


def test_no_difference_on_few_pictures_is_not_certainty() -> None:
    few, many = (gains(*answers(0, 0, count)) for count in (5, 5000))

    assert few.high[0] > 0.35
    assert 0 < float(many.pictures[0]) < 0.001


def oracle(trained: Tensor, untrained: Tensor, overlap: float) -> tuple[float, float]:
    """The derivation in plain loops: tables of 0 and 1 (R, T), (I, R, T)."""
    draws, pictures = trained.shape
    starts = len(untrained)
    before = [[sum(float(untrained[i, r, t]) for r in range(draws)) / draws
               for t in range(pictures)] for i in range(starts)]  # fmt: skip
    after = [sum(float(trained[r, t]) for r in range(draws)) / draws for t in range(pictures)]
    d = [after[t] - sum(b[t] for b in before) / starts for t in range(pictures)]
    unlike = [value for value in d if abs(value) > 1e-9]
    added = math.sqrt(sum(v * v for v in unlike) / len(unlike)) if unlike else 1.0
    centre = sum(d) / (pictures + 2)
    of_pictures = (sum(v * v for v in d) + 2 * added) / (pictures + 2) - centre**2
    of_pictures *= overlap / (pictures + 2)
    accuracy = [sum(b) / pictures for b in before]
    mean = sum(accuracy) / starts
    observed = sum((a - mean) ** 2 for a in accuracy) / (starts - 1)
    by_picture = [sum(b[t] for b in before) / starts for t in range(pictures)]
    rest = sum(
        (before[i][t] - accuracy[i] - by_picture[t] + mean) ** 2
        for i in range(starts)
        for t in range(pictures)
    ) / ((starts - 1) * (pictures - 1))
    noise = overlap * rest / pictures
    p = ((sum(after) / pictures + mean) / 2 * pictures + 1) / (pictures + 2)
    unit = math.sqrt(p * (1 - p))
    spreads = [unit * SPREAD_LIMIT * (k + 0.5) / SPREADS for k in range(SPREADS)]
    f = starts - 1
    weights = [(s**2 + noise) ** (-f / 2) * math.exp(-f * observed / (2 * (s**2 + noise)))
               for s in spreads]  # fmt: skip

    def beyond(margin: float) -> float:
        tails = [norm.sf(margin / math.sqrt(of_pictures + s**2 * (1 + 1 / starts)))
                 for s in spreads]  # fmt: skip
        return sum(w * t for w, t in zip(weights, tails, strict=True)) / sum(weights) - 0.025

    margin = float(brentq(beyond, 0, 2, xtol=1e-12))  # type: ignore[arg-type]
    return centre - margin, centre + margin


@pytest.mark.parametrize("folded", [False, True])
def test_plain_loops_find_the_same_interval(folded: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    trained = torch.rand(2, 40, generator=generator) < 0.7
    untrained = (
        torch.rand(3, 2, 40, generator=generator) < torch.tensor([0.5, 0.6, 0.7])[:, None, None]
    )

    found = Gain.of(trained, untrained, folded=folded)

    expected = oracle(trained, untrained, intervals.OVERLAP if folded else 1.0)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)


def spread_out(deviation: float, *, starts: int, repeats: int, seed: int) -> Tensor:
    """Networks (B, 1 + I, 1, T) on 4,000 pictures, all alike but for their first weights."""
    generator = torch.Generator().manual_seed(seed)
    accuracy = 0.5 + deviation * torch.randn(repeats, 1 + starts, 1, 1, generator=generator)
    hard = torch.randn(repeats, 1, 1, 4000, generator=generator)
    own = torch.randn(repeats, 1 + starts, 1, 4000, generator=generator)
    return (hard + own) / math.sqrt(2) < torch.special.ndtri(accuracy)


@pytest.mark.parametrize("starts", [1, 8])
@pytest.mark.parametrize("deviation", [0.0, 0.01, 0.02])
def test_another_untrained_network_is_seldom_called_learning(starts: int, deviation: float) -> None:
    # 400 experiments: at a chance of 2.5 %, more than 20 come in one of a thousand seeds.
    right = spread_out(deviation, starts=starts, repeats=400, seed=starts)

    assert int((gains(right[:, 0], right[:, 1:]).low > 0).sum()) <= 20


def test_a_gain_is_found_the_more_often_the_less_starts_matter() -> None:
    def found(deviation: float, starts: int) -> float:
        right = spread_out(deviation, starts=starts, repeats=100, seed=9)
        right[:, 0] |= torch.rand(100, 1, 4000, generator=torch.Generator().manual_seed(1)) < 0.06
        return float((gains(right[:, 0], right[:, 1:]).low > 0).double().mean())  # 3 points

    assert found(0.0, 8) > 0.8
    assert found(0.0, 8) > found(0.01, 8) > found(0.02, 8)
    assert found(0.0, 8) > found(0.0, 1)


def test_two_draws_of_one_network_are_no_two_networks() -> None:
    generator = torch.Generator().manual_seed(0)
    trained = torch.rand(1, 1, 300, generator=generator) < 0.6
    untrained = torch.rand(1, 2, 1, 300, generator=generator) < 0.5

    once = gains(trained, untrained)
    twice = gains(trained.repeat(1, 2, 1), untrained.repeat(1, 1, 2, 1))

    assert twice.low == pytest.approx(once.low)
    assert float(twice.labels[0]) == 0.0


def test_luck_of_a_draw_that_all_networks_share_cancels() -> None:
    hard = torch.rand(1, 1, 2000, generator=torch.Generator().manual_seed(0))
    by_draw = torch.tensor([0.4, 0.5, 0.6])[None, :, None]
    trained, untrained = hard < by_draw + 0.1, (hard < by_draw)[:, None].repeat(1, 4, 1, 1)

    found = gains(trained, untrained)

    assert float(found.value[0]) == pytest.approx(0.1, abs=0.02)
    assert float(found.labels[0]) < 0.02
    assert float(found.low[0]) > 0.08


def test_wins_and_losses_are_counted_picture_by_picture() -> None:
    trained, untrained = answers(9, 2, 29)
    found: Any = Gain.of(trained[0], untrained[0])

    assert (found.value, found.won, found.lost) == pytest.approx((7 / 40, 9 / 40, 2 / 40))


def test_one_picture_tells_nothing() -> None:
    found = gains(*answers(1, 0, 0))

    assert float(found.low[0]) < 0 < float(found.high[0]) <= 1
