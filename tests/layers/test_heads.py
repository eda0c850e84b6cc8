"""Heads: the three kinds, the width of each, and rows of length 1."""

from typing import cast

import pytest
import torch
from torch import nn

from selfsight.layers.heads import Head, of_length_1


def test_no_head_hands_features_on() -> None:
    features = torch.randn(4, 6)

    head = Head(6, 3, "none")

    assert torch.equal(head(features), features)
    assert head.width == 6


def test_a_linear_head_is_one_matrix_and_an_offset() -> None:
    head = Head(6, 3, "linear")
    features = torch.randn(4, 6)
    (only,) = cast(list[nn.Linear], list(head))

    assert torch.allclose(head(features), features @ only.weight.T + only.bias)
    assert head.width == 3


def test_a_head_of_two_layers_is_as_wide_between_them_as_the_features() -> None:
    head = Head(6, 3, "mlp")
    first, _, last = cast(list[nn.Linear], list(head))
    features = torch.randn(4, 6)

    hidden = (features @ first.weight.T + first.bias).clamp(min=0)

    assert hidden.shape == (4, 6)
    assert torch.allclose(head(features), hidden @ last.weight.T + last.bias, atol=1e-6)


def test_only_a_normalised_head_has_batch_statistics() -> None:
    def norms(head: nn.Module) -> int:
        return sum(isinstance(part, nn.BatchNorm1d) for part in head.modules())

    assert norms(Head(6, 3, "mlp", normalised=True)) == 1
    assert norms(Head(6, 3, "mlp")) == norms(Head(6, 3, "linear", normalised=True)) == 0


def test_rows_of_length_1_keep_their_direction_and_are_float32() -> None:
    rows = of_length_1(torch.tensor([[3.0, 4.0], [0.0, -2.0]], dtype=torch.bfloat16))

    assert torch.allclose(rows, torch.tensor([[0.6, 0.8], [0.0, -1.0]]))
    assert rows.dtype == torch.float32


def test_a_row_of_nothing_stays_one() -> None:
    assert torch.equal(of_length_1(torch.zeros(1, 3)), torch.zeros(1, 3))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="head must be none, linear or mlp, got 'deep'"):
        Head(6, 3, "deep")  # pyright: ignore[reportArgumentType] -- as --set could not


@pytest.mark.parametrize("kind", ["none", "linear", "mlp"])
def test_a_width_of_nothing_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        Head(6, 0, kind)  # pyright: ignore[reportArgumentType] -- one of them
