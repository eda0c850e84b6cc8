"""Entropy: of a few shares, by hand."""

import math

import pytest
import torch

from selfsight.layers.entropy import entropy


def test_equal_shares_cost_log_k() -> None:
    assert entropy(torch.tensor([7, 7, 7, 7])) == pytest.approx(math.log(4))


def test_one_answer_alone_costs_nothing() -> None:
    assert entropy(torch.tensor([0.0, 3.0])) == 0


def test_unequal_shares_by_hand() -> None:
    assert entropy(torch.tensor([1, 3])) == pytest.approx(math.log(4) / 4 + 3 / 4 * math.log(4 / 3))
