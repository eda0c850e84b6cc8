"""AlexNet: the sides of its maps by hand, and what is too small for it."""

import math

import pytest
import torch
from torch import nn

from selfsight.encoders import Encoder, build
from selfsight.errors import UsageError

WIDTHS = (96, 256, 384, 384, 256)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("alexnet", size=64, channels=2).eval()


@torch.no_grad()
@pytest.mark.parametrize(
    ("side", "sides"),
    [
        # (224 + 4 - 11) / 4 + 1 = 55; pooled (55 - 3) / 2 + 1 = 27, then 13
        (224, (55, 27, 13, 13, 13)),
        # (64 + 4 - 11) / 4 + 1 = 15, rounded down; pooled 7, then 3
        (64, (15, 7, 3, 3, 3)),
        (63, (15, 7, 3, 3, 3)),
    ],
)
def test_maps_have_the_sides_worked_by_hand(
    encoder: Encoder, side: int, sides: tuple[int, ...]
) -> None:
    maps = encoder.layers(torch.rand(1, 2, side, side))

    assert tuple(maps) == ("conv1", "conv2", "conv3", "conv4", "conv5")
    found = [tuple(m.shape[1:]) for m in maps.values()]
    assert found == [(width, s, s) for width, s in zip(WIDTHS, sides, strict=True)]


@pytest.mark.parametrize("side", [63, 64, 100, 224])
def test_strides_are_those_of_the_layers_whatever_the_side(side: int) -> None:
    assert tuple(build("alexnet", size=side).layer_strides.values()) == (4, 8, 16, 16, 16)


def test_weights_are_as_many_as_the_layers_have(encoder: Encoder) -> None:
    before = (2, *WIDTHS[:-1])
    areas = (11 * 11, 5 * 5, 9, 9, 9)
    filters = sum(b * a * area for b, a, area in zip(before, WIDTHS, areas, strict=True))

    assert sum(p.numel() for p in encoder.parameters()) == filters + 2 * sum(WIDTHS)


@torch.no_grad()
def test_layers_are_read_after_relu_and_before_pooling(encoder: Encoder) -> None:
    pictures = torch.rand(2, 2, 64, 64)
    maps = encoder.layers(pictures)

    pooled = nn.functional.max_pool2d(maps["conv1"], 3, stride=2)
    model = dict(encoder.model.named_children())
    assert all((m >= 0).all() for m in maps.values())
    assert torch.equal(model["conv2"](pooled), maps["conv2"])
    assert torch.allclose(encoder(pictures), maps["conv5"].mean(dim=(2, 3)), atol=1e-6)


def test_weights_begin_with_hes_deviation(encoder: Encoder) -> None:
    convolutions = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]

    for convolution, width in zip(convolutions, WIDTHS, strict=True):
        expected = math.sqrt(2 / (width * convolution.kernel_size[0] ** 2))
        assert convolution.weight.std().item() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("side", [32, 62])
def test_pictures_too_small_are_refused_with_a_side_that_works(side: int) -> None:
    said = rf"AlexNet needs pictures of at least 63 px, got {side}; give --size 64"
    with pytest.raises(UsageError, match=said):
        build("alexnet", size=side)


def test_there_are_no_pretrained_weights() -> None:
    import timm

    with pytest.raises(RuntimeError, match="no pretrained weights of selfsight_alexnet exist"):
        timm.create_model("selfsight_alexnet", pretrained=True)
