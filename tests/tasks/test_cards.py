"""Describe: what --set takes, and what it refuses in which words."""

from typing import Any

import pytest

from selfsight.errors import UsageError
from selfsight.tasks.cards import arguments_in, card, cards, parsed_settings, settings_of
from selfsight.tasks.table import TASKS, row_of


@pytest.mark.parametrize(
    ("task", "pairs", "expected"),
    [
        ("rotation", (), {}),
        ("rotation", ("rotation.least_scale=0.5",), {"least_scale": 0.5}),
        ("rotation", ("rotation.least_scale=1",), {"least_scale": 1.0}),
        ("rotation", ("rotation.least_scale=1e-1",), {"least_scale": 0.1}),
        (
            "supervised",
            ("supervised.classes=7", "supervised.least_scale=0.3"),
            {"classes": 7, "least_scale": 0.3},
        ),
        ("supervised", ("supervised.classes=none",), {"classes": None}),
    ],
)
def test_values_are_of_the_settings_kind(
    task: str, pairs: tuple[str, ...], expected: dict[str, Any]
) -> None:
    found = parsed_settings((task,), pairs)[task]

    assert found == expected
    assert [type(v) for v in found.values()] == [type(v) for v in expected.values()]


def test_the_last_of_two_values_counts() -> None:
    pairs = ("rotation.least_scale=0.5", "rotation.least_scale=0.6")

    assert parsed_settings(("rotation",), pairs) == {"rotation": {"least_scale": 0.6}}


def test_several_tasks_and_their_mix_have_settings_each() -> None:
    tasks = ("rotation", "supervised")
    pairs = ("rotation.least_scale=0.5", "mix.weights=2,1", "mix.statistics=separate")

    assert parsed_settings(tasks, (*pairs, "mix.harmonised=true")) == {
        "rotation": {"least_scale": 0.5},
        "supervised": {},
        "mix": {"weights": "2,1", "statistics": "separate", "harmonised": True},
    }


def test_a_word_that_is_none_of_a_settings_is_refused() -> None:
    with pytest.raises(UsageError, match="must be shared or separate or none, got 'own'"):
        parsed_settings(("rotation", "supervised"), ("mix.statistics=own",))
    with pytest.raises(UsageError, match="a mix is of several tasks, got rotation alone"):
        parsed_settings(("rotation",), ("mix.harmonised=true",))


@pytest.mark.parametrize(
    ("task", "pair", "sentence"),
    [
        (
            "rotation",
            "rotation.least_scal=0.5",
            "unknown setting of rotation 'least_scal'; did you mean least_scale?",
        ),
        ("rotation", "rotation.zzz=0.5", "unknown setting of rotation 'zzz'; known: least_scale"),
        (
            "rotation",
            "supervised.classes=7",
            "unknown task of this run 'supervised'; known: rotation",
        ),
        ("rotation", "least_scale=0.5", "--set takes TASK.SETTING=VALUE, got 'least_scale=0.5'"),
        (
            "rotation",
            "rotation.least_scale",
            "--set takes TASK.SETTING=VALUE, got 'rotation.least_scale'",
        ),
        ("rotation", "", "--set takes TASK.SETTING=VALUE, got ''"),
        (
            "rotation",
            "rotation.least_scale=much",
            "--set rotation.least_scale=much: the value must be float, got 'much'",
        ),
        (
            "rotation",
            "rotation.least_scale=",
            "--set rotation.least_scale=: the value must be float, got ''",
        ),
        (
            "supervised",
            "supervised.classes=7.5",
            "--set supervised.classes=7.5: the value must be int or none, got '7.5'",
        ),
        (
            "rotation",
            "rotation.least_scale=inf",
            "--set rotation.least_scale=inf: the value must be float, got 'inf'",
        ),
        # The side comes from --size, the encoder and its width from the run.
        ("rotation", "rotation.size=64", "unknown setting of rotation 'size'; known: least_scale"),
        ("rotation", "rotation.dim=64", "unknown setting of rotation 'dim'; known: least_scale"),
    ],
)
def test_what_cannot_be_set_is_said(task: str, pair: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        parsed_settings((task,), (pair,))

    assert str(refused.value) == sentence


def test_settings_have_the_constructors_defaults() -> None:
    assert settings_of("rotation") == {"least_scale": 0.7}
    assert settings_of("supervised") == {"classes": None, "least_scale": 0.2}


def test_a_card_says_what_its_file_says() -> None:
    found = card("rotation")

    assert found["title"] == "Rotation: turn a picture, then ask which way is up."
    assert found["hidden"].startswith("the quarter-turn k given to each picture")
    assert found["predicted"].startswith("k, by one linear layer")
    assert found["scored"] == "cross-entropy; a blind guess costs log 4 = 1.386 nats."
    assert found["reference"].startswith("Gidaris, Singh, Komodakis,")


def test_a_card_says_what_its_settings_mean() -> None:
    (setting,) = card("rotation")["settings"].values()

    assert setting["default"] == 0.7
    assert setting["meaning"].startswith("Least share of the picture's area that a crop keeps, in")
    assert setting["meaning"].endswith("and 0.5 less than 0.8.")  # continued on further lines


def test_a_task_that_refines_another_has_its_words_and_derived_settings_no_default() -> None:
    refined, first = card("moco-v2")["settings"], card("moco")["settings"]

    assert refined["queue"] == first["queue"]
    assert refined["queue"]["default"] is None
    assert (refined["temperature"]["default"], first["temperature"]["default"]) == (0.2, 0.1)


def test_the_mix_has_a_card_of_its_settings() -> None:
    assert card("mix")["settings"].keys() == {"weights", "harmonised", "statistics"}


def test_the_section_of_arguments_ends_where_its_indent_does() -> None:
    words = """Do it.

    Args:
        side: In pixels,
            at least: 1.
        share: Of it.

    Returns:
        other: Nothing.
    """

    assert arguments_in(words) == {"side": "In pixels, at least: 1.", "share": "Of it."}


def test_cards_come_in_the_tables_order() -> None:
    assert [found["name"] for found in cards()] == list(TASKS)


def test_an_unknown_task_lists_close_matches() -> None:
    with pytest.raises(UsageError, match=r"unknown task 'rotations'; did you mean rotation"):
        row_of("rotations")
