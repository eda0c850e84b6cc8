"""Docs: the map of the house shows every folder, and the files that pages name are there."""

import re
from pathlib import Path

import pytest

import selfsight

ROOT = Path(__file__).parents[1]
SOURCE = Path(selfsight.__file__).parent
PAGES = ("README.md", "CONTRIBUTING.md", "docs/architecture.md")
FOLDERS = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
WANTED_ON_ONE_SCREEN = 70  # lines


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def named(page: str) -> list[str]:
    """List the files and folders that a page names; NAME stands for one that is yet to come."""
    found = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", text_of(page))
    links = re.findall(r"\]\(([^)#:]+)\)", text_of(page))
    local = [str((Path(page).parent / link).as_posix()) for link in links]
    roots = {"src", "tests", "docs", "benchmarks", *FOLDERS}
    return [
        path for path in (*found, *local) if "NAME" not in path and Path(path).parts[0] in roots
    ]


def is_there(path: str) -> bool:
    return any((start / path).exists() for start in (ROOT, ROOT / "docs", SOURCE, SOURCE / "data"))


def test_the_tree_shows_every_folder() -> None:
    tree = text_of("docs/architecture.md").partition("```\n")[2].partition("```")[0]
    shown = set(re.findall(r"^  (\w+)/", tree, re.MULTILINE))

    assert shown == FOLDERS


def test_the_map_fits_on_one_screen() -> None:
    assert len(text_of("docs/architecture.md").splitlines()) <= WANTED_ON_ONE_SCREEN


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    paths = named(page)

    assert len(paths) > 5
    assert [path for path in paths if not is_there(path)] == []
