"""Planted: the contract's checks find nothing in a sound BYOL, and each mistake in another one."""

import re

import pytest
import torch

import planted
from contract import faults_of_scoring, faults_of_targets, faults_of_views
from making import batch_of, photographs
from planted import BYOL
from selfsight.encoders import build


def faults(kind: type[BYOL]) -> list[str]:
    """Ask all checks of a task that is made anew for each of them."""
    found: list[str] = []
    for check in (faults_of_scoring, faults_of_targets, faults_of_views):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            encoder = build("small", size=16, arguments={"stem": 16, "widths": (16, 32)})
            task = kind(encoder, encoder.dim, size=16)
        found += check(task, batch_of("simclr", photographs("simclr", 8)))
    return found


def test_the_checks_find_nothing_in_a_sound_task() -> None:
    assert faults(BYOL) == []


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (planted.NeverFollows, r"encoder.* does not follow the step"),
        (planted.ItsOwnTarget, r"view \d+ is its own target"),
        (planted.EqualViews, r"the two views of sample 0 are the same"),
        (planted.ChangedByScoring, r"scoring changes target\.encoder"),
        (planted.NoStopGradient, r"target network 0 is asked nothing"),
        (planted.UndeclaredTarget, r"target\.\S+ is not trained, and no declared target"),
    ],
)
def test_the_checks_find_a_planted_mistake(mistake: type[BYOL], words: str) -> None:
    found = faults(mistake)

    assert [fault for fault in found if re.match(words, fault)], found
