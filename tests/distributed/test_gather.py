"""Gathering: two processes see the rows of both, and gradients return to the rows' owner."""

import pytest
import torch
from torch import Tensor

from pair import JobError, Pair
from selfsight.distributed.gather import gathered, own_rows, processes, summed

ROWS = torch.arange(8.0, dtype=torch.float64).view(4, 2).square()  # of both, two each


def test_one_process_alone_has_all_rows() -> None:
    assert processes() == 1
    assert gathered(ROWS) is ROWS
    assert ROWS[own_rows(4)].equal(ROWS)
    assert summed(ROWS).equal(ROWS)


def test_what_is_added_alone_is_another_tensor() -> None:
    assert summed(ROWS) is not ROWS


def mine(rows: Tensor = ROWS) -> Tensor:
    """Give this process's rows, to be differentiated."""
    return rows[own_rows(2)].clone().requires_grad_()


def job_of_rows() -> tuple[int, Tensor, Tensor]:
    rows = mine()
    joint = gathered(rows)
    return processes(), joint.detach(), joint[own_rows(2)].detach()


@pytest.mark.slow
def test_rows_come_in_the_order_of_the_processes(two: Pair) -> None:
    for rank, (count, joint, again) in enumerate(two.ask(job_of_rows)):
        assert count == 2
        assert joint.equal(ROWS)
        assert again.equal(ROWS[2 * rank : 2 * rank + 2])


def job_of_kinds() -> list[Tensor]:
    kinds = [ROWS.long(), ROWS > 9, ROWS.bfloat16(), ROWS.float().view(4, 1, 2).mT]
    return [gathered(rows[own_rows(2)]) for rows in kinds]


@pytest.mark.slow
def test_rows_of_every_kind_come_as_they_are(two: Pair) -> None:
    wanted = [ROWS.long(), ROWS > 9, ROWS.bfloat16(), ROWS.float().view(4, 2, 1)]
    for kinds in two.ask(job_of_kinds):
        for got, whole in zip(kinds, wanted, strict=True):
            assert got.dtype == whole.dtype
            assert got.equal(whole)


def job_of_gradients() -> Tensor:
    """Differentiate a loss over all rows: it weighs 1 in the first process, 10 in the second."""
    factor = 1.0 if own_rows(2).start == 0 else 10.0
    rows = mine()
    (factor * gathered(rows).pow(2).sum()).backward()
    assert rows.grad is not None
    return rows.grad


@pytest.mark.slow
def test_a_gradient_is_the_sum_of_what_all_processes_say(two: Pair) -> None:
    """By hand: the loss is (1 + 10) sum x^2."""
    assert torch.cat(two.ask(job_of_gradients)).equal(11 * 2 * ROWS)


def job_that_fails_in(rank: int, waits: bool) -> float:
    if own_rows(1).start == rank:
        raise ValueError(f"process {rank} would not")
    return summed(torch.ones(())).item() if waits else 0.0


@pytest.mark.slow
@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_job_that_fails_is_told_and_the_pair_goes_on(two: Pair, rank: int, waits: bool) -> None:
    with pytest.raises(JobError, match=rf"in process {rank}:(.|\n)*process {rank} would not"):
        two.ask(job_that_fails_in, rank, waits)

    assert two.ask(job_of_rows)[1][0] == 2
