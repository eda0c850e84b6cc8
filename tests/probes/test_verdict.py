"""Verdict: planted networks whose word is known beforehand, and the numbers behind it by hand."""

import math

import pytest
import torch

from noise import noise
from selfsight.data.pictures.likeness import likeness_warning
from selfsight.errors import SelfsightError
from selfsight.probes.verdict import (
    LEAST_RANK,
    LEAST_SPREAD,
    SPREAD_SHARE,
    WORTH_HAVING,
    Shape,
    Solved,
    effective_rank,
    in_percent,
    judge_labelled,
    judge_unlabelled,
    spread,
)

WELL = Shape(spread=0.5, rank=20.0)


def features(seed: int, *, rows: int = 400, dim: int = 16) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def test_directions_anywhere_alike_have_spread_1() -> None:
    assert spread(features(0, rows=4000)) == pytest.approx(1, abs=0.01)
    assert spread(features(0) * torch.rand(400, 1)) == pytest.approx(1, abs=0.02)  # not lengths


def test_two_opposite_directions_have_spread_by_hand() -> None:
    # (1, 0) and (-1, 0): deviations 1 and 0, mean 1/2, times sqrt 2.
    assert spread(torch.tensor([[3.0, 0.0], [-2.0, 0.0]])) == pytest.approx(math.sqrt(2) / 2)


def test_equal_features_have_neither_spread_nor_rank() -> None:
    for value in (0.0, 0.7, 1e4):
        assert spread(torch.full((50, 8), value)) == pytest.approx(0, abs=1e-6)
        assert effective_rank(torch.full((50, 8), value)) == 0.0
    noise = 1 + 1e-8 * features(0, rows=50, dim=8).double()
    assert effective_rank(noise) == 0.0  # rounding is no direction


def test_rank_counts_directions() -> None:
    line = torch.linspace(-1, 1, 50)[:, None] * torch.tensor([1.0, 2.0, 3.0]) + 5
    assert effective_rank(line) == pytest.approx(1, abs=1e-4)
    corners = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    assert effective_rank(corners) == pytest.approx(2)
    # Singular values sqrt 18 and sqrt 2 of shares 3/4 and 1/4.
    stretched = corners * torch.tensor([3.0, 1.0])
    assert effective_rank(stretched) == pytest.approx((4 / 3) ** 0.75 * 4**0.25)


def test_a_constant_encoder_has_collapsed() -> None:
    verdict = judge_labelled(
        Shape.of(torch.ones(400, 16)),
        Shape.of(features(1)),
        accuracy=0.1,
        untrained_accuracy=0.3,
        gain_low=-0.21,
        gain_high=-0.19,
    )

    assert verdict.word == "collapsed"
    assert "spread" in verdict.reasons[0]
    assert "effective rank is 0.00" in verdict.reasons[1]


def test_an_encoder_that_points_one_way_has_collapsed_even_if_it_gains() -> None:
    nearly = 100 + features(0)
    verdict = judge_labelled(
        Shape.of(nearly),
        Shape.of(features(1)),
        accuracy=0.5,
        untrained_accuracy=0.3,
        gain_low=0.1,
        gain_high=0.3,
    )

    assert verdict.word == "collapsed"
    assert Shape.of(nearly).rank > LEAST_RANK
    assert Shape.of(nearly).spread < SPREAD_SHARE


def test_an_encoder_on_a_line_has_collapsed() -> None:
    line = features(0, dim=1) * torch.ones(16) + 1e-5 * features(1)

    verdict = judge_unlabelled(Shape.of(line), WELL, [Solved("toy", 0.1, 1.0)])

    assert verdict.word == "collapsed"
    assert "hardly more than one direction" in verdict.reasons[0]


def test_a_gain_above_zero_is_learning_and_names_pixels() -> None:
    verdict = judge_labelled(
        WELL,
        WELL,
        accuracy=0.61,
        untrained_accuracy=0.48,
        gain_low=0.12,
        gain_high=0.14,
        pixels=0.38,
    )

    assert verdict.word == "learning"
    assert verdict.reasons == (
        "It reaches 61.0% and the untrained network 48.0%; the gain's 95 % interval, from +12.0 to "
        "+14.0 points, lies above zero.",
        "Raw pixels reach 38.0%; the network is 23.0 points above.",
    )


def test_pixels_above_the_network_are_said_plainly() -> None:
    verdict = judge_labelled(
        WELL,
        WELL,
        accuracy=0.35,
        untrained_accuracy=0.3,
        gain_low=0.02,
        gain_high=0.08,
        pixels=0.38,
    )

    assert verdict.word == "learning"
    assert verdict.reasons[1].startswith("The network is not above raw pixels: they reach 38.0%")


@pytest.mark.parametrize(
    ("accuracy", "said"), [(0.61, "5.8 points below"), (0.7, "3.2 points above")]
)
def test_the_patch_dictionary_is_named_and_does_not_decide(accuracy: float, said: str) -> None:
    verdict = judge_labelled(
        WELL,
        WELL,
        accuracy=accuracy,
        untrained_accuracy=0.48,
        gain_low=0.12,
        gain_high=0.14,
        pixels=0.38,
        dictionary=0.668,
    )

    assert verdict.word == "learning"
    assert verdict.reasons[2] == (
        f"A dictionary of patches, fitted without gradients, reaches 66.8%; the network is {said}."
    )


@pytest.mark.parametrize("high", [WORTH_HAVING, 0.05])
@pytest.mark.parametrize("low", [0.0, -0.01])
def test_an_interval_that_holds_none_and_a_gain_worth_having_is_too_close(
    low: float, high: float
) -> None:
    verdict = judge_labelled(
        WELL,
        WELL,
        accuracy=0.5,
        untrained_accuracy=0.48,
        gain_low=low,
        gain_high=high,
        narrow="More pictures would narrow it.",
    )

    assert verdict.word == "too close to tell"
    assert verdict.reasons[0].endswith("holds both none and 1.0 points, the least worth having.")
    assert verdict.reasons[1:] == ("More pictures would narrow it.",)  # nothing of pixels


@pytest.mark.parametrize(("low", "high"), [(-0.01, 0.009), (0.0, 0.0), (-0.08, -0.02)])
def test_no_gain_is_said_only_where_one_worth_having_is_excluded(low: float, high: float) -> None:
    verdict = judge_labelled(
        WELL,
        WELL,
        accuracy=0.5,
        untrained_accuracy=0.5,
        gain_low=low,
        gain_high=high,
        narrow="More pictures would narrow it.",
    )

    assert verdict.word == "no better than untrained"
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].endswith("lies below 1.0 points, the least worth having.")


def test_a_small_gain_that_is_sure_is_learning() -> None:
    verdict = judge_labelled(
        WELL, WELL, accuracy=0.505, untrained_accuracy=0.5, gain_low=0.001, gain_high=0.009
    )

    assert verdict.word == "learning"


def test_without_labels_it_is_unknown_and_says_what_to_do() -> None:
    verdict = judge_unlabelled(WELL, WELL, [Solved("toy", 0.693, 1.386, 0.7)])

    assert verdict.word == "unknown"
    assert "0.693 where a blind guess costs 1.386 (50% less), with 70.0%" in verdict.reasons[0]
    assert "have not collapsed" in verdict.reasons[1]
    assert "label fifty pictures to know" in verdict.reasons[2]


def test_an_unsolved_pretext_task_is_said_plainly() -> None:
    verdict = judge_unlabelled(WELL, WELL, [Solved("toy", 1.4, 1.386)])

    assert verdict.word == "unknown"
    assert "no better than by a blind guess" in verdict.reasons[0]


def test_a_task_without_a_blind_cost_is_reported_all_the_same() -> None:
    verdict = judge_unlabelled(WELL, WELL, [Solved("toy", -0.9, None)])

    assert verdict.reasons[0].startswith("The pretext task's loss is -0.900")


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_features_that_never_differ_have_collapsed_even_if_the_untrained_ones_did_not_either(
    value: float,
) -> None:
    same = Shape.of(torch.full((200, 16), value))

    verdict = judge_unlabelled(same, same, [Solved("toy", 0.1, 1.0)])

    assert verdict.word == "collapsed"
    assert "is 0.0000, under 0.002, and the untrained network's 0.0000" in verdict.reasons[0]


def test_features_of_little_spread_like_the_untrained_ones_have_not_collapsed() -> None:
    narrow = Shape.of(30 + features(0))  # all in nearly one direction, and still apart

    assert LEAST_SPREAD < narrow.spread < 0.04
    assert judge_unlabelled(narrow, narrow, [Solved("toy", 0.1, 1.0)]).word == "unknown"


def test_features_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(SelfsightError, match="features must be finite"):
        Shape.of(torch.full((4, 4), float("nan")))


def test_black_pictures_and_copies_are_all_alike() -> None:
    black, copies = torch.zeros(20, 3, 8, 8), noise(1, 3, 8, 8).expand(20, 3, 8, 8)

    assert "all alike (of one plain colour): the 20 examined" in str(likeness_warning(black))
    assert "all alike (copies of one): the 20 examined" in str(likeness_warning(copies))


@pytest.mark.parametrize(("steps", "are_alike"), [(0.5, True), (3.0, False)])
def test_less_than_a_step_of_brightness_is_no_difference(steps: float, are_alike: bool) -> None:
    copies = noise(1, 3, 8, 8) + steps / 255 * (noise(20, 3, 8, 8) - 0.5).sign()

    assert (likeness_warning(copies) is not None) == are_alike
    assert likeness_warning(copies, bits=16) is None  # there a step is a 257th of it


def test_one_bright_point_in_a_thousand_is_a_difference() -> None:
    stars = torch.zeros(20, 1, 32, 32)
    stars[torch.arange(20), 0, torch.arange(20), 7] = 0.5

    assert likeness_warning(stars) is None


def test_pictures_that_are_all_alike_are_named_first() -> None:
    same = Shape.of(torch.ones(20, 4))

    verdict = judge_unlabelled(same, same, [Solved("toy", 0.1, 1.0)], of_pictures="All alike.")

    assert (verdict.word, verdict.reasons[0]) == ("collapsed", "All alike.")


@pytest.mark.parametrize("loss", [1.38629, 1.4, float("nan")])
def test_a_loss_that_reads_like_a_blind_guess_is_no_better(loss: float) -> None:
    (said, *_) = judge_unlabelled(WELL, WELL, [Solved("toy", loss, math.log(4))]).reasons

    assert "no better than by a blind guess" in said


def test_guessing_stands_beside_the_answers_that_are_right() -> None:
    (said, *_) = judge_unlabelled(WELL, WELL, [Solved("toy", 0.15, 0.2, 0.96, 0.95)]).reasons

    assert said.endswith("with 96.0% of its answers right (95.0% by guessing).")


def test_labels_that_are_there_are_not_asked_for() -> None:
    verdict = judge_unlabelled(WELL, WELL, [Solved("toy", 0.5, 1.0)], labelled=True)

    assert "label fifty" not in " ".join(verdict.reasons)
    assert verdict.reasons[-1].endswith("the labels that are there can tell.")


@pytest.mark.parametrize(
    ("share", "shown"), [(0.6345, 63.5), (0.63446, 63.5), (0.6344, 63.4), (-0.0045, -0.5), (1, 100)]
)
def test_a_share_is_rounded_as_records_keep_it(share: float, shown: float) -> None:
    assert in_percent(share) == shown
    assert in_percent(round(share, 4)) == shown


def test_a_difference_is_that_of_the_numbers_shown() -> None:
    verdict = judge_labelled(
        WELL,
        WELL,
        accuracy=0.63449,  # shown as 63.4
        untrained_accuracy=0.5,
        gain_low=0.1,
        gain_high=0.2,
        pixels=0.38451,  # shown as 38.5
    )

    assert "Raw pixels reach 38.5%; the network is 25.0 points above." in verdict.reasons
