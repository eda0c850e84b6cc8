"""Invariance: grey is grey, a full turn of hue is none, and shares are counted by hand."""

from collections.abc import Callable

import pytest
import torch

from selfsight.looks.neighbours.invariance import (
    HUE_TURNS,
    changes,
    colour_record,
    hue_turned,
    is_coloured,
    why_not,
    without_saturation,
)
from selfsight.looks.neighbours.search import Search


def coloured(count: int = 12, side: int = 6) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_without_saturation_every_channel_is_the_luma() -> None:
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)

    assert without_saturation(red).flatten().tolist() == pytest.approx([0.299] * 3, abs=1e-5)


def test_hue_turns_keep_the_luma_and_a_full_turn_changes_nothing() -> None:
    muted = 0.5 + 0.1 * (coloured() - 0.5)  # no colour leaves [0, 1]
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    turned = hue_turned(muted, 1 / 4)

    assert (turned - muted).abs().max() > 0.02
    assert (turned * luma).sum(1).allclose((muted * luma).sum(1), atol=1e-3)
    assert hue_turned(muted, 1.0).allclose(muted, atol=1e-4)


def test_a_network_blind_to_colour_keeps_everything_and_pixels_do_not() -> None:
    # Muted, so that no hue leaves the range and is cut off.
    pictures = 0.5 + 0.2 * (coloured(60) - 0.5)
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)

    def record(see: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, object]:
        search = Search(see(pictures), torch.arange(60))
        found = {
            n: search(see(c(pictures)), 5, torch.arange(60)).rows for n, c in changes().items()
        }
        return colour_record(search(see(pictures), 5, torch.arange(60)).rows, found)

    def centred(features: torch.Tensor) -> torch.Tensor:
        return (features - 0.5).flatten(1)

    blind = record(lambda images: centred((images * luma).sum(1)).round(decimals=3))
    pixels = record(centred)

    assert isinstance(blind["grey_kept"], float)
    assert isinstance(pixels["grey_kept"], float)
    assert blind["grey_kept"] == 1.0
    assert blind["hue_kept"] == pytest.approx(1.0, abs=0.02)  # YIQ's weights are rounded
    assert pixels["grey_kept"] < 0.8


def test_the_record_is_the_share_by_hand_and_its_mean_over_turns() -> None:
    before = torch.tensor([[0, 1], [2, 3]])
    names = [name for name in changes() if name != "grey"]
    after = {"grey": torch.tensor([[1, 9], [3, 2]])}  # one of two, two of two
    after |= {name: torch.tensor([[8, 9], [3, 9]]) for name in names}  # none, one of two
    record = colour_record(before, after)

    assert record == {
        "grey_kept": 0.75,
        "hue_kept": 0.25,
        "hue_kept_by_turn": dict.fromkeys(names, 0.25),
    }
    assert len(names) == len(HUE_TURNS)


def test_grey_pictures_in_three_channels_are_told_from_coloured_ones() -> None:
    grey = torch.full((1, 3, 8, 8), 0.4)
    grey[:, 0] += 1 / 255  # what JPEG's rounding leaves
    red = torch.full((1, 3, 8, 8), 0.4)
    red[:, 0] += 0.1

    assert is_coloured(torch.cat([grey, red])).tolist() == [False, True]
    assert is_coloured(torch.rand(2, 5, 8, 8)).tolist() == [False, False]


def test_what_cannot_be_measured_has_a_reason_and_no_number() -> None:
    assert "one channel" in (why_not(1, 0) or "")
    assert "have 4" in (why_not(4, 0) or "")
    assert "grey already" in (why_not(3, 0) or "")
    assert why_not(3, 1) is None
