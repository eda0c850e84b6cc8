"""Weighted sums: equal to products in float64, with bits that do not depend on the batch."""

import pytest
import torch
import torch.nn.functional as F

from selfsight.augment.sums import Lines, filtered, product, weighted_sums


def test_a_sum_weighs_the_rows_that_were_chosen() -> None:
    rows = torch.tensor([[[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]]])
    lines = Lines(torch.tensor([[0, 2], [1, 1]]), torch.tensor([[[2.0, 1.0], [0.5, 0.25]]]))

    assert weighted_sums(rows, lines).tolist() == [[[102.0, 204.0], [7.5, 15.0]]]


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (4, 3, 7, 10), (2, 5, 33, 9)])
def test_filtering_is_a_product_from_either_side(shape: tuple[int, ...]) -> None:
    batch, _, height, width = shape
    pictures = torch.rand(shape)
    down, across = torch.rand(batch, 6, height), torch.rand(batch, 5, width)

    found = filtered(pictures, Lines.all_of(down), Lines.all_of(across))

    expected = down[:, None].double() @ pictures.double() @ across[:, None].double().mT
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_small_matrices_are_multiplied() -> None:
    first, second = torch.rand(9, 2, 3), torch.rand(9, 3, 4)

    expected = first.double() @ second.double()
    torch.testing.assert_close(product(first, second).double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("side", [1, 3, 8, 15, 16, 40, 97])
def test_a_picture_has_the_same_bits_alone_and_among_others(side: int) -> None:
    pictures, weights = torch.rand(23, 3, side, side), torch.rand(23, side, side)
    turns = torch.rand(23, 3, 3)

    together = filtered(pictures, Lines.all_of(weights), Lines.all_of(weights))
    mixed = product(turns, pictures.flatten(2))

    for some in ([22], [5, 6, 7], list(range(22, 1, -1))):
        lines = Lines.all_of(weights[some])
        assert torch.equal(filtered(pictures[some], lines, lines), together[some])
        assert torch.equal(product(turns[some], pictures[some].flatten(2)), mixed[some])


def test_one_and_two_threads_add_up_alike() -> None:
    pictures, weights = torch.rand(40, 3, 64, 64), torch.rand(40, 64, 64)
    lines, before = Lines.all_of(weights), torch.get_num_threads()
    try:
        found = []
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(filtered(pictures, lines, lines))
    finally:
        torch.set_num_threads(before)

    assert torch.equal(*found)


def test_no_pictures_have_no_sums() -> None:
    lines = Lines.all_of(torch.rand(0, 4, 4))

    assert filtered(torch.rand(0, 3, 4, 4), lines, lines).shape == (0, 3, 4, 4)


def test_the_gradient_is_that_of_the_product() -> None:
    rows, weights = torch.rand(3, 4, 5, requires_grad=True), torch.rand(3, 2, 4, requires_grad=True)

    found = torch.autograd.grad(
        weighted_sums(rows, Lines.all_of(weights)).square().sum(), (rows, weights)
    )

    expected = torch.autograd.grad((weights @ rows).square().sum(), (rows, weights))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_filters_of_other_libraries_are_sums_too() -> None:
    """A mean over three lines and three columns, as torch's pooling without its border has it."""
    pictures = torch.rand(2, 3, 9, 9)
    chosen = torch.arange(7)[:, None] + torch.arange(3)
    lines = Lines(chosen, torch.full((2, 7, 3), 1 / 3))

    torch.testing.assert_close(filtered(pictures, lines, lines), F.avg_pool2d(pictures, 3, 1))
