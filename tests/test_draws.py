"""Draws: the bits against plain integers, what they depend on, and that they are random enough."""

import hashlib
import math

import pytest
import torch
from torch import Tensor

from selfsight.draws import Draws, derived_seed

WORD = 1 << 64
GOLDEN = 0x9E3779B97F4A7C15
MANY = 1 << 16


def finalised(z: int) -> int:
    """SplitMix64's finaliser as published, on Python's own integers."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
    return z ^ (z >> 31)


def plain_bits(seed: int, epoch: int, name: str, index: int, column: int) -> int:
    digest = hashlib.blake2b(f"{seed}/{epoch}/{name}".encode(), digest_size=8).digest()
    row = finalised((index * GOLDEN + int.from_bytes(digest, "little")) % WORD)
    return finalised((row + (column + 1) * GOLDEN) % WORD)


def signed(bits: int) -> int:
    return bits - WORD if bits >= WORD // 2 else bits


def draws(*index: int, seed: int = 0, epoch: int = 0) -> Draws:
    return Draws(seed, epoch, torch.tensor(index))


def many(*, seed: int = 0, epoch: int = 0, first: int = 0) -> Draws:
    return Draws(seed, epoch, torch.arange(first, first + MANY))


def correlation(a: Tensor, b: Tensor) -> float:
    return torch.corrcoef(torch.stack([a, b]))[0, 1].item()


def uncorrelated(a: Tensor, b: Tensor) -> bool:
    return abs(correlation(a, b)) < 4 / math.sqrt(len(a))  # four standard errors


def test_the_plain_integers_here_are_the_published_ones() -> None:
    # The first five outputs of SplitMix64 seeded with 1234567, as in public test vectors.
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    counters = [(1234567 + n * GOLDEN) % WORD for n in range(1, 6)]

    assert [finalised(counter) for counter in counters] == published


def test_uniform_numbers_are_the_top_24_bits_where_int64_wraps_too() -> None:
    index = (0, 1, 2, 63, 10**9, 2**62, 2**63 - 1, -1, -(2**63))

    found = draws(*index, seed=7, epoch=3).uniform("crop", 5).tolist()

    bits = [[plain_bits(7, 3, "crop", i, c) for c in range(5)] for i in index]
    assert found == [[(b >> 40) / 2**24 for b in row] for row in bits]
    assert any(signed(b) < 0 for row in bits for b in row)


def test_a_samples_numbers_do_not_depend_on_its_batch() -> None:
    together = draws(3, 9, 12, 40)
    apart = draws(12, 3)

    assert torch.equal(together.uniform("crop", 4)[[2, 0]], apart.uniform("crop", 4))
    assert torch.allclose(together.normal("crop", 4)[[2, 0]], apart.normal("crop", 4), atol=1e-6)


def test_asking_twice_gives_the_same_numbers() -> None:
    one = draws(3, 9)
    before = one.uniform("crop", 2)
    one.normal("other", 5)

    assert torch.equal(one.uniform("crop", 2), before)


def test_more_columns_keep_the_first_ones() -> None:
    assert torch.equal(draws(3, 9).uniform("crop", 7)[:, :2], draws(3, 9).uniform("crop", 2))


def test_another_name_epoch_seed_or_index_gives_other_numbers() -> None:
    base = draws(3).uniform("crop", 8)

    others = [
        draws(3).uniform("flip", 8),
        draws(3, epoch=1).uniform("crop", 8),
        draws(3, seed=1).uniform("crop", 8),
        draws(4).uniform("crop", 8),
    ]
    assert all((base != other).all() for other in others)


def test_seed_and_epoch_do_not_run_into_each_other() -> None:
    a = draws(3, seed=1, epoch=12).uniform("crop", 4)
    b = draws(3, seed=11, epoch=2).uniform("crop", 4)

    assert (a != b).all()


def test_torchs_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    draws(1, 2).normal("crop", 4)
    draws(1, 2).order("order")

    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("column", [0, 1, 7])
def test_uniform_numbers_fill_64_bins_evenly(column: int) -> None:
    values = many().uniform("crop", column + 1)[:, column]

    counts = torch.histc(values, bins=64, min=0, max=1).double()
    expected = MANY / 64
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    assert values.min() >= 0
    assert values.max() < 1
    assert 30 < chi_square < 111  # 63 degrees of freedom: all but 2 in 10,000 lie between


def test_columns_are_uncorrelated() -> None:
    values = many().uniform("crop", 4)

    assert all(uncorrelated(values[:, a], values[:, b]) for a in range(4) for b in range(a))


def test_names_epochs_and_seeds_are_uncorrelated() -> None:
    base = many().uniform("crop", 1)[:, 0]

    assert uncorrelated(base, many().uniform("crop2", 1)[:, 0])
    assert uncorrelated(base, many(epoch=1).uniform("crop", 1)[:, 0])
    assert uncorrelated(base, many(seed=1).uniform("crop", 1)[:, 0])


@pytest.mark.parametrize("apart", [1, 2, 64])
def test_neighbouring_samples_are_uncorrelated(apart: int) -> None:
    values = many().uniform("crop", 1)[:, 0]

    assert uncorrelated(values[apart:], values[:-apart])


def test_a_sample_next_in_one_column_is_not_the_same_in_the_next() -> None:
    values = many().uniform("crop", 2)

    assert uncorrelated(values[1:, 0], values[:-1, 1])
    assert (values[1:, 0] == values[:-1, 1]).float().mean() < 1e-3


def test_normal_numbers_have_normal_moments() -> None:
    values = many().normal("noise", 2).double().flatten()

    error = 1 / math.sqrt(len(values))
    assert values.mean().abs() < 4 * error
    assert (values.square().mean() - 1).abs() < 4 * math.sqrt(2) * error
    assert values.pow(3).mean().abs() < 4 * math.sqrt(15) * error
    assert (values.pow(4).mean() - 3).abs() < 4 * math.sqrt(96) * error
    assert values.isfinite().all()


def test_normal_numbers_follow_the_normal_curve() -> None:
    values = many().normal("noise", 1)[:, 0].double().sort().values

    curve = 0.5 * (1 + torch.erf(values / math.sqrt(2)))
    steps = torch.arange(1, MANY + 1, dtype=torch.float64) / MANY
    distance = torch.maximum((steps - curve).abs(), (steps - 1 / MANY - curve).abs()).max().item()
    assert distance * math.sqrt(MANY) < 1.95  # Kolmogorov and Smirnov: 1 in 1,000 lies above


def test_normal_columns_are_uncorrelated() -> None:
    values = many().normal("noise", 3)

    assert uncorrelated(values[:, 0], values[:, 1])
    assert uncorrelated(values[:, 0].square(), values[:, 1].square())


def test_an_order_is_a_permutation_sorted_by_the_plain_bits() -> None:
    found = Draws(5, 0, torch.arange(100)).order("order").tolist()

    assert sorted(found) == list(range(100))
    assert found == sorted(range(100), key=lambda i: signed(plain_bits(5, 0, "order", i, 0)))


def test_another_epoch_gives_another_order() -> None:
    index = torch.arange(100)

    assert not torch.equal(Draws(0, 0, index).order("order"), Draws(0, 1, index).order("order"))


@pytest.mark.gpu
def test_uniform_bits_and_orders_are_the_same_on_a_gpu() -> None:
    index = torch.cat([torch.arange(1000), torch.tensor([2**40, -1, 2**63 - 1, -(2**63)])])
    here, there = Draws(3, 1, index), Draws(3, 1, index.cuda())

    assert torch.equal(here.uniform("crop", 64), there.uniform("crop", 64).cpu())
    assert torch.equal(here.order("order"), there.order("order").cpu())


def test_derived_seeds_are_all_different_and_torch_takes_them() -> None:
    found = {
        derived_seed(seed, name, number)
        for seed in range(20)
        for name in ("process", "other")
        for number in range(20)
    }

    assert len(found) == 20 * 2 * 20
    assert all(torch.Generator().manual_seed(one).initial_seed() == one for one in found)
