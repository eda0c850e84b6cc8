"""Batch groups: statistics of each group, running statistics as of one pass, and gradients."""

import pytest
import torch
from torch import Tensor, nn

from selfsight.layers.batch_groups import in_groups, running_statistics


def network(momentum: float = 0.1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3, momentum=momentum), nn.Flatten())


def twin(of: nn.Module) -> nn.Module:
    other = network()
    other.load_state_dict(of.state_dict())
    return other


def test_two_pairs_are_normalised_each_by_itself() -> None:
    norm = nn.BatchNorm1d(1, affine=False, eps=1e-12)
    rows = torch.tensor([[1.0], [3.0], [10.0], [30.0]])

    assert in_groups(norm, rows, 2).flatten().tolist() == pytest.approx([-1, 1, -1, 1])


def test_running_statistics_move_by_the_groups_average_in_one_pass() -> None:
    norm = nn.BatchNorm1d(1, momentum=0.1)
    rows = torch.tensor([[1.0], [3.0], [10.0], [30.0]])

    in_groups(norm, rows, 2)

    # Means 2 and 20, their average 11; unbiased variances 2 and 200, their average 101.
    mean, variance = running_statistics(norm)
    assert mean.item() == pytest.approx(0.1 * 11)
    assert variance.item() == pytest.approx(0.9 * 1 + 0.1 * 101)


@pytest.mark.parametrize("groups", [1, 2, 3, 8])
def test_each_group_is_what_the_network_gives_of_it_alone(groups: int) -> None:
    grouped = network()
    alone = twin(grouped)
    pictures = torch.randn(8, 1, 4, 4)

    found = in_groups(grouped, pictures, groups)

    expected = torch.cat([alone(part) for part in pictures.tensor_split(groups)])
    assert torch.allclose(found, expected, atol=1e-6)


def test_gradients_are_those_of_the_groups_alone() -> None:
    grouped = network()
    alone = twin(grouped)
    pictures = torch.randn(8, 1, 4, 4)

    in_groups(grouped, pictures, 4).square().mean().backward()
    torch.cat([alone(part) for part in pictures.split(2)]).square().mean().backward()

    for mine, theirs in zip(grouped.parameters(), alone.parameters(), strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert torch.allclose(mine.grad, theirs.grad, atol=1e-6)


def test_halves_in_two_places_keep_the_same_statistics_on_the_average() -> None:
    whole = network()
    halves = [twin(whole), twin(whole)]
    pictures = torch.randn(8, 1, 4, 4)

    in_groups(whole, pictures, 4)
    for half, part in zip(halves, pictures.split(4), strict=True):
        in_groups(half, part, 2)

    both = zip(*map(running_statistics, halves), strict=True)
    for joint, (first, second) in zip(running_statistics(whole), both, strict=True):
        assert torch.allclose(joint, (first + second) / 2, atol=1e-6)


def test_in_evaluation_there_is_one_pass() -> None:
    passes: list[int] = []

    class Counted(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            passes.append(len(rows))
            return rows

    in_groups(Counted().eval(), torch.zeros(8, 1), 4)
    in_groups(Counted(), torch.zeros(8, 1), 4)

    assert passes == [8, 2, 2, 2, 2]
