import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from making import made, photographs
from selfsight.data.words.batch import Words
from selfsight.errors import UsageError
from selfsight.layers.negative_sampling import SHARED
from selfsight.tasks.word2vec_skipgram import SkipGram, WordNeighbours


def task_of(**settings: Any) -> SkipGram:
    task = made("word2vec-skipgram", **settings)
    assert isinstance(task, SkipGram)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in task.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return task.double()


# Arithmetic.


def test_a_table_that_knows_nothing_costs_log2_for_each_answer() -> None:
    batch = Words.of(photographs("word2vec-skipgram", 8))
    task = made("word2vec-skipgram", negatives=3)

    # Noise that is the word itself does not count, so it is a little less.
    loss = task(batch).loss.item()
    assert loss == pytest.approx(4 * math.log(2), rel=0.1)
    assert loss < 4 * math.log(2)


def test_every_neighbour_counts_once_and_noise_once_for_each_neighbour_it_is_not() -> None:
    task = task_of()
    band = torch.tensor([[[True, False, True], [False, False, False]]])
    around, noise = torch.tensor([[4, 5, 6]]), torch.full((1, SHARED), 6)
    vectors = task.predict(torch.tensor([[1, 2]]))

    loss = task.score(vectors, WordNeighbours(around, band, noise)).loss

    four, six = (task.output.weight[word] @ task.words.vectors[1] for word in (4, 6))
    wanted = F.softplus(-four) + F.softplus(-six) + 5 * F.softplus(six)
    assert loss.item() == pytest.approx(wanted.item() / 2)


# Refusal.


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"window": 0}, "window must be from 1 to 50"),
        ({"window": 51}, "window must be from 1 to 50"),
        ({"negatives": 0}, "negatives must be from 1 to 100"),
        ({"subsample": 1.5}, r"subsample must be in \[0, 1\]"),
    ],
)
def test_settings_outside_their_range_are_refused(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made("word2vec-skipgram", **setting)


def test_an_encoder_of_pictures_is_refused() -> None:
    encoder = made("rotation").encoder

    with pytest.raises(UsageError, match="asked of vectors of words"):
        SkipGram(encoder, encoder.dim)


# Oracle.


def test_loss_and_gradient_are_those_of_a_loop_over_words() -> None:
    task = task_of(window=3, negatives=4, subsample=0.05)
    batch = Words.of(photographs("word2vec-skipgram", 2))
    words, hidden = task.hide(batch)
    table = nn.Parameter(task.words.table.weight.detach().clone())
    output = nn.Parameter(task.output.weight.detach().clone())
    losses: list[Tensor] = []
    for block, place, around in hidden.band.nonzero().tolist():
        vector = table[words[block, place]]
        neighbour = int(hidden.around[block, around])
        loss = -F.logsigmoid(output[neighbour] @ vector)
        for noise in hidden.noise[block].tolist():
            if noise != neighbour:
                loss = loss - F.logsigmoid(-(output[noise] @ vector)) * 4 / SHARED
        losses.append(loss)
    total = torch.stack(losses).sum()
    total.backward()

    found = task(batch).loss
    found.backward()

    assert found.item() == pytest.approx(total.item() / len(losses))
    for mine, its in (
        (task.words.table.weight.grad, table.grad),
        (task.output.weight.grad, output.grad),
    ):
        assert mine is not None
        assert its is not None
        assert torch.allclose(mine.to_dense(), its)
