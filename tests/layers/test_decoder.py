"""Decoder: which layers are read, and what grid the answer has."""

import pytest
import torch

from selfsight.encoders import Encoder, build
from selfsight.layers.decoder import Decoder


def encoder(size: int = 32) -> Encoder:
    return build("small", size=size, arguments={"stem": 8, "widths": (8, 16)})


@pytest.mark.parametrize(("stride", "layers"), [(2, 3), (4, 2), (8, 1), (32, 1)])
def test_layers_finer_than_the_answer_are_not_read(stride: int, layers: int) -> None:
    assert len(Decoder(encoder(), 5, stride=stride, width=4).layers) == layers


@pytest.mark.parametrize(
    ("size", "grid"), [(32, (8, 8)), (30, (8, 8)), ((32, 48), (8, 12)), ((18, 16), (5, 4))]
)
def test_the_grid_covers_the_picture(size: int | tuple[int, int], grid: tuple[int, int]) -> None:
    sides = (size, size) if isinstance(size, int) else size
    network = encoder()
    maps = network.layers(torch.rand(2, 3, *sides))

    assert Decoder(network, 5, stride=4)(maps, size).shape == (2, 5, *grid)


def test_the_first_answer_is_nearly_its_bias() -> None:
    network = encoder()
    decoder = Decoder(network, 5, stride=4)

    answer = decoder(network.layers(torch.rand(4, 3, 32, 32)), 32)

    assert answer.abs().max() < 0.5


def test_what_is_at_a_place_is_answered_there() -> None:
    network = encoder().eval()
    decoder = Decoder(network, 1, stride=4).eval()
    plain, marked = torch.full((2, 1, 3, 32, 32), 0.5)
    marked[..., 24:28, 4:8] = 1

    with torch.no_grad():
        answers = [decoder(network.layers(picture), 32) for picture in (plain, marked)]

    changed = (answers[1] - answers[0])[0, 0].abs()
    assert changed[4:, :4].sum() > 0.8 * changed.sum()
