"""Shown: any stored picture becomes (H, W, 3) bytes, 16 bits stretched to their own range."""

import pytest
import torch

from selfsight.looks.screen import screen_pixels


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_every_kind_becomes_three_bytes(channels: int, dtype: torch.dtype) -> None:
    shown = screen_pixels(torch.ones(channels, 4, 6).to(dtype))

    assert shown.shape == (4, 6, 3)
    assert shown.dtype.name == "uint8"


def test_bytes_are_shown_as_they_are() -> None:
    picture = torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1)

    assert screen_pixels(picture).tolist() == [[[10, 20, 30]]]


def test_twelve_bits_in_sixteen_are_stretched_to_the_whole_range() -> None:
    picture = (
        torch.linspace(1000, 4095, 200).round().to(torch.int32).to(torch.uint16).view(1, 10, 20)
    )
    shown = screen_pixels(picture)

    assert shown.min() == 0
    assert shown.max() == 255
    assert abs(int(shown[5, 0, 0]) - 128) < 5


def test_two_channels_are_shown_as_their_mean_and_five_as_the_first_three() -> None:
    assert screen_pixels(torch.tensor([10, 20], dtype=torch.uint8).view(2, 1, 1)).tolist() == [
        [[15] * 3]
    ]
    five = torch.tensor([1, 2, 3, 4, 5], dtype=torch.uint8).view(5, 1, 1)
    assert screen_pixels(five).tolist() == [[[1, 2, 3]]]
