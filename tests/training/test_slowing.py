"""Slowing: said once, when the pace is a third of what was planned or of the best so far."""

from typing import Any

import pytest

from selfsight.modalities.pictures import PicturePlan
from selfsight.training.plan import Plan
from selfsight.training.slowing import Slowing

PLAN: dict[str, Any] = {
    "data": "d", "limit": None, "fingerprint": "", "samples": 100, "classes": (),
    "sample": PicturePlan(3, 8, 8), "tasks": ("rotation",), "task_settings": {}, "mix": None,
    "encoder": {}, "start": None, "batch": 60, "steps": 10, "seed": 0, "optimizer": "sgd",
    "rate": 0.1, "decay": 0.0, "schedule": "cosine", "warmup": 0, "clip": None, "device": "cpu",
    "precision": "f32", "memory_format": "", "threads": 2, "seconds_a_step": None,
    "save_every": 60.0,
}  # fmt: skip


def said(slowing: Slowing, *seconds: float) -> list[str]:
    """Count steps in: -> what was said."""
    found: list[str] = []
    for taken in seconds:
        slowing.after(taken)
        found += filter(None, [slowing.news()])
    return found


def test_a_third_of_the_best_pace_is_said_once_with_the_remedy() -> None:
    slowing = Slowing(Plan(**PLAN))
    paces = [2.0] * 5 + [1.0] * 5 + [2.9] * 5 + [3.1] * 5 + [30.0] * 10

    (words,) = said(slowing, *paces)

    assert words == (
        "the pace fell to 19 pictures a second, from 60 at its best: other programs take the "
        "processors; let fewer run beside it, or begin a new run with --threads 1: 2 threads wait "
        "for each other"
    )


def test_a_plan_that_was_measured_is_compared_with() -> None:
    (words,) = said(Slowing(Plan(**{**PLAN, "seconds_a_step": 1.0})), *[4.0] * 5)

    assert words.startswith("the pace fell to 15 pictures a second, from 60 as planned: ")
    assert said(Slowing(Plan(**{**PLAN, "seconds_a_step": 1.0})), *[2.9] * 50) == []


def test_one_thread_waits_for_nobody() -> None:
    (words,) = said(Slowing(Plan(**{**PLAN, "threads": 1})), *[1.0] * 5, *[4.0] * 5)

    assert words.endswith("other programs take the processors; let fewer run beside it")


def test_a_gpu_is_shared_as_a_device() -> None:
    (words,) = said(Slowing(Plan(**{**PLAN, "device": "cuda"})), *[1.0] * 5, *[4.0] * 5)

    assert words.endswith("other programs share the device; let fewer run beside it")


def test_tasks_that_take_turns_are_compared_by_whole_turns() -> None:
    slowing = Slowing(Plan(**PLAN), cycle=4)

    assert said(slowing, *[1.0, 1.0, 1.0, 9.0] * 20) == []


@pytest.mark.parametrize("seconds", [0.001, 100.0])
def test_a_steady_pace_is_not_worth_a_word(seconds: float) -> None:
    assert said(Slowing(Plan(**PLAN)), *[seconds] * 10_000) == []
