"""Trust: every promise of docs/trust.md has a test, which is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def promises() -> list[tuple[str, list[tuple[str, str]]]]:
    """Read the table: -> each promise, and the tests that are named beside it."""
    lines = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")][2:]
    whole = [row for row in rows if not row[0].startswith("**")]
    return [(row[0], TEST.findall(row[-1]) if len(row) > 1 else []) for row in whole]


def test_every_promise_has_a_test_that_is_there() -> None:
    found = promises()

    assert len(found) > 10
    for promise, tests in found:
        assert tests, f"no test proves it: {promise}"
        for file, name in tests:
            assert (ROOT / file).is_file(), f"{file}, which is to prove it, is not there: {promise}"
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            assert name in there, f"{file} has no {name}, which is to prove it: {promise}"


def test_no_promise_is_made_twice() -> None:
    made = [promise for promise, _ in promises()]

    assert len(set(made)) == len(made)
