"""Part names: the same words mean the same part in folders, files, lists, arrays and idx."""

from pathlib import Path

import pytest

from selfsight.data.pictures.forms.part_names import (
    in_parts,
    part_in_name,
    part_of_folder,
    part_of_word,
)
from selfsight.errors import SelfsightError

WORDS = {
    "train": ("train", "training", "Train", "TRAINING", "trainset"),
    "val": ("val", "valid", "validation", "dev", "Valid"),
    "test": ("test", "testing", "eval", "evaluation", "t10k", "Testing", "TEST"),
    "": ("trains", "tests", "contest", "value", "bus", ""),
}


@pytest.mark.parametrize(("part", "word"), [(p, w) for p, words in WORDS.items() for w in words])
def test_a_word_means_the_same_part_wherever_it_stands(part: str, word: str) -> None:
    assert part_of_word(word) == part
    assert part_of_folder(word) == part
    assert part_in_name(f"cifar-{word}-00001-of-00002") == part


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("training_set", "train"),
        ("test images", "test"),
        ("val2017", "val"),
        ("1_train", "train"),
        ("train station", ""),
        ("driving test", ""),
        ("train_test", ""),
        ("images", ""),
    ],
)
def test_a_folder_is_a_part_where_its_name_says_nothing_else(name: str, part: str) -> None:
    assert part_of_folder(name) == part


def test_files_of_one_part_or_none_are_all_there_is() -> None:
    for names in (("a", "b"), ("test-0", "test-1")):
        paths = [Path(f"{name}.tar") for name in names]

        assert in_parts("here", paths) == {"train": paths}


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("train", "other"), r"train\.npz does and other\.npz does not"),
        (("test", "val"), "must be called train"),
        (("train-and-test", "x"), "names test and train"),
    ],
)
def test_files_whose_parts_stay_open_are_refused(names: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(SelfsightError, match=sentence):
        in_parts("here", [Path(f"{name}.npz") for name in names])
