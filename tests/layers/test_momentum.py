"""Momentum encoder: a step by hand, no gradients, and its own batch statistics."""

import pytest
import torch
from torch import nn

from selfsight.layers.momentum import MomentumEncoder


def networks() -> tuple[nn.Module, nn.Module]:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3))
    return encoder, nn.Linear(3, 2)


def weights(network: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in network.parameters()]


def test_it_begins_equal_and_shares_nothing() -> None:
    encoder, head = networks()

    follower = MomentumEncoder(encoder, head)

    for mine, theirs in zip(follower.encoder.parameters(), encoder.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.data_ptr() != theirs.data_ptr()


def test_a_step_keeps_nine_tenths_and_takes_one() -> None:
    encoder, head = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    for weight in (encoder.weight, head.weight):
        nn.init.constant_(weight, 1.0)
    follower = MomentumEncoder(encoder, head)
    nn.init.constant_(encoder.weight, 3.0)
    nn.init.constant_(head.weight, -1.0)

    follower.follow(encoder, head, 0.9)
    assert [w.item() for w in weights(follower)] == pytest.approx([1.2, 0.8])

    follower.follow(encoder, head, 0.9)
    assert [w.item() for w in weights(follower)] == pytest.approx([1.38, 0.62])


def test_without_momentum_it_is_a_copy_after_every_step() -> None:
    encoder, head = networks()
    follower = MomentumEncoder(encoder, head)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter)

    follower.follow(encoder, head, 0.0)

    followed = [*encoder.parameters(), *head.parameters()]
    assert all(map(torch.equal, weights(follower), followed))


def test_statistics_are_those_of_its_own_batches() -> None:
    encoder, head = networks()
    follower = MomentumEncoder(encoder, head)
    before = encoder[2].running_mean.clone()  # pyright: ignore[reportIndexIssue]

    follower(torch.randn(8, 1, 2, 2) + 5)
    follower.follow(encoder, head, 0.0)

    assert torch.equal(encoder[2].running_mean, before)  # pyright: ignore[reportIndexIssue]
    assert not torch.equal(follower.encoder[2].running_mean, before)  # pyright: ignore[reportIndexIssue]


def test_keys_are_of_length_1_and_have_no_gradient() -> None:
    follower = MomentumEncoder(*networks())

    keys = follower(torch.randn(8, 1, 2, 2))

    assert torch.allclose(keys.norm(dim=1), torch.ones(8))
    assert not keys.requires_grad
    assert not any(p.requires_grad for p in follower.parameters())
