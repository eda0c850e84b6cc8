"""Contract kept: who uses a task goes by its contract and row, never by its name or what it has."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import selfsight
from selfsight.tasks.cards import settings_of
from selfsight.tasks.table import TASKS, load_task

SOURCE = Path(selfsight.__file__).parent
PROBING = ("hasattr", "getattr", "setattr", "isinstance", "issubclass", "cast")
CALLED = ("task", "twin", "tasks")  # what a task is called in the sources
# What is no name of a task, or shows one task that was chosen for it.
NAMED = {
    ("commands/demo.py", "rotation"),  # the task of the demonstration
    ("encoders/own_architectures.py", "patch-dictionary"),  # an encoder of that name
    ("encoders/patch_dictionary.py", "patch-dictionary"),
}
# What a row of the table names, and the baseline of every probe, which is fitted as the task is.
OF_ONE_TASK = (
    "tasks/",
    "looks/sheets/",
    "looks/photographs/applications.py",
    "probes/references.py",
)
MODULES = {row.target.partition(":")[0] for row in TASKS.values()}


def sources(*, left_out: tuple[str, ...] = ()) -> Iterator[tuple[str, ast.AST]]:
    """Give every part of the sources, with the file it is in."""
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE).as_posix()
        if not place.startswith(left_out):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                yield place, node


def is_a_task(node: ast.AST) -> bool:
    """Tell whether an expression gives a task, by what it is called: `task`, `self.task`."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "load_task"
    if isinstance(node, ast.Subscript):
        return is_a_task(node.value)
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name in CALLED


def asks_what_a_task_has(node: ast.AST) -> bool:
    """Tell whether a call asks what a task is or has, where its contract says it."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
        return False
    whether_a_name = ast.unparse(node.args[-1]) == "str"  # a task is asked for by its name
    return node.func.id in PROBING and any(map(is_a_task, node.args)) and not whether_a_name


@pytest.mark.parametrize(
    "wrong",
    ["hasattr(task, 'embed')", "cast(Any, self.task)", "isinstance(tasks[name], Together)"],
)
def test_the_search_finds_what_it_is_for(wrong: str) -> None:
    assert any(map(asks_what_a_task_has, ast.walk(ast.parse(wrong))))


def test_nobody_asks_what_a_task_is_or_has() -> None:
    asking = [
        f"{place}, line {node.lineno}: {ast.unparse(node)}"
        for place, node in sources()
        if isinstance(node, ast.Call) and asks_what_a_task_has(node)
    ]

    # Where the table makes a task, and the mix lists its own, their class is known.
    assert [one for one in asking if not one.startswith("tasks/") or "cast(" not in one] == []


def test_no_task_is_named_outside_of_the_tasks() -> None:
    named = {
        (place, node.value)
        for place, node in sources(left_out=("tasks/",))
        if isinstance(node, ast.Constant) and node.value in TASKS
    }

    assert named == NAMED


def test_only_what_a_row_names_and_the_baseline_know_a_task_by_its_class() -> None:
    loading = {
        place
        for place, node in sources(left_out=OF_ONE_TASK)
        if isinstance(node, ast.ImportFrom) and node.module in MODULES
    }

    assert loading == set()


@pytest.mark.parametrize("name", TASKS)
def test_the_row_says_what_the_class_needs(name: str) -> None:
    assert TASKS[name].pretext == (not load_task(name).needs.labels)
    assert (TASKS[name].way == "fitted") == (
        load_task(name).encoder_of(settings_of(name)) is not None
    )
