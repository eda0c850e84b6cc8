"""Paths: a path that does not exist is refused in a sentence, before anything heavy is loaded."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from selfsight.cli import main
from selfsight.data.pictures import EMBEDDED, NAMED
from selfsight.system.paths import EMBEDDED_NAMES, FETCHED_NAMES

HEAVY = ("torch", "numpy", "timm", "lightning_fabric", "matplotlib", "sklearn", "rich")
ALL_AT_ONCE = """
import json, sys
from selfsight.cli import main
statuses = [main(words) for words in json.loads(sys.argv[1])]
print(json.dumps([statuses, sorted(sys.modules)]))
"""


def words_for_what_is_not_there(home: Path) -> list[list[str]]:
    """Give every verb paths that do not exist; `home/run` looks like a run."""
    run, nowhere = home / "run", home / "nowhere"
    run.mkdir()
    (run / "settings.json").write_text("{}")
    out = ["--out", str(home / "out.npz")]
    asked = [
        ["pretrain", nowhere, "--task", "rotation"],
        ["pretrain", f"photo:{nowhere}.jpg", "--task", "rotation"],
        ["pretrain", "digits", "--task", "rotation", "--from", nowhere],
        ["pretrain", "--resume", nowhere],
        ["probe", nowhere, "digits"],
        ["probe", run, nowhere],
        ["probe", run, "digits", "--test", nowhere],
        ["neighbours", run, nowhere],
        ["neighbours", run, "digits", "--query", nowhere],
        ["neighbours", run, "digits", "--against", nowhere],
        ["look", nowhere],
        ["look", run, nowhere],
        ["apply", nowhere, "a.jpg", *out],
        ["apply", run, nowhere, *out],
        ["embed", nowhere, "digits", *out],
        ["embed", run, nowhere, *out],
    ]
    return [[str(word) for word in words] for words in asked]


def test_every_verb_refuses_what_is_not_there_before_anything_heavy_is_loaded(
    tmp_path: Path,
) -> None:
    asked = words_for_what_is_not_there(tmp_path)

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALL_AT_ONCE, json.dumps(asked)],
        capture_output=True,
        text=True,
        check=True,
    )

    statuses, modules = json.loads(done.stdout)
    assert statuses == [1] * len(asked)
    sentences = done.stderr.splitlines()
    assert len(sentences) == len(asked)
    assert all("nowhere" in sentence for sentence in sentences)
    assert [name for name in HEAVY if name in modules] == []


def test_names_are_those_of_the_tables() -> None:
    assert set(EMBEDDED_NAMES) == EMBEDDED.keys()
    assert set(FETCHED_NAMES) == NAMED.keys()


@pytest.mark.parametrize(
    ("name", "hint"), [("digit", "Did you mean digits?"), ("cifar-10", "Did you mean cifar10")]
)
def test_a_name_that_is_nearly_one_is_recognised(
    name: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pretrain", name, "--task", "rotation"]) == 1
    assert hint in capsys.readouterr().err
