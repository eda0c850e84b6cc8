import pytest
import torch

from selfsight.training.adagrad import START, Adagrad


def steps(*, sparse: bool) -> torch.Tensor:
    """Take three steps on some rows of a table: -> the table."""
    torch.manual_seed(0)
    table = torch.nn.Embedding(6, 3, sparse=sparse)
    optimizer = Adagrad([{"params": [table.weight]}], lr=0.5)
    for rows in ([0, 1, 1], [1, 4, 4], [0, 5, 1]):
        optimizer.zero_grad()
        (table(torch.tensor(rows)) ** 2).sum().mul(10).backward()
        optimizer.step()
    return table.weight.detach()


def test_sparse_gradients_move_as_dense_ones() -> None:
    assert torch.allclose(steps(sparse=True), steps(sparse=False), atol=1e-6)


def test_it_is_torch_s_adagrad_from_the_same_start() -> None:
    mine = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    its = torch.nn.Parameter(mine.detach().clone())
    optimizers = [
        Adagrad([{"params": [mine]}], lr=0.3),
        torch.optim.Adagrad([its], lr=0.3, initial_accumulator_value=START, eps=0.0),
    ]
    for factor in (3.0, -1.0, 8.0):
        for weight, optimizer in zip((mine, its), optimizers, strict=True):
            optimizer.zero_grad()
            (weight**3).sum().mul(factor).backward()
            optimizer.step()

    assert torch.allclose(mine, its, atol=1e-6)


def test_rows_without_a_gradient_stay() -> None:
    torch.manual_seed(0)
    before = torch.nn.Embedding(6, 3).weight.detach()

    assert torch.equal(steps(sparse=True)[2:4], before[2:4])


def test_the_first_step_is_a_quarter_of_plain_descent() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = Adagrad([{"params": [weight]}], lr=1.0)
    (weight * 1e-3).sum().backward()
    optimizer.step()

    assert weight.item() == pytest.approx(-0.25e-3, rel=1e-4)
