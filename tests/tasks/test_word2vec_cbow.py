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
from selfsight.tasks.word2vec_cbow import Blanks, Company, ContinuousBagOfWords


def task_of(**settings: Any) -> ContinuousBagOfWords:
    task = made("word2vec-cbow", **settings)
    assert isinstance(task, ContinuousBagOfWords)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in task.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return task.double()


# Arithmetic.


def test_a_table_that_knows_nothing_costs_log2_for_each_answer() -> None:
    batch = Words.of(photographs("word2vec-cbow", 8))
    task = made("word2vec-cbow", negatives=3)

    # Noise that is the word itself does not count, so it is a little less.
    loss = task(batch).loss.item()
    assert loss == pytest.approx(4 * math.log(2), rel=0.1)
    assert loss < 4 * math.log(2)


def test_neighbours_are_averaged_and_a_word_without_any_costs_nothing() -> None:
    task = task_of()
    band = torch.tensor([[[True, False, True], [False, False, False]]])
    shown = Company(torch.tensor([[4, 5, 6]]), band)

    means = task.predict(shown)

    vectors = task.words.vectors
    assert torch.allclose(means[0, 0], (vectors[4] + vectors[6]) / 2)
    assert means[0, 1].abs().sum() == 0
    noise = torch.full((1, SHARED), 7)
    alone = task.score(means, Blanks(torch.tensor([[1, 2]]), band.any(dim=2), noise)).loss
    true, false = task.output.weight[1] @ means[0, 0], task.output.weight[7] @ means[0, 0]
    assert alone.item() == pytest.approx((F.softplus(-true) + 5 * F.softplus(false)).item())


def test_noise_that_is_the_word_itself_does_not_count() -> None:
    task = task_of()
    means = torch.randn(1, 1, task.words.dim, dtype=torch.float64)
    blanks = Blanks(torch.tensor([[3]]), torch.tensor([[True]]), torch.full((1, SHARED), 3))

    loss = task.score(means, blanks).loss

    assert loss.item() == pytest.approx(F.softplus(-(task.output.weight[3] @ means[0, 0])).item())


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
        made("word2vec-cbow", **setting)


def test_an_encoder_of_pictures_is_refused() -> None:
    encoder = made("rotation").encoder

    with pytest.raises(UsageError, match="asked of vectors of words"):
        ContinuousBagOfWords(encoder, encoder.dim)


# Oracle.


def test_loss_and_gradient_are_those_of_a_loop_over_words() -> None:
    task = task_of(window=3, negatives=4, subsample=0.05)
    batch = Words.of(photographs("word2vec-cbow", 2))
    shown, blanks = task.hide(batch)
    table = nn.Parameter(task.words.table.weight.detach().clone())
    output = nn.Parameter(task.output.weight.detach().clone())
    losses: list[Tensor] = []
    for block in range(len(blanks.words)):
        for place in range(blanks.words.shape[1]):
            around = shown.around[block][shown.band[block, place]].tolist()
            if not around:
                continue
            mean = sum(table[word] for word in around) / len(around)
            word = int(blanks.words[block, place])
            loss = -F.logsigmoid(output[word] @ mean)
            for noise in blanks.noise[block].tolist():
                if noise != word:
                    loss = loss - F.logsigmoid(-(output[noise] @ mean)) * 4 / SHARED
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
