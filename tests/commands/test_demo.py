"""Demo: the whole job in little, made again when finished, gone on with when not."""

import json
from pathlib import Path

import pytest

from selfsight.cli import main
from selfsight.commands import demo

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(demo, "MINUTES", 0.02)


def test_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")

    assert main(["demo", "--out", str(tmp_path / "mine")]) == 1
    assert "holds something other than a demo" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_the_whole_job_is_done_and_done_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)

    assert record["chance"] < 0.2
    assert set(record["layers"]) == {"stem", "stages.0", "stages.1", "stages.2"}
    assert Path(record["filters"]).stat().st_size > 1000
    assert Path(record["neighbours"]).stat().st_size > 1000

    before = (out / "run/settings.json").stat().st_mtime_ns
    assert main(["demo", "--out", str(out)]) == 0  # a finished one is made again
    assert (out / "run/settings.json").stat().st_mtime_ns > before
    shown = capsys.readouterr().out
    assert "verdict" not in shown
    assert "now with your own folder" in shown

    (out / demo.MARK).write_text(json.dumps({"finished": False}))
    before = (out / "run/settings.json").stat().st_mtime_ns
    assert main(["demo", "--out", str(out)]) == 0  # an unfinished one goes on
    assert (out / "run/settings.json").stat().st_mtime_ns == before
