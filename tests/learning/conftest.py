"""What all lessons share: pictures, baselines and runs, made once for all that ask."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import selfsight
from lessons import LESSONS, lesson_data, trained
from selfsight.system.locks import alone
from selfsight.training.run import Run


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this session, the same for all that work at it."""
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "lessons"
    home.mkdir(exist_ok=True)
    return home


@pytest.fixture(autouse=True)
def own_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for all lessons: patch dictionaries and untrained networks are probed once."""
    monkeypatch.setenv("SELFSIGHT_CACHE", str(home / "cache"))


@pytest.fixture
def taught(home: Path, shared_data: Path) -> Callable[[str], Run]:
    """Gives the run of a task's lesson, trained when it is first asked for."""

    def run_of(task: str) -> Run:
        lesson = LESSONS[task]
        with alone(home / f"{task}.lock"):
            return trained(task, lesson, lesson_data(lesson.data, shared_data, home), home / task)

    return run_of


@pytest.fixture
def probed() -> Callable[..., dict[str, Any]]:
    """Probe a run on what it was trained on: -> the record."""

    def ask(run: Run, **options: Any) -> dict[str, Any]:
        record = selfsight.probe(run, **options)
        assert isinstance(record, dict)
        return record

    return ask
