import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from selfsight.data.words.batch import Words
from selfsight.layers.negative_sampling import (
    BLOCK,
    Blocks,
    blocks_of,
    cost_of_guessing,
    kept_share,
    logistic_cost,
    mean_of,
    noise_shares,
    rows,
)


def zipf(words: int) -> Tensor:
    return (1000 / torch.arange(1, words + 1)).long()


def some_words(passages: int = 3, length: int = 70, words: int = 40, seed: int = 0) -> Words:
    generator = torch.Generator().manual_seed(seed)
    shares = zipf(words).double()
    tokens = torch.multinomial(shares, passages * length, replacement=True, generator=generator)
    batch = Words.of(tokens.reshape(passages, length), seed=seed)
    return batch._replace(extent=torch.tensor([length, length - 9, 5][:passages]))


def pairs(blocks: Blocks) -> Iterator[tuple[int, int, int]]:
    """List every word of a window: its block, its word, and the word around it."""
    for block, place, around in blocks.band.nonzero().tolist():
        yield block, int(blocks.words[block, place]), int(blocks.around[block, around])


def test_windows_are_those_of_a_plain_loop_over_the_text() -> None:
    batch, counts, window = some_words(), zipf(40), 4
    kept = batch.draws.uniform("kept", 70) < kept_share(counts, 0.02)[batch.tokens]
    radii = 1 + (batch.draws.uniform("radius", 70) * window).long()
    wanted: list[tuple[int, int]] = []
    for tokens, stays, radius, extent in zip(
        batch.tokens.tolist(), kept, radii.tolist(), batch.extent.tolist(), strict=True
    ):
        left = [(tokens[t], radius[t]) for t in range(extent) if stays[t]]
        for here, (word, far) in enumerate(left):
            around = range(max(0, here - far), min(len(left), here + far + 1))
            wanted += [(word, left[there][0]) for there in around if there != here]

    found = [
        (word, other)
        for _, word, other in pairs(blocks_of(batch, counts, window=window, subsample=0.02))
    ]

    assert 0 < len(found) < 3 * 70 * 2 * window
    assert sorted(found) == sorted(wanted)


def test_a_passage_s_windows_do_not_depend_on_its_batch() -> None:
    batch, counts = some_words(), zipf(40)
    alone = Words(
        batch.tokens[1:2], batch.extent[1:2], batch.index[1:2],
        type(batch.draws)(0, 0, batch.index[1:2]),
    )  # fmt: skip

    together = blocks_of(batch, counts, window=3, subsample=0.02)
    single = blocks_of(alone, counts, window=3, subsample=0.02)

    first = len(together.words) // 3
    there = slice(first, first + len(single.words))
    assert torch.equal(together.words[there], single.words)
    assert torch.equal(together.band[there], single.band)
    assert torch.equal(together.noise[there], single.noise)


def test_frequent_words_are_left_out_as_by_word2vec_s_program() -> None:
    # The share f = 3/4 at t = 1/100: (sqrt(75) + 1) / 75. A word rarer than t is always left in.
    shares = kept_share(torch.tensor([750, 249, 1]), 0.01)

    assert shares[0].item() == pytest.approx((math.sqrt(75) + 1) / 75, rel=1e-6)
    assert shares[2].item() == 1
    assert kept_share(torch.tensor([750, 249]), 0.0).tolist() == [1, 1]


def test_noise_is_drawn_by_counts_to_the_power_of_three_quarters() -> None:
    counts = torch.tensor([16, 1, 81])
    assert noise_shares(counts).tolist() == pytest.approx([8 / 36, 1 / 36, 27 / 36])

    tokens = torch.zeros(400, BLOCK, dtype=torch.int64)
    noise = blocks_of(Words.of(tokens), counts, window=1, subsample=0.0).noise
    drawn = noise.flatten().bincount(minlength=3).double() / noise.numel()
    assert drawn.tolist() == pytest.approx([8 / 36, 1 / 36, 27 / 36], abs=0.02)


def test_radii_are_drawn_evenly() -> None:
    batch = Words.of(torch.zeros(300, BLOCK, dtype=torch.int64))

    band = blocks_of(batch, torch.tensor([1, 1]), window=4, subsample=0.0).band

    in_the_middle = band[:, BLOCK // 2].sum(dim=1) // 2
    shares = in_the_middle.bincount(minlength=5)[1:].double() / 300
    assert shares.tolist() == pytest.approx([0.25] * 4, abs=0.1)


def test_rows_have_the_gradient_of_indexing() -> None:
    table = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    other = table.detach().clone().requires_grad_()
    index = torch.tensor([[1, 4], [4, 4]])

    (rows(table, index) ** 3).sum().backward()
    (other[index] ** 3).sum().backward()

    gradient, wanted = table.grad, other.grad
    assert gradient is not None
    assert wanted is not None
    assert gradient.is_sparse
    assert gradient.coalesce().indices().tolist() == [[1, 4]]
    assert torch.allclose(gradient.to_dense(), wanted)


def test_the_logistic_cost_is_softplus_and_so_is_its_slope() -> None:
    products = torch.linspace(-40, 40, 24, dtype=torch.float64).reshape(2, 3, 4).requires_grad_()
    twin = products.detach().clone().requires_grad_()
    weights = torch.rand(2, 3, 4, dtype=torch.float64)
    sign = torch.tensor([-1.0, -1, 1, 1], dtype=torch.float64)

    cost = logistic_cost(products, weights, wanted=2)
    plain = (torch.nn.functional.softplus(twin * sign) * weights).sum()
    cost.backward()
    plain.backward()

    assert cost.item() == pytest.approx(plain.item())
    assert products.grad is not None
    assert twin.grad is not None
    assert torch.allclose(products.grad, twin.grad)


def test_the_mean_has_the_slope_of_the_sum() -> None:
    cost = torch.tensor(12.0, requires_grad=True)

    mean = mean_of(cost, torch.tensor(4))
    mean.backward()

    assert (mean.item(), cost.grad) == (3.0, torch.tensor(1.0))


def test_no_guess_by_frequencies_is_cheaper_than_the_cost_of_guessing() -> None:
    counts, k = zipf(30), 4
    p = counts.double() * kept_share(counts, 0.02).double()
    p = p / p.sum()
    noise = noise_shares(counts)
    logits = torch.zeros(30, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def cost() -> Tensor:
        search.zero_grad()
        true = (p * torch.nn.functional.softplus(-logits)).sum()
        each = noise * torch.nn.functional.softplus(logits)
        loss = true + k * sum(p[w] * (each.sum() - each[w]) for w in range(30))
        loss.backward()
        return loss

    search.step(cost)  # pyright: ignore[reportArgumentType] -- a tensor is as good as a float

    guess = cost_of_guessing(counts, negatives=k, subsample=0.02)
    assert cost().item() == pytest.approx(guess, abs=1e-6)
    assert guess < (1 + k) * math.log(2)


def test_words_evenly_frequent_leave_a_guess_nothing_but_k() -> None:
    # p = 1 / V, q = k (1 - 1 / V) / V: log(1 + q / p) + (q / p) log(1 + p / q), with q / p = 4.
    guess = cost_of_guessing(torch.full((5,), 10), negatives=5, subsample=0.0)

    assert guess == pytest.approx(np.log(5) + 4 * np.log(1.25))
