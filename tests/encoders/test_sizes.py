"""Sizes: the sides an encoder takes, the nearest possible ones, and refusals that name them."""

import pytest
import torch

from selfsight.encoders import build, fitting_size, size_step
from selfsight.errors import UsageError


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("small", 1),
        ("resnet18", 1),
        ("pvt_v2_b0", 1),  # its patches of 7 px overlap, and are no grid
        ("vit_tiny_patch16_224", 16),
        ("eva02_tiny_patch14_224", 14),
        ("swin_tiny_patch4_window7_224", 4),
    ],
)
def test_the_step_is_the_patch(name: str, step: int) -> None:
    assert size_step(name) == step


@pytest.mark.parametrize(
    ("name", "wanted", "nearest"),
    [
        ("small", 32, 32),
        ("small", 50, 50),
        ("alexnet", 32, 64),
        ("eva02_tiny_patch14_224", 32, 28),
        ("eva02_tiny_patch14_224", 64, 70),
        ("eva02_tiny_patch14_224", 224, 224),
        ("vit_tiny_patch16_224", 100, 96),
        ("test_coatnet", 112, 128),  # branches that are joined again: multiples of 32 only
        ("no_such_network", 48, 48),
    ],
)
def test_the_nearest_side_is_chosen(name: str, wanted: int, nearest: int) -> None:
    assert fitting_size(name, wanted) == nearest


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "swin_tiny_patch4_window7_224"])
@torch.no_grad()
def test_a_side_that_is_said_to_fit_fits(name: str) -> None:
    side = fitting_size(name, 50)
    encoder = build(name, size=side).eval()

    assert encoder(torch.rand(1, 3, side, side)).shape == (1, encoder.dim)


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("eva02_tiny_patch14_224", 32, r"multiple of its patches' 14 px; give --size 28 or 42"),
        ("vit_tiny_patch16_224", 100, r"multiple of its patches' 16 px; give --size 96 or 112"),
        ("vit_tiny_patch16_224", 9, r"multiple of its patches' 16 px; give --size 16$"),
        ("test_coatnet", 112, r"layers do not fit together at this side; give --size 96 or 128"),
    ],
)
def test_a_side_that_does_not_fit_is_refused_with_the_nearest(
    name: str, size: int, said: str
) -> None:
    with pytest.raises(UsageError, match=rf"{name}' cannot be built for .*{said}"):
        build(name, size=size)


def test_trying_sides_leaves_torchs_generator_alone() -> None:
    state = torch.get_rng_state()
    fitting_size("vit_tiny_patch16_224", 40)

    assert torch.equal(torch.get_rng_state(), state)
