"""Patch dictionary: its convolutions against single patches, and what it takes and refuses."""

import math
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor

from selfsight.encoders import Encoder, build, load, save
from selfsight.encoders.patch_dictionary import (
    LEAST_VARIANCE,
    SelfsightPatchDictionary,
    standardised_patches,
)
from selfsight.errors import UsageError

PATCH = 6


def made(
    *, size: int = 12, channels: int = 3, centroids: int = 5, patch: int = PATCH, stride: int = 1
) -> Encoder:
    """A dictionary of random numbers, in the form that a fit leaves."""
    generator = torch.Generator().manual_seed(0)
    arguments = {"centroids": centroids, "patch": patch, "stride": stride}
    encoder = build("patch-dictionary", size=size, channels=channels, arguments=arguments).eval()
    numbers = channels * patch**2
    network_of(encoder).take(
        0.2 * torch.randn(numbers, generator=generator),
        torch.randn(numbers, numbers, generator=generator) / numbers**0.5,
        torch.randn(centroids, numbers, generator=generator),
    )
    return encoder


def network_of(encoder: Encoder) -> SelfsightPatchDictionary:
    return cast(SelfsightPatchDictionary, encoder.model)


def one_by_one(network: SelfsightPatchDictionary, fed: Tensor) -> Tensor:
    """The paper's sections 3.1 to 3.3 in float64, a patch at a time: (C, S, S) -> (K, 2, 2)."""
    side, step = network.patch, network.stride
    count = (fed.shape[-1] - side) // step + 1
    code = torch.zeros(count, count, len(network.centroids), dtype=torch.float64)
    for i in range(count):
        for j in range(count):
            x = fed[:, i * step : i * step + side, j * step : j * step + side].double().flatten()
            x = (x - x.mean()) / (x.var() + LEAST_VARIANCE).sqrt()
            z = (x - network.middle.double()) @ network.whitening.double()
            distances = torch.stack([(z - c).norm() for c in network.centroids.double()])
            code[i, j] = (distances.mean() - distances).clamp(min=0)
    half = math.ceil(count / 2)
    first, last = slice(0, half), slice(count - half, count)
    means = [[code[r, c].mean(dim=(0, 1)) for c in (first, last)] for r in (first, last)]
    return torch.stack([torch.stack(row, dim=-1) for row in means], dim=-2)


@pytest.mark.parametrize(
    ("size", "channels", "patch", "stride"),
    [(12, 3, 6, 1), (13, 1, 6, 1), (12, 4, 5, 1), (15, 3, 4, 2), (7, 3, 6, 1)],
)
@torch.no_grad()
def test_convolutions_give_the_papers_code_patch_by_patch(
    size: int, channels: int, patch: int, stride: int
) -> None:
    encoder = made(size=size, channels=channels, patch=patch, stride=stride)
    pictures = torch.rand(6, channels, size, size)

    code = encoder.layers(pictures)["quadrants"]

    expected = torch.stack([one_by_one(network_of(encoder), (p - 0.5) / 0.25) for p in pictures])
    assert code.shape == (6, 5, 2, 2)
    assert torch.allclose(code.double(), expected, atol=1e-5)
    assert expected.max() > 0.05  # not nothing beside nothing


@torch.no_grad()
def test_a_patch_that_is_a_centroid_is_at_distance_0() -> None:
    # Two centroids, and a picture of one patch only (7 px have two by two places, all flat): it
    # lies on the first, so that d = (0, 5), its mean 2.5, and the code (2.5, 0).
    encoder = build("patch-dictionary", size=7, channels=1, arguments={"centroids": 2}).eval()
    centroids = torch.zeros(2, 36)
    centroids[1, :2] = torch.tensor([3.0, 4.0])
    network_of(encoder).take(torch.zeros(36), torch.eye(36), centroids)

    code = encoder.layers(torch.full((1, 1, 7, 7), 0.3))["quadrants"]

    assert torch.allclose(code[0, 0], torch.full((2, 2), 2.5), atol=1e-4)
    assert torch.allclose(code[0, 1], torch.zeros(2, 2), atol=1e-4)


def test_patches_are_standardised_by_hand() -> None:
    # Mean 2, squared distances 1, 1, 1, 1, so the variance of the sample is 4/3.
    rows = torch.tensor([[1.0, 3.0, 1.0, 3.0], [5.0, 5.0, 5.0, 5.0]])
    one = 1 / math.sqrt(4 / 3 + LEAST_VARIANCE)

    expected = torch.tensor([[-one, one, -one, one], [0, 0, 0, 0]])
    assert torch.allclose(standardised_patches(rows), expected, atol=1e-6)


@torch.no_grad()
def test_brightness_and_contrast_hardly_change_the_code() -> None:
    encoder, pictures = made(), torch.rand(4, 3, 12, 12)

    paler = encoder(0.5 * pictures + 0.4)

    assert torch.allclose(paler, encoder(pictures), atol=0.02)


@torch.no_grad()
def test_what_is_in_a_quadrant_is_seen_there() -> None:
    encoder, pictures = made(size=24), torch.rand(1, 3, 24, 24)
    other = pictures.clone()
    other[..., 16:, 16:] = torch.rand(3, 8, 8)

    changed = (encoder.layers(pictures)["quadrants"] - encoder.layers(other)["quadrants"]).abs()

    assert changed[..., 0, 0].max() < 1e-5
    assert changed[..., 1, 1].max() > 0.01


@torch.no_grad()
def test_features_are_the_four_quadrants_of_every_centroid() -> None:
    encoder = made()
    pictures = torch.rand(9, 3, 12, 12)  # more than are coded at once

    features = encoder(pictures)

    assert encoder.dim == 20
    assert encoder.layer_names == ("quadrants",)
    assert torch.equal(features, encoder.layers(pictures)["quadrants"].flatten(1))
    assert torch.allclose(features[8:], encoder(pictures[8:]), atol=1e-6)


@torch.no_grad()
def test_larger_pictures_are_looked_at_as_small_ones() -> None:
    encoder = build("patch-dictionary", size=96, arguments={"centroids": 5}).eval()
    small = torch.rand(2, 3, 32, 32)
    large = small.repeat_interleave(3, dim=2).repeat_interleave(3, dim=3)

    smaller = network_of(encoder).reduced(large)

    assert smaller.shape == small.shape
    assert encoder(large).shape == encoder(small).shape
    assert encoder.layer_strides == {"quadrants": 48}


def test_no_gradient_reaches_it_and_fresh_ones_differ() -> None:
    encoder, other = (build("patch-dictionary", size=12) for _ in range(2))

    assert not any(p.requires_grad for p in encoder.parameters())
    first, second = network_of(encoder).centroids, network_of(other).centroids
    assert not torch.equal(first, second)
    assert torch.allclose(first.norm(dim=1), torch.ones(400))


@torch.no_grad()
def test_it_comes_back_from_its_files(tmp_path: Path) -> None:
    encoder, pictures = made(), torch.rand(2, 3, 12, 12)

    save(encoder, tmp_path)

    assert torch.equal(load(tmp_path)(pictures), encoder(pictures))


@torch.no_grad()
def test_bf16_is_near() -> None:
    encoder, pictures = made(), torch.rand(4, 3, 12, 12)

    with torch.autocast("cpu", torch.bfloat16):
        features = encoder(pictures)

    assert features.dtype == torch.float32
    assert torch.allclose(features, encoder(pictures), atol=0.05)


def test_what_is_too_small_is_refused() -> None:
    said = "a dictionary of 6 px patches needs pictures of at least 7 px, got 6"
    with pytest.raises(UsageError, match=said):
        build("patch-dictionary", size=6)
    with pytest.raises(ValueError, match="at least 2 and a side above the patch's, got 1, 6 and"):
        SelfsightPatchDictionary(centroids=1)
    with pytest.raises(ValueError, match="got 400, 32 and 32"):
        SelfsightPatchDictionary(patch=32)
