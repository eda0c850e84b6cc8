"""Large: photographs worked on piece by piece look like those worked on at once."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.encoders.cielab import lightness, rgb
from selfsight.looks.photographs.large import as_bytes, colour_photograph, fill_photograph, windows


def smooth(height: int, width: int, channels: int = 3, seed: int = 0) -> Tensor:
    noise = torch.rand(1, channels, 4, 5, generator=torch.Generator().manual_seed(seed))
    picture = F.interpolate(noise, size=(height, width), mode="bicubic").clamp(0, 1)[0]
    return (255 * picture).to(torch.uint8)


def answer(pictures: Tensor) -> Tensor:
    """Colour one picture in two ways, by faint fields of 3 x 3 colours that screens can show."""
    fields = 12 * torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    spread = F.interpolate(fields, size=pictures.shape[-2:], mode="bilinear")
    levels = 100 * lightness(pictures).clamp(0.3, 0.8).expand(2, -1, -1, -1)
    return rgb(torch.cat([levels, spread], dim=1))


def test_strips_of_a_large_photograph_look_like_the_whole() -> None:
    pixels = as_bytes(0.3 + 0.4 * smooth(500, 700).float() / 255)
    whole = colour_photograph(pixels, answer, 2)
    strips = colour_photograph(pixels, answer, 2, at_once=150_000)

    for one, other in zip(whole, strips, strict=True):
        apart = (one.int() - other.int()).abs().float()
        assert other.shape == (3, 500, 700)
        assert apart.mean() < 1
        assert apart.max() < 12


def test_the_reduced_copy_is_all_that_the_network_sees() -> None:
    seen: list[int] = []

    def watching(pictures: Tensor) -> Tensor:
        seen.append(pictures.shape[-2] * pictures.shape[-1])
        return answer(pictures)

    colour_photograph(smooth(600, 800), watching, 2, at_once=200_000)

    assert seen == [pytest.approx(100_000, rel=0.01)]


def test_sixteen_bits_are_coloured_as_eight() -> None:
    pixels = smooth(20, 30)
    deep = (pixels.int() * 257).to(torch.uint16)

    for one, other in zip(
        colour_photograph(pixels, answer, 2), colour_photograph(deep, answer, 2), strict=True
    ):
        assert one.equal(other)


def hole_of(height: int, width: int, *boxes: tuple[int, int, int, int]) -> Tensor:
    hole = torch.zeros(height, width, dtype=torch.bool)
    for top, left, high, wide in boxes:
        hole[top : top + high, left : left + wide] = True
    return hole


def white(pictures: Tensor, hole: Tensor) -> Tensor:
    return torch.where(hole, torch.ones_like(pictures), pictures)


def test_windows_hold_their_hole_and_room_for_what_is_looked_at() -> None:
    hole = hole_of(900, 1200, (100, 200, 40, 60), (700, 1150, 50, 50))
    covered = torch.zeros_like(hole)
    for window, inner in windows(hole, least=32, share=0.25):
        covered[inner] = True
        (rows, columns), (inside, beside) = window, inner
        reach = 2 * max(inside.stop - inside.start, beside.stop - beside.start)
        assert rows.start == max(0, inside.start - reach)
        assert columns.stop == min(1200, beside.stop + reach)
        assert (rows.stop - rows.start) * (columns.stop - columns.start) < 0.3 * hole.numel()

    assert covered[hole].all()


def test_holes_are_filled_in_windows_as_in_the_whole() -> None:
    pixels = smooth(300, 400)
    hole = hole_of(300, 400, (10, 10, 20, 30), (250, 350, 30, 50), (140, 100, 9, 9))
    whole = fill_photograph(pixels, hole, white, least=16, share=0.25)
    parts = fill_photograph(pixels, hole, white, least=16, share=0.25, at_once=1000)

    assert whole[:, hole].eq(255).all()
    assert whole[:, ~hole].equal(pixels[:, ~hole])
    assert parts.equal(whole)


def test_the_photograph_itself_is_left_alone() -> None:
    pixels = smooth(40, 40)
    before = pixels.clone()
    fill_photograph(pixels, hole_of(40, 40, (5, 5, 5, 5)), white, least=16, share=0.25)

    assert pixels.equal(before)
