"""Colour codes: divergence and mixture against other ways to compute them."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from selfsight.layers.color_codes import BOUND, Coder, Painter, closest_cost, divergence


def test_the_divergence_is_that_from_a_standard_normal_distribution() -> None:
    mean, log_variance = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))

    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(dim=1)
    assert torch.allclose(divergence(mean, log_variance), expected, atol=1e-5)
    assert divergence(torch.zeros(1, 3), torch.zeros(1, 3)).item() == 0


def test_a_code_is_compared_with_the_closest_component_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    code, likely = torch.randn(5, 3, generator=generator), torch.randn(5, 4, generator=generator)
    means = torch.randn(5, 4, 3, generator=generator, requires_grad=True)

    found, middles = closest_cost(code, likely, means, 0.5)
    found.sum().backward()

    assert means.grad is not None
    for row in range(5):
        apart = [math.dist(code[row].tolist(), mean) for mean in means[row].tolist()]
        closest = apart.index(min(apart))
        assert torch.equal(middles[row], means[row, closest])
        share = likely[row].exp() / likely[row].exp().sum()
        cost = apart[closest] ** 2 / (2 * 0.5**2) - math.log(share[closest])
        assert found[row].item() == pytest.approx(cost, rel=1e-4)
        moved = means.grad[row].abs().sum(dim=1) > 0
        assert moved.tolist() == [component == closest for component in range(4)]


def test_codes_are_of_fields_of_any_size_and_their_variance_is_bounded() -> None:
    coder = Coder(latent=3, width=8)
    for side in (2, 4, 9):
        mean, log_variance = coder(1000 * torch.randn(4, 2, side, side))

        assert mean.shape == (4, 3)
        assert log_variance.abs().max() <= BOUND


def test_a_code_changes_what_is_painted_everywhere() -> None:
    painter, features = Painter(latent=3, width=8), torch.rand(2, 8, 6, 10)

    first, other = painter(features, torch.zeros(2, 3)), painter(features, torch.ones(2, 3))

    assert first.shape == features.shape
    assert ((other - first).abs().amax(dim=1) > 0).float().mean() > 0.9
