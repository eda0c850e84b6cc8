"""Listing: what there is to choose from is all there."""

import pytest

from selfsight.cli import main
from selfsight.commands.catalogue import datasets
from selfsight.data.pictures import EMBEDDED, NAMED
from selfsight.data.pictures.forms.opening import OPENERS
from selfsight.settings import Datasets


def test_every_name_and_every_form_of_file_is_listed() -> None:
    listed = " ".join(row["data"] for row in datasets(Datasets()))

    assert all(name in listed.split() for name in (*EMBEDDED, *NAMED))
    assert all(f"FILE{suffix}" in listed for suffix in OPENERS)


@pytest.mark.parametrize("name", ["moco", "mix"])
def test_a_tasks_settings_are_printed_with_their_meaning(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tasks", name]) == 0

    printed = " ".join(capsys.readouterr().out.split())
    said = {"moco": "in [0, 1); 0 copies the queries'", "mix": '"separate" for separate batch'}
    assert said[name] in printed


def test_the_list_of_data_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets"]) == 0

    printed = capsys.readouterr().out
    assert "photo:FILE" in printed
    assert "cifar10" in printed
