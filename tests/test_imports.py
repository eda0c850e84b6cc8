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

# The house: see docs/architecture.md. What serves all imports only its like.
SERVE_ALL = {"errors", "settings", "draws", "system", "encoders", "distributed"}
LEFT_TO_RIGHT = (
    "data",
    "augment",
    "layers",
    "tasks",
    "modalities",
    "training",
    "probes",
    "looks",
    "commands",
)
PLACE = {name: place for place, name in enumerate(LEFT_TO_RIGHT)}
SEE_ALL = {"cli", "__main__", "__init__"}
# Devices, precision and processes serve what trains; nothing of them is in data or in tasks.
FROM_TRAINING_ON = {"selfsight.distributed.engine", "selfsight.distributed.processes"}
# What is drawn is passed to what draws: that knows of no training, no verb and no flag.
NOT_FOR_LOOKS = ("selfsight.training", "selfsight.commands", "selfsight.settings")
# Settings check names against the tables, which themselves load nothing.
EXCEPTIONS = {
    ("settings", "selfsight.tasks.table", "row_of"),
    ("settings", "selfsight.probes.table", "PROBES"),
}

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


def allowed(importer: str, module: str, name: str = "") -> bool:
    imported = part_of(module, name)
    if importer == imported or importer in SEE_ALL:
        return True
    if module in FROM_TRAINING_ON:
        return PLACE.get(importer, -1) >= PLACE["training"]
    if imported in SERVE_ALL or importer in SERVE_ALL:
        return imported in SERVE_ALL
    return PLACE[imported] <= PLACE[importer]


def test_modules_import_only_from_their_left() -> None:
    wrong: list[str] = []
    for path in sorted(SOURCE.rglob("*.py")):
        importer = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for module, name in imports_at_top(ast.parse(path.read_text(encoding="utf-8"))):
            if (importer, module, name) in EXCEPTIONS:
                continue
            if not allowed(importer, module, name):
                wrong.append(f"{path.relative_to(SOURCE)} imports {module}")

    assert wrong == []


def modules() -> dict[str, list[tuple[str, str]]]:
    """Name every module of selfsight, a package by its folder: -> what it imports."""
    paths = {path.relative_to(SOURCE.parent).with_suffix(""): path for path in SOURCE.rglob("*.py")}
    return {
        ".".join(at.parts).removesuffix(".__init__"): list(
            imports_at_top(ast.parse(path.read_text(encoding="utf-8")))
        )
        for at, path in paths.items()
    }


def loaded_with(module: str, known: dict[str, list[tuple[str, str]]]) -> set[str]:
    """Find the modules that loading one loads: itself, those it imports, and theirs."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        one = waiting.pop()
        if one in found or one not in known:
            continue
        found.add(one)
        for imported, name in known[one]:
            waiting += [imported, f"{imported}.{name}"]
    return found


def test_what_draws_depends_on_no_training() -> None:
    known = modules()
    looks = [name for name in known if name.startswith("selfsight.looks.")]
    direct = {
        f"{name} imports {module}"
        for name in looks
        for module, _ in known[name]
        if module.startswith(NOT_FOR_LOOKS)
    }
    through_others = {
        f"{name} loads {module}"
        for name in looks
        for module in loaded_with(name, known)
        if module.startswith(NOT_FOR_LOOKS[:2])
    }

    assert len(looks) > 20
    assert direct | through_others == set()


def test_what_a_module_loads_is_found_through_others() -> None:
    found = loaded_with("selfsight.commands.look", modules())

    assert "selfsight.training.plan" in found
    assert "selfsight.looks.sheets.rotation" not in found  # named in a row, loaded on use


def test_every_module_has_its_place() -> None:
    parts = {path.name.removesuffix(".py") for path in SOURCE.iterdir() if path.suffix == ".py"}
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}

    assert (parts | folders) - SERVE_ALL - SEE_ALL - PLACE.keys() == set()


@pytest.mark.parametrize(
    ("importer", "imported", "expected"),
    [
        ("tasks", "selfsight.augment.views", True),
        ("augment", "selfsight.tasks.base", False),
        ("data", "selfsight.distributed.engine", False),
        ("tasks", "selfsight.distributed.gather", True),
        ("training", "selfsight.distributed.engine", True),
        ("data", "selfsight.draws", True),
        ("draws", "selfsight.data.source", False),
        ("probes", "selfsight.commands.demo", False),
    ],
)
def test_left_and_right_are_told_apart(importer: str, imported: str, expected: bool) -> None:
    assert allowed(importer, imported) is expected
