"""Queue: where keys are pushed, how the ring wraps around, and that its state is restored."""

import pytest
import torch

from selfsight.layers.queue import NOBODY, Queue


def key(number: int) -> torch.Tensor:
    return torch.full((1, 2), float(number))


def keys(*numbers: int) -> torch.Tensor:
    return torch.cat([key(number) for number in numbers])


def push(queue: Queue, *numbers: int) -> None:
    queue.push(keys(*numbers), torch.tensor(numbers))


def test_it_begins_with_directions_of_nobody() -> None:
    queue = Queue(5, 3)

    assert torch.allclose(queue.keys.norm(dim=1), torch.ones(5))
    assert queue.owners.tolist() == [NOBODY] * 5
    assert len(queue) == 5


def test_the_newest_take_the_place_of_the_oldest() -> None:
    queue = Queue(5, 2)

    push(queue, 1, 2, 3)
    push(queue, 4, 5, 6)  # 6 takes the place of 1

    assert queue.owners.tolist() == [6, 2, 3, 4, 5]
    assert queue.keys[:, 0].tolist() == [6, 2, 3, 4, 5]

    push(queue, 7)
    assert queue.owners.tolist() == [6, 7, 3, 4, 5]


def test_of_more_keys_than_fit_the_last_are_kept() -> None:
    queue = Queue(3, 2)

    push(queue, 1, 2, 3, 4, 5)

    assert sorted(queue.owners.tolist()) == [3, 4, 5]


def test_it_is_filled_again_and_again() -> None:
    queue = Queue(5, 2)

    queue.fill(keys(1, 2), torch.tensor([1, 2]))

    assert queue.owners.tolist() == [1, 2, 1, 2, 1]


def test_a_queue_that_comes_back_goes_on_where_it_was() -> None:
    queue, other = Queue(5, 2), Queue(5, 2)
    push(queue, 1, 2, 3)

    other.load_state_dict(queue.state_dict())
    push(queue, 4, 5, 6)
    push(other, 4, 5, 6)

    assert torch.equal(queue.keys, other.keys)
    assert torch.equal(queue.owners, other.owners)


def test_a_queue_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="queue must hold at least 1 key, got 0"):
        Queue(0, 2)
