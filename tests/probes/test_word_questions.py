from pathlib import Path

import pytest

from selfsight.errors import SelfsightError
from selfsight.probes.word_questions import Analogies, RatedPairs, questions_in


def only(path: Path, text: str) -> object:
    path.write_text(text)
    (found,) = questions_in(str(path))
    return found


def test_a_list_of_pairs_is_told_by_its_numbers(tmp_path: Path) -> None:
    found = only(
        tmp_path / "wordsim.csv", "Word 1,Word 2,Human (mean)\nlove,Sex,6.77\na,b,1\nc,d,2\n"
    )

    assert found == RatedPairs("wordsim", (("love", "sex", 6.77), ("a", "b", 1.0), ("c", "d", 2.0)))


def test_of_several_columns_the_first_number_counts(tmp_path: Path) -> None:
    found = only(
        tmp_path / "simlex.txt",
        "word1\tword2\tPOS\tSimLex999\nold\tnew\tA\t1.58\t2.7\na\tb\tN\t3\t1\nc\td\tV\t4\t1\n",
    )

    assert isinstance(found, RatedPairs)
    assert found.pairs[0] == ("old", "new", 1.58)


def test_analogies_have_four_words_and_sections(tmp_path: Path) -> None:
    found = only(
        tmp_path / "questions.txt",
        ": capitals\nAthens Greece Oslo Norway\nOslo Norway Athens Greece\n"
        ": family\nboy girl man woman\n",
    )

    assert isinstance(found, Analogies)
    assert list(found.sections) == ["capitals", "family"]
    assert found.sections["family"] == [("boy", "girl", "man", "woman")]


def test_a_folder_gives_the_lists_in_it_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("Lists of pairs.\nFetched somewhere.\n")
    (tmp_path / "a.txt").write_text("a b 1\nc d 2\ne f 3\n")

    assert [one.name for one in questions_in(str(tmp_path))] == ["a"]


def test_a_file_that_is_no_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Once upon a time\nthere was no list\n")

    with pytest.raises(SelfsightError, match="no questions on words in"):
        questions_in(str(tmp_path / "a.txt"))
