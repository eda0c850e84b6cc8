"""Table: what a row names is there, and every task is told of wherever tasks are listed."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from selfsight.looks.photographs.applications import Application
from selfsight.looks.task_sheet import TaskSheet
from selfsight.settings import Pretrain
from selfsight.system.loading import object_at
from selfsight.tasks.table import TASKS, USUAL, WITHOUT_TRAINING, load_task

ROOT = Path(__file__).parents[2]
every_task = pytest.mark.parametrize("name", TASKS)


def docs_script(name: str) -> ModuleType:
    """Load a script of docs/, which is no package."""
    found = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@every_task
def test_a_row_names_a_sheet(name: str) -> None:
    assert isinstance(object_at(TASKS[name].sheet), TaskSheet)


@pytest.mark.parametrize("name", [name for name, row in TASKS.items() if row.application])
def test_a_row_names_how_the_task_is_applied(name: str) -> None:
    place = TASKS[name].application

    assert place is not None
    assert isinstance(object_at(place), Application)


@every_task
def test_a_lesson_can_be_asked_for(name: str) -> None:
    """A task that is trained says how long, and its flags are flags of `pretrain`."""
    row = TASKS[name]

    assert (row.lesson.samples is None) == (row.way == "fitted")
    Pretrain(data="x", task=(name,), samples=row.lesson.samples, **row.lesson.settings)


@every_task
def test_a_pretext_task_needs_no_labels(name: str) -> None:
    assert TASKS[name].pretext is not load_task(name).needs.labels


@every_task
def test_a_task_is_told_of_in_the_readme(name: str) -> None:
    assert f"`{name}`" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_page_of_tasks_is_current() -> None:
    script = docs_script("tasks")

    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run: make docs"
    assert all(f"## `{name}`" in script.page() for name in TASKS)


def test_what_is_advised_by_name_is_there() -> None:
    assert TASKS[USUAL].way == "trained"
    assert TASKS[WITHOUT_TRAINING].way == "fitted"
