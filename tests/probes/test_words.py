import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from making import table_of_words
from selfsight.probes.words import answered_right, nearest_words, ranks, spearman


def test_ranks_of_equal_values_are_the_mean_of_their_places() -> None:
    assert ranks(torch.tensor([5.0, 1.0, 5.0, 5.0, 0.0])).tolist() == [4, 2, 4, 4, 1]


def test_the_rank_correlation_is_scipy_s() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 9, (2, 60)).astype(float)

    found = spearman(torch.from_numpy(x), torch.from_numpy(y)).item()

    assert found == pytest.approx(spearmanr(x, y)[0])
    assert spearman(torch.ones(5), torch.arange(5.0)).item() == 0


def test_an_analogy_is_answered_by_the_word_nearest_to_the_sum() -> None:
    man, royal, woman = torch.eye(4)[:3]
    vectors = torch.stack([man, man + royal, woman, woman + royal, torch.eye(4)[3]])
    vectors = vectors / vectors.norm(dim=1, keepdim=True)

    right = answered_right(vectors, torch.tensor([[0, 1, 2, 3], [0, 1, 2, 4]]))

    assert right.tolist() == [True, False]


def test_the_nearest_words_are_told_nearest_first_without_the_word_itself() -> None:
    table = table_of_words(2)
    with torch.no_grad():
        angles = torch.linspace(0, 3, len(table.words))
        table.table.weight.copy_(torch.stack([angles.cos(), angles.sin()], dim=1))

    assert {*nearest_words(table, "WORD5", 2)} == {"word4", "word6"}
    assert {*nearest_words(table, "WORD5", 4)} == {"word3", "word4", "word6", "word7"}
    with pytest.raises(KeyError):
        nearest_words(table, "nowhere")
