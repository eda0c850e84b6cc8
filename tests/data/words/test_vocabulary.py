import numpy as np

from selfsight.data.words.vocabulary import Numbering, chosen, words_in


def test_words_are_runs_of_letters_and_digits_in_lower_case() -> None:
    assert words_in("Ça m\u2019est égal, 3.5 (or 3_000) times: WELL-known!") == [
        "ça", "m'est", "égal", "3", "5", "or", "3", "000", "times", "well", "known",
    ]  # fmt: skip


def test_words_are_numbered_as_they_come() -> None:
    numbers = Numbering()

    assert numbers.of(["b", "a", "b"]).tolist() == [0, 1, 0]


def test_equally_frequent_words_keep_their_order() -> None:
    numbers = Numbering()
    counts = np.bincount(numbers.of(["c", "b", "b", "a", "a", "d"]))

    vocabulary, numbered = chosen(numbers, counts, 1)

    assert list(vocabulary.words) == ["b", "a", "c", "d"]
    assert numbered.tolist() == [2, 0, 1, 3]
