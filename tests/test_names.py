"""Names: no two files are called the same, and no two public things, but what is listed here."""

import ast
from collections import defaultdict
from pathlib import Path

import selfsight
from selfsight.modalities.table import MODALITIES

SOURCE = Path(selfsight.__file__).parent
# One a verb, one a sheet, one a task; or called by the name of their module: `checkpoint.load`.
SHARED = {
    "show": "commands/",
    "lay_out": "looks/sheets/",
    "find_answers": "looks/sheets/",
    "in_words": "looks/sheets/",
    "metrics": "looks/sheets/",
    "Withheld": "tasks/",
    "probed": "probes/",
    "table_of": "probes/",
    "check": "",
    "load": "",
    "read": "",
    "save": "",
}
# What a newcomer would not look for.
UNGUESSED = {"hall", "laid", "ways", "shown", "alike", "subject", "seer"}


def modules() -> dict[str, list[str]]:
    """List the files by their names; a folder's name is that of its `__init__.py`."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.parent.name if path.stem == "__init__" else path.stem
        found[name].append(path.relative_to(SOURCE).as_posix())
    return found


def definitions() -> dict[str, list[str]]:
    """List the files by the public classes and functions that they define."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                found[node.name].append(path.relative_to(SOURCE).as_posix())
    return found


def test_no_two_files_share_a_name_but_those_about_one_thing() -> None:
    """A task's file and its sheet's are about one thing, as are all that are called by a modality.

    A folder's `base` says what each of its files is, its `table` names them.
    """
    several = {name: places for name, places in modules().items() if len(places) > 1}
    sheets = {name for name, places in several.items() if f"looks/sheets/{name}.py" in places}
    modalities = {name for name, places in several.items() if _of_several_modalities(places)}

    patterns = {"base", "table", *MODALITIES}
    assert several.keys() - sheets - modalities - patterns == {"neighbours"}
    for name in sheets:
        assert set(several[name]) <= {
            f"looks/sheets/{name}.py",
            f"tasks/{name}.py",
            f"encoders/{name}.py",
        }


def _of_several_modalities(places: list[str]) -> bool:
    """Tell files that do the same for one modality each: `data/words/batch.py`, for one."""
    folders = [place.split("/")[1] for place in places if place.startswith("data/")]
    return len(folders) == len(set(folders)) == len(places)


def test_no_two_public_things_share_a_name() -> None:
    wrong = {
        name: places
        for name, places in definitions().items()
        if len(places) > 1
        and not (name in SHARED and all(place.startswith(SHARED[name]) for place in places))
    }

    assert wrong == {}


def test_what_may_be_shared_is_shared() -> None:
    found = definitions()

    assert [name for name in SHARED if len(found[name]) < 2] == []


def test_names_are_such_as_a_newcomer_guesses() -> None:
    names = {name.lower() for name in (*modules(), *definitions())}

    assert names & UNGUESSED == set()
