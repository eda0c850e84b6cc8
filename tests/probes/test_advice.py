"""Advice: each row of the table, and commands that the command line understands."""

import shlex
from typing import Any

import pytest

from selfsight.cli import VERBS, _asked  # pyright: ignore[reportPrivateUsage] -- what is typed
from selfsight.probes.advice import (
    Advice,
    Trained,
    after_pretraining,
    after_probe,
    early_loss,
    lines,
)
from selfsight.probes.verdict import Solved
from selfsight.settings import Embed, Neighbours, Pretrain, Probe
from selfsight.tasks.table import TASKS

RUN = Trained("runs/my run", "my $data/é", ("rotation",), 6400, 0.1, ("--size", "32"))
HALF = [Solved("rotation", 0.7, 1.386)]


def asked(advice: Advice) -> Any:
    """Read a command as a shell and the command line do."""
    assert advice.command is not None
    program, *words = shlex.split(advice.command)
    assert program == "selfsight"
    assert words[0] in VERBS
    return _asked(words)


def pretrained(**changes: Any) -> Advice:
    given: dict[str, Any] = {
        "of": RUN, "word": "unknown", "alike": False, "solved": HALF, "early": 1.3,
        "labelled": False,
    }  # fmt: skip
    given |= changes
    return after_pretraining(given.pop("of"), given.pop("word"), **given)


def probed(word: str, of: Trained | None = RUN, **more: Any) -> Advice:
    network = "timm:resnet18" if of is None else of.run
    return after_probe(of, word, network=network, data="other data", **more)


def test_every_task_has_one_of_another_kind() -> None:
    others = {row.instead for row in TASKS.values()}

    assert all(TASKS[other].instead in others - {other} for other in others)


def test_pictures_that_are_all_alike_need_others_whatever_the_rest() -> None:
    for advice in (pretrained(alike=True, word="collapsed"), probed("collapsed", alike=True)):
        assert advice == Advice("Give pictures that differ from each other.")


def test_what_has_collapsed_is_trained_at_a_third_of_the_rate() -> None:
    for advice in (pretrained(word="collapsed"), probed("collapsed")):
        settings = asked(advice)
        assert isinstance(settings, Pretrain)
        assert (settings.data, settings.task, settings.samples, settings.size) == (
            *("my $data/é", ("rotation",), 6400, 32),
        )
        assert settings.rate == pytest.approx(0.033)


def test_a_task_solved_at_once_is_too_easy() -> None:
    advice = pretrained(early=0.1, solved=[Solved("rotation", 0.001, 1.386)], labelled=True)

    assert "too easy for these pictures" in advice.words
    assert asked(advice).task == ("simclr",)


def test_a_task_solved_late_or_by_labels_is_not_too_easy() -> None:
    solved = [Solved("rotation", 0.001, 1.386)]
    assert isinstance(asked(pretrained(early=0.2, solved=solved)), Neighbours)
    assert isinstance(asked(pretrained(early=None, solved=solved)), Neighbours)
    of_labels = [Solved("supervised", 0.001, 0.69)]
    assert isinstance(asked(pretrained(early=0.01, solved=of_labels, labelled=True)), Probe)


def test_the_early_loss_is_the_last_logged_in_the_first_hundredth_of_the_steps() -> None:
    rows = [{"step": 0}, *({"step": step, "loss": 1 / step} for step in (5, 10, 15, 1000))]

    assert early_loss(rows, 1000) == 1 / 10
    assert early_loss(rows, 100) is None


def test_an_unsolved_task_is_trained_four_times_as_long() -> None:
    settings = asked(pretrained(solved=[Solved("rotation", 1.39, 1.386)]))

    assert (settings.task, settings.samples) == (("rotation",), 4 * 6400)


def test_labels_that_are_there_are_probed_and_none_are_asked_for() -> None:
    advice = pretrained(labelled=True)

    assert asked(advice) == Probe(run="runs/my run")
    assert "fifty" not in advice.words


def test_without_labels_neighbours_can_be_looked_at() -> None:
    advice = pretrained()

    assert asked(advice) == Neighbours(run="runs/my run")
    assert "sort fifty pictures" in advice.words


def test_the_dictionary_is_taken_where_it_is_better_by_a_point() -> None:
    better = asked(probed("learning", trained=0.6, dictionary=0.61))
    assert (better.data, better.task) == ("other data", ("patch-dictionary",))
    worse = asked(probed("learning", trained=0.6, dictionary=0.605))
    assert isinstance(worse, Embed)


def test_no_gain_sends_to_another_kind_of_task_at_as_many_samples() -> None:
    settings = asked(probed("no better than untrained", trained=0.6, dictionary=0.5))

    assert (settings.data, settings.task, settings.samples) == ("my $data/é", ("simclr",), 6400)


def test_what_is_too_close_to_tell_is_trained_longer() -> None:
    settings = asked(probed("too close to tell", trained=0.6, dictionary=0.5))

    assert (settings.task, settings.samples) == (("rotation",), 4 * 6400)


def test_both_kinds_at_once_are_trained_longer() -> None:
    both = Trained("r", "d", ("rotation", "simclr"), 100, 0.1)

    assert asked(probed("no better than untrained", both, trained=0.6)).samples == 400


@pytest.mark.parametrize("word", ["no better than untrained", "too close to tell"])
def test_weights_of_timms_are_gone_on_from(word: str) -> None:
    settings = asked(probed(word, None, trained=0.6, dictionary=0.5))

    assert (settings.data, settings.start) == ("other data", "timm:resnet18")


def test_what_was_fitted_is_neither_trained_longer_nor_advised_to_itself() -> None:
    fitted = Trained("r", "d", ("patch-dictionary",), 100, 0.0)
    fit = [Solved("patch-dictionary", 0.7, 1.0)]

    assert isinstance(asked(pretrained(of=fitted, solved=fit, early=0.05)), Neighbours)
    settings = asked(probed("no better than untrained", fitted, trained=0.5, dictionary=0.6))
    assert settings.task == ("simclr",)
    assert pretrained(of=fitted, word="collapsed").command is None


def test_a_run_is_read_from_its_settings() -> None:
    plan = {"data": "d", "tasks": ["rotation"], "steps": 10, "batch": 64, "rate": 0.1}
    flags = {"limit": None, "tile": 64, "size": 32}

    found = Trained.kept("r", {"plan": plan, "asked": flags})

    assert found == Trained("r", "d", ("rotation",), 640, 0.1, ("--tile", "64", "--size", "32"))


def test_a_record_of_an_older_run_has_no_advice() -> None:
    assert lines({"verdict": "unknown"}) == []
    assert lines({"next": {"words": "Wait.", "command": None}}) == ["Wait."]
