"""Memory bank: one step of an entry by hand, which entries move, in one process and in two."""

import math

import pytest
import torch
from torch import Tensor

from pair import Pair
from selfsight.distributed.gather import own_rows, processes
from selfsight.errors import UsageError
from selfsight.layers.memory_bank import MemoryBank, samples_of
from selfsight.tasks.base import Facts

CROSS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def bank(samples: int = 4, width: int = 2, momentum: float = 0.5) -> MemoryBank:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MemoryBank(samples, width, momentum)


def test_an_entry_goes_half_way_and_is_brought_to_length_1() -> None:
    memory = bank()
    memory.entries[2] = torch.tensor([1.0, 0.0])

    moved = memory.follow(torch.tensor([2]), torch.tensor([[0.0, 1.0]]))

    assert memory.entries[2].tolist() == pytest.approx([math.sqrt(0.5)] * 2)
    assert moved.item() == pytest.approx(math.sqrt(0.5))  # 45 degrees


def test_only_the_pictures_of_the_step_move() -> None:
    memory = bank()
    before = memory.entries.clone()

    memory.follow(torch.tensor([3, 0]), torch.eye(2))

    still = (memory.entries == before).all(dim=1)
    assert still.tolist() == [False, True, True, False]


def test_without_momentum_the_new_vector_is_taken() -> None:
    memory = bank(momentum=0.0)

    memory.follow(torch.tensor([1]), torch.tensor([[0.6, 0.8]]))

    assert memory(torch.tensor([1])).flatten().tolist() == pytest.approx([0.6, 0.8])


def test_a_vector_that_is_its_entry_does_not_move_it() -> None:
    memory = bank()
    index = torch.arange(4)

    moved = memory.follow(index, memory(index))

    assert moved.item() == pytest.approx(1.0)


def test_a_filled_bank_holds_the_vectors_at_length_1() -> None:
    memory = bank()

    memory.fill(5 * CROSS)

    assert memory.entries.equal(CROSS)


def test_entries_begin_at_length_1_and_on_all_sides() -> None:
    entries = bank(2000, 16).entries

    assert entries.norm(dim=1).sub(1).abs().max() < 1e-5
    assert entries.mean(dim=0).norm() < 0.1


def test_the_entries_are_in_the_state_and_are_no_parameters() -> None:
    memory = bank()

    assert list(memory.state_dict()) == ["entries"]
    assert list(memory.parameters()) == []


def test_the_cost_is_told() -> None:
    note = bank(50_000, 128).note()

    assert "128 numbers of each of the 50,000 pictures (25.6 MB)" in note


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ((1, 2, 0.5), "at least 2 samples, got 1"),
        ((4, 0, 0.5), "width must be at least 1, got 0"),
        ((4, 2, 1.0), r"momentum must be from 0 to below 1, got 1\.0"),
        ((4, 2, math.nan), "momentum must be from 0 to below 1, got nan"),
    ],
)
def test_what_is_outside_its_range_is_refused(settings: tuple[int, int, float], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        MemoryBank(*settings)


def test_the_number_of_pictures_is_that_of_the_data() -> None:
    facts = Facts(samples=300, classes=0, channels=3, side=32, batch=64)

    assert samples_of(facts, "pirl") == 300
    other = Facts(300, 0, 3, 32, 64, chosen={"samples": 200})
    with pytest.raises(UsageError, match="samples of pirl must be the 300 of the data, got 200"):
        samples_of(other, "pirl")


def followed(index: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor]:
    memory = bank(16, 4)
    mine = own_rows(len(index) // processes())
    moved = memory.follow(index[mine], embedded[mine])
    return memory.entries, moved


@pytest.mark.slow
def test_two_processes_remember_what_one_does(two: Pair) -> None:
    index = torch.tensor([3, 9, 0, 14])
    embedded = torch.nn.functional.normalize(torch.arange(16.0).view(4, 4).cos(), dim=1)
    entries, moved = followed(index, embedded)

    for theirs, their_move in two.ask(followed, index, embedded):
        assert theirs.equal(entries)
        torch.testing.assert_close(their_move, moved)
