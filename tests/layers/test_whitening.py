"""Whitening: by hand on an axis, by definition in float64, and rows with constant columns."""

import math

import pytest
import torch
from torch import Tensor

from selfsight.layers.whitening import BLOCK, Whitening


def correlated(rows: int = 500, width: int = 6, at: float = 0.0) -> Tensor:
    """Draw rows whose columns are mixtures of each other."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(width, width, generator=generator)
    return torch.randn(rows, width, generator=generator) @ mixing + at


def covariance(rows: Tensor) -> Tensor:
    return torch.cov(rows.double().T, correction=0)


def test_two_axes_by_hand() -> None:
    rows = torch.tensor([[5.0, 1.0], [-1.0, 1.0], [2.0, 2.0], [2.0, 0.0]])  # variances 4.5, 0.5

    found = Whitening.of(rows).apply(rows).abs()

    expected = torch.tensor([[3 / math.sqrt(4.5), 0.0]] * 2 + [[0.0, 1 / math.sqrt(0.5)]] * 2)
    assert torch.allclose(found, expected, atol=1e-6)


def test_epsilon_is_added_to_the_variances() -> None:
    rows = torch.tensor([[5.0, 1.0], [-1.0, 1.0], [2.0, 2.0], [2.0, 0.0]])

    found = Whitening.of(rows, epsilon=4.5).apply(rows).abs()

    expected = torch.tensor([[1.0, 0.0], [1.0, 0.0]] + [[0.0, 1 / math.sqrt(5.0)]] * 2)
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("form", ["pca", "zca"])
@pytest.mark.parametrize("at", [0.0, 300.0])
def test_whitened_columns_are_uncorrelated_and_vary_alike(form: str, at: float) -> None:
    rows = correlated(at=at)

    found = Whitening.of(rows, form=form).apply(rows)  # pyright: ignore[reportArgumentType] -- both

    assert found.dtype == torch.float32
    assert found.mean(dim=0).abs().max() < 1e-3
    assert torch.allclose(covariance(found), torch.eye(6).double(), atol=2e-3)


def test_the_most_varying_directions_are_kept_in_their_order() -> None:
    rows = correlated()

    found = Whitening.of(rows, most=2).apply(rows)

    values, vectors = torch.linalg.eigh(covariance(rows))
    centred = rows.double() - rows.double().mean(dim=0)
    expected = centred @ vectors[:, [5, 4]] / values[[5, 4]].sqrt()
    assert torch.allclose(found.abs().double(), expected.abs(), atol=1e-4)


def test_zca_is_the_inverse_root_of_the_covariance() -> None:
    rows = correlated()

    matrix = Whitening.of(rows, form="zca", epsilon=0.1).matrix.double()

    inside = covariance(rows) + 0.1 * torch.eye(6)
    assert torch.allclose(matrix, matrix.T, atol=1e-5)
    assert torch.allclose(matrix @ matrix @ inside, torch.eye(6).double(), atol=1e-4)


def test_columns_that_do_not_vary_are_left_out() -> None:
    rows = torch.cat([correlated(width=3), torch.full((500, 2), 7.0)], dim=1)
    rows = torch.cat([rows, rows[:, :1] + rows[:, 1:2]], dim=1)  # and one that follows from others

    kept, back = Whitening.of(rows), Whitening.of(rows, form="zca")

    assert kept.matrix.shape == (6, 3)
    assert torch.allclose(covariance(kept.apply(rows)), torch.eye(3).double(), atol=2e-3)
    assert back.matrix.shape == (6, 6)
    assert torch.linalg.matrix_rank(back.matrix, rtol=1e-4) == 3
    assert back.apply(rows).isfinite().all()


def test_fewer_rows_than_columns_have_fewer_directions() -> None:
    rows = torch.randn(5, 20, generator=torch.Generator().manual_seed(0))

    found = Whitening.of(rows, most=10).apply(rows)

    assert found.shape == (5, 4)
    assert torch.allclose(covariance(found), torch.eye(4).double(), atol=1e-4)


def test_rows_that_are_all_alike_become_zeros() -> None:
    for form in ("pca", "zca"):
        found = Whitening.of(torch.full((4, 3), 0.3), form=form).apply(torch.full((4, 3), 0.3))  # pyright: ignore[reportArgumentType] -- both
        assert torch.equal(found, torch.zeros_like(found))


def test_more_rows_than_a_block_are_joined() -> None:
    width = 512
    rows = correlated(BLOCK // width + 300, 8).repeat(1, width // 8)[:, : width - 4]

    found = Whitening.of(rows, most=8).apply(rows)

    assert torch.allclose(covariance(found), torch.eye(8).double(), atol=1e-2)


@pytest.mark.parametrize("most", [0, -1])
def test_no_direction_is_refused(most: int) -> None:
    with pytest.raises(ValueError, match=f"most must be at least 1 direction, got {most}"):
        Whitening.of(torch.rand(4, 2), most=most)


@pytest.mark.parametrize("epsilon", [-0.1, math.nan])
def test_a_negative_epsilon_is_refused(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon must be a variance, at least 0, got"):
        Whitening.of(torch.rand(4, 2), epsilon=epsilon)
