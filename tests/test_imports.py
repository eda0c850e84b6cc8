"""Imports: help answers without heavy libraries, names load, and modules look only to the left."""

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import selfsight

SOURCE = Path(selfsight.__file__).parent
HOMES = selfsight._HOMES  # pyright: ignore[reportPrivateUsage] -- the table under test
HEAVY = ("torch", "numpy", "timm", "lightning_fabric", "matplotlib")

# The house of DESIGN.md. What serves all may be imported by everything, and imports only its like.
SERVE_ALL = {
    "errors", "settings", "batch", "draws", "score", "atomic", "progress", "machine", "encoders",
    "parts", "verdict", "advice", "cielab", "names", "presence", "locks", "kept",
    "signals", "streams",
}  # fmt: skip
LEFT_TO_RIGHT = (
    {"data"},
    {"augment"},
    {"tasks"},
    {"run", "checkpoint"},
    {"probes"},
    {"plan", "processes", "slowing", "train", "pace", "tracking"},
    {
        "origin",
        "reading",
        "subject",
        "weights",
        "preparing",
        "overlap",
        "fitting",
        "pretraining",
        "probing",
    },
    {"looks"},
    {"neighbouring", "embedding", "looking", "applying"},
    {"studies"},
)
PLACE = {name: place for place, names in enumerate(LEFT_TO_RIGHT) for name in names}
SEE_ALL = {"cli", "__main__", "__init__", "listing"}
ENGINE_SERVES_FROM = PLACE["run"]  # devices and precision: nothing of them in data or in tasks
# Settings check the names of tasks against the table, which itself loads nothing.
EXCEPTIONS = {("settings", "selfsight.tasks", "row_of")}

HELP = """
import json, os, sys
os.environ.pop("OMP_WAIT_POLICY", None)
import selfsight
from selfsight.cli import main
waiting = [os.environ.get("OMP_WAIT_POLICY")]
status = main(["--help"])
waiting.append(os.environ.get("OMP_WAIT_POLICY"))
print()
print(json.dumps([status, waiting, sorted(sys.modules)]))
"""


def test_help_loads_nothing_heavy_and_only_the_command_lets_threads_rest() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", HELP], capture_output=True, text=True, check=True
    )

    status, waiting, modules = json.loads(done.stdout.splitlines()[-1])
    assert waiting == [None, "passive"]
    assert "pretrain" in done.stdout
    assert status == 0
    assert [name for name in HEAVY if name in modules] == []


@pytest.mark.parametrize("name", selfsight.__all__)
def test_every_public_name_loads(name: str) -> None:
    home = HOMES[name]
    try:
        there = importlib.util.find_spec(home) is not None
    except ModuleNotFoundError:  # its folder is missing too
        there = False
    if not there:
        pytest.skip(f"{home} is not written yet")

    assert getattr(selfsight, name).__name__ == name


def test_public_names_are_those_with_a_home() -> None:
    assert sorted(HOMES) == selfsight.__all__
    assert set(selfsight.__all__) <= set(dir(selfsight))


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'selfsight' has no attribute 'nothing'"):
        _ = selfsight.nothing


def imports_at_top(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """List a module's own imports from selfsight, as (module, name); those for typing excepted."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("selfsight"):
            yield from ((node.module or "", alias.name) for alias in node.names)
        if isinstance(node, ast.Import):
            yield from ((a.name, "") for a in node.names if a.name.startswith("selfsight"))


def part_of(module: str, name: str) -> str:
    """Name the part of the house: `selfsight.data.batches` and `from selfsight import data`."""
    return module.split(".")[1] if "." in module else name


def allowed(importer: str, imported: str) -> bool:
    if importer == imported or importer in SEE_ALL or imported in SERVE_ALL:
        return True
    if importer in SERVE_ALL or importer == "engine":
        return False
    if imported == "engine":
        return PLACE[importer] >= ENGINE_SERVES_FROM
    return PLACE[imported] <= PLACE[importer]


def test_modules_import_only_from_their_left() -> None:
    wrong: list[str] = []
    for path in sorted(SOURCE.rglob("*.py")):
        importer = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for module, name in imports_at_top(ast.parse(path.read_text(encoding="utf-8"))):
            if (importer, module, name) in EXCEPTIONS:
                continue
            if not allowed(importer, part_of(module, name)):
                wrong.append(f"{path.relative_to(SOURCE)} imports {module}")

    assert wrong == []


def test_every_module_has_its_place() -> None:
    parts = {path.name.removesuffix(".py") for path in SOURCE.iterdir() if path.suffix == ".py"}
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}

    assert (parts | folders) - SERVE_ALL - SEE_ALL - PLACE.keys() - {"engine"} == set()


@pytest.mark.parametrize(
    ("importer", "imported", "expected"),
    [
        ("tasks", "augment", True),
        ("augment", "tasks", False),
        ("data", "engine", False),
        ("train", "engine", True),
        ("data", "draws", True),
        ("draws", "data", False),
        ("probes", "studies", False),
    ],
)
def test_left_and_right_are_told_apart(importer: str, imported: str, expected: bool) -> None:
    assert allowed(importer, imported) is expected
