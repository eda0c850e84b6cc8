"""Noise contrast: both losses by hand and by plain loops, the constant Z, and what is drawn."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pair import Pair
from selfsight.data.pictures.batch import Images
from selfsight.distributed.gather import own_rows, processes
from selfsight.draws import Draws
from selfsight.layers.memory_bank import MemoryBank
from selfsight.layers.noise_contrast import (
    ALL_UP_TO,
    Contrasted,
    NoiseContrast,
    Objective,
    drawn_noise,
    usual_negatives,
)

CROSS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def batch_of(index: Tensor, seed: int = 0) -> Images:
    images = torch.zeros(len(index), 1, 4, 4)
    return Images.of(images)._replace(index=index, draws=Draws(seed, 0, index))


def memory(entries: Tensor) -> MemoryBank:
    bank = MemoryBank(*entries.shape)
    bank.entries.copy_(entries)
    return bank


def vectors(count: int, width: int = 8, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, generator=generator), dim=1)


def contrast(samples: int, objective: Objective, **settings: Any) -> NoiseContrast:
    settings = {"negatives": samples - 1, "temperature": 1.0} | settings
    return NoiseContrast(samples, objective=objective, **settings)


def judged(asked: NoiseContrast, embedded: Tensor, index: Tensor, noise: Tensor | None,
           entries: Tensor) -> Contrasted:  # fmt: skip
    """Compare with entries, the constant taken from them."""
    bank = memory(entries)
    asked.estimate(bank)
    return asked(embedded, index, noise, bank)


def test_softmax_over_four_entries_by_hand() -> None:
    """The own entry is at cosine 1, two others at 0 and one at -1."""
    asked = torch.tensor([0])

    found = contrast(4, "softmax")(CROSS[:1], asked, None, memory(CROSS))

    e = math.e
    assert found.losses.item() == pytest.approx(-math.log(e / (e + 1 + 1 + 1 / e)))
    assert found.found.item() == 1


def test_noise_contrast_of_two_entries_by_hand() -> None:
    """N = 2 and m = 1: the other entry is all the noise, and Z is twice its exp(0) = 1."""
    asked = contrast(2, "nce")

    loss = judged(asked, CROSS[:1], torch.tensor([0]), None, CROSS[:2]).losses.item()

    own_one, noise = math.e / 2, 1 / 2  # P = exp(s) / Z
    known = -math.log(own_one / (own_one + 1 / 2)) - math.log(1 - noise / (noise + 1 / 2))
    assert loss == pytest.approx(known)


def test_an_entry_that_another_is_nearer_to_is_not_found() -> None:
    found = contrast(4, "softmax")(CROSS[:1], torch.tensor([1]), None, memory(CROSS))

    assert found.found.item() == 0


@pytest.mark.parametrize("objective", ["nce", "softmax"])
@pytest.mark.parametrize("negatives", [49, 12])
def test_entries_that_are_all_alike_cost_the_blind_guess(
    objective: Objective, negatives: int
) -> None:
    entries = torch.tensor([1.0, 0.0]).expand(50, 2)
    asked = contrast(50, objective, negatives=negatives)
    noise = torch.arange(negatives) + 20 if negatives < 49 else None

    losses = judged(asked, entries[:3], torch.tensor([0, 1, 2]), noise, entries).losses

    assert losses.tolist() == pytest.approx([asked.blind] * 3, rel=1e-5)


def in_loops(objective: str, embedded: Tensor, index: Tensor, noise: list[int], entries: Tensor,
             temperature: float) -> list[float]:  # fmt: skip
    """The definitions, a sample and an entry at a time."""
    samples, m = len(entries), len(noise)
    cosines = (embedded.double() @ entries.double().T).tolist()
    drawn = [
        [math.exp(row[k] / temperature) for k in noise if k != own_place]
        for row, own_place in zip(cosines, index.tolist(), strict=True)
    ]
    pairs = (entries.double() @ entries.double().T).tolist()
    apart = [math.exp(c / temperature) for i, row in enumerate(pairs)
             for j, c in enumerate(row) if i != j]  # fmt: skip
    constant = samples * sum(apart) / len(apart)
    losses: list[float] = []
    for row, own_place, others in zip(cosines, index.tolist(), drawn, strict=True):
        mine = math.exp(row[own_place] / temperature)
        if objective == "softmax":
            losses.append(-math.log(mine / (mine + sum(others))))
            continue
        share = m / samples
        loss = -math.log(mine / constant / (mine / constant + share))
        loss -= sum(math.log(1 - p / constant / (p / constant + share)) for p in others)
        losses.append(loss)
    return losses


@pytest.mark.parametrize("objective", ["nce", "softmax"])
def test_the_losses_are_those_of_the_definitions(objective: Objective) -> None:
    entries, embedded = vectors(30), vectors(5, seed=1)
    index, noise = torch.tensor([4, 0, 29, 7, 12]), [7, 3, 3, 15, 0, 21]
    asked = contrast(30, objective, negatives=len(noise), temperature=0.2)

    losses = judged(asked, embedded, index, torch.tensor(noise), entries).losses

    known = in_loops(objective, embedded, index, noise, entries, 0.2)
    assert losses.tolist() == pytest.approx(known, rel=1e-5)


@pytest.mark.parametrize("objective", ["nce", "softmax"])
def test_all_others_are_the_noise_where_none_is_drawn(objective: Objective) -> None:
    entries, embedded, index = vectors(12), vectors(3, seed=1), torch.tensor([4, 0, 11])
    asked = contrast(12, objective, temperature=0.2)
    assert asked.draw(batch_of(index)) is None

    losses = judged(asked, embedded, index, None, entries).losses

    known: list[float] = []
    for row in range(3):
        others = [k for k in range(12) if k != index[row]]
        one = slice(row, row + 1)
        known += in_loops(objective, embedded[one], index[one], others, entries, 0.2)
    assert losses.tolist() == pytest.approx(known, rel=1e-5)


def test_the_constant_of_a_large_bank_is_near_that_of_all_its_pairs() -> None:
    entries = vectors(5000)
    asked = contrast(5000, "nce", temperature=0.5)

    asked.estimate(memory(entries))

    logits = (entries @ entries.T / 0.5).fill_diagonal_(-math.inf)
    whole = logits.exp().sum().item() / (5000 * 4999)
    assert asked.log_mean.exp().item() == pytest.approx(whole, rel=0.02)


def test_the_constant_stays_while_the_bank_moves_and_comes_back_with_the_state() -> None:
    bank, index = memory(vectors(20)), torch.arange(4)
    asked, other = contrast(20, "nce", temperature=0.2), contrast(20, "nce", temperature=0.2)
    asked.estimate(bank)
    constant = asked.log_mean.clone()

    bank.follow(index, vectors(4, seed=1))
    losses = asked(vectors(4, seed=2), index, None, bank).losses

    assert asked.log_mean.equal(constant)
    assert not other(vectors(4, seed=2), index, None, bank).losses.equal(losses)
    other.load_state_dict(asked.state_dict())
    assert other(vectors(4, seed=2), index, None, bank).losses.equal(losses)


@pytest.mark.parametrize("objective", ["nce", "softmax"])
def test_nearer_to_the_own_entry_costs_less(objective: Objective) -> None:
    bank = memory(vectors(20))
    asked = contrast(20, objective, temperature=0.2)
    start = vectors(2, seed=1).requires_grad_()

    asked(start, torch.tensor([3, 5]), None, bank).losses.sum().backward()

    assert start.grad is not None
    towards = bank(torch.tensor([3, 5])) - start.detach()
    assert ((start.grad * towards).sum(dim=1) < 0).all()


def test_as_many_are_drawn_as_asked_evenly_over_the_bank() -> None:
    drawn = drawn_noise(batch_of(torch.arange(8)), 10, 4001)

    assert len(drawn) == 4001
    counts = drawn.bincount(minlength=10)
    assert len(counts) == 10
    assert (counts - 400).abs().max() < 100  # five standard deviations of 19


@pytest.mark.parametrize("count", [3, 8, 13, 16])
def test_what_is_drawn_does_not_depend_on_the_order_of_the_batch(count: int) -> None:
    index = torch.tensor([5, 1, 8, 2])

    drawn = drawn_noise(batch_of(index), 100, count)

    turned_round = drawn_noise(batch_of(index.flip(0)), 100, count)
    assert drawn.sort().values.equal(turned_round.sort().values)
    assert not drawn.equal(drawn_noise(batch_of(index, seed=1), 100, count))


@pytest.mark.parametrize(
    ("samples", "negatives"), [(2, 1), (300, 299), (ALL_UP_TO, ALL_UP_TO - 1), (50_000, 1000)]
)
def test_few_pictures_are_compared_with_all_others(samples: int, negatives: int) -> None:
    assert usual_negatives(samples, 1000) == negatives


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"negatives": 0}, "negatives must be from 1 to the 9 other samples, got 0"),
        ({"negatives": 10}, "negatives must be from 1 to the 9 other samples, got 10"),
        ({"temperature": 0.0}, r"temperature must be above 0 and finite, got 0\.0"),
        ({"temperature": math.inf}, "temperature must be above 0 and finite, got inf"),
        ({"temperature": math.nan}, "temperature must be above 0 and finite, got nan"),
        ({"objective": "triplet"}, "objective must be nce or softmax, got triplet"),
    ],
)
def test_what_is_outside_its_range_is_refused(settings: dict[str, Any], rule: str) -> None:
    usual: dict[str, Any] = {"objective": "nce", "negatives": 5, "temperature": 0.1}
    with pytest.raises(ValueError, match=rule):
        NoiseContrast(10, **(usual | settings))


def compared() -> tuple[Tensor, Tensor]:
    """Compare four pictures, or this process's two of them."""
    index = torch.tensor([4, 0, 29, 7])
    mine = own_rows(len(index) // processes())
    asked = contrast(30, "nce", negatives=10, temperature=0.2)
    noise = asked.draw(batch_of(index[mine]))
    assert noise is not None
    embedded = vectors(4, seed=1)[mine]
    return noise, judged(asked, embedded, index[mine], noise, vectors(30)).losses


@pytest.mark.slow
def test_two_processes_draw_and_score_as_one(two: Pair) -> None:
    noise, losses = compared()

    answers = two.ask(compared)

    for theirs, _ in answers:
        assert theirs.sort().values.equal(noise.sort().values)
    torch.testing.assert_close(torch.cat([answer[1] for answer in answers]), losses)
