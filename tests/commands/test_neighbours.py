"""Neighbouring: what the sheet and the record say, and what is refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import selfsight
from selfsight.cli import main
from selfsight.commands.neighbours import tile_side
from selfsight.modalities.pictures import PicturePlan
from selfsight.training.plan import Plan
from selfsight.training.run import Run

pytestmark = pytest.mark.slow

SHORT = {"samples": 32, "size": 16, "encoder": "test_resnet", "precision": "f32", "batch": 16}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of eight coloured 24-pixel pictures each, in `photos`, and a `run` on them."""
    home = tmp_path_factory.mktemp("neighbours")
    noise = np.random.default_rng(0)
    for name, colour in (("red", (220, 60, 60)), ("blue", (60, 60, 220))):
        (home / "photos" / name).mkdir(parents=True)
        for number in range(8):
            pixels = np.clip(noise.normal(colour, 30, (24, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(home / "photos" / name / f"{number}.png")
    selfsight.pretrain(str(home / "photos"), "rotation", out=str(home / "run"), **SHORT)
    return home


def test_the_record_tells_every_network_beside_the_trained_one(home: Path) -> None:
    run = Run.open(home / "run")
    record = selfsight.neighbours(run, count=3, queries=4, against=run)

    assert list(record["networks"]) == ["trained", "untrained", str(run.path), "pixels"]
    assert record["searched"] == 16
    assert record["queries"] == 16
    assert record["list"] == 10
    assert record["blindly_kept"] == round(10 / 15, 4)
    assert record["chance"] == round(7 / 15, 4)
    for network in record["networks"].values():
        assert 0 <= network["grey_kept"] <= 1
        assert set(network["hue_kept_by_turn"]) == {"0.08333", "0.25", "0.5"}
        assert set(network["same_class"]) == {"1", "5", "10"}
        assert network["colour_unknown"] is None
        assert network["search"] == "exact"
    pixels = record["networks"]["pixels"]
    assert pixels["same_class"]["5"] == 1.0  # red is near red
    assert pixels["grey_kept"] < 1
    again = record["networks"][str(run.path)]
    assert again["grey_kept"] == record["networks"]["trained"]["grey_kept"]
    assert "remain when the query turns grey" in record["verdict"]
    assert run.result("neighbours") == json.loads(json.dumps(record))
    assert len(record["drawn"]) == 4
    with Image.open(record["sheet"]) as sheet:
        assert sheet.width > sheet.height > 300


def test_patches_have_a_sheet_and_a_record_of_their_own(home: Path, tmp_path: Path) -> None:
    words = ["neighbours", str(home / "run"), "--patches", "--patch-size", "12", "--count", "2"]
    assert main([*words, "--queries", "3", "--out", str(tmp_path / "sheet.png")]) == 0
    record = json.loads((tmp_path / "sheet.json").read_text())

    assert record["neighbours"] == "patches"
    assert record["searched"] == 16 * 64
    assert record["settings"]["patches"]["side"] == 12
    assert record["settings"]["rule"] == "an answer is never of its query's own picture"
    assert record["chance"] == round((8 - 1) / 15, 4)
    assert (tmp_path / "sheet.png").exists()
    for drawn in record["drawn"]:
        for titles in drawn["nearest"].values():
            assert drawn["query"] not in titles


def test_a_run_of_tiles_is_shown_patches_of_their_side(home: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = SHORT | {"size": 32, "encoder": "small"}
    run = selfsight.pretrain(str(home / "photos"), "jigsaw", out=str(tmp_path / "run"), **options)
    record = selfsight.neighbours(run, patches=True, count=2, queries=2)

    assert record["settings"]["patches"]["side"] == 12  # three quarters of half of 32
    assert record["settings"]["size"] == 12
    assert selfsight.neighbours(run, count=2, queries=2)["settings"]["size"] == 32


def test_grey_pictures_have_no_colour_to_lose(tmp_path: Path) -> None:
    run = selfsight.pretrain("digits", "rotation", out=str(tmp_path / "run"), **SHORT)
    record = selfsight.neighbours(run, limit=60, queries=2)
    trained = record["networks"]["trained"]

    assert trained["grey_kept"] is None
    assert trained["hue_kept"] is None
    assert "one channel" in trained["colour_unknown"]
    assert "cannot be measured" in record["verdict"]


def test_files_are_asked_for_and_never_answer_themselves(home: Path, tmp_path: Path) -> None:
    file = home / "photos" / "red" / "3.png"
    record = selfsight.neighbours(
        home / "run", query=str(file), count=50, out=str(tmp_path / "sheet.png")
    )

    assert record["settings"]["query"] == (str(file),)
    assert record["queries"] == 16  # measured on more than what is drawn
    (drawn,) = record["drawn"]
    assert drawn["query"] == str(file)
    for titles in drawn["nearest"].values():  # --count was lowered to all the others
        assert len(titles) == 15
        assert "red/3.png" not in titles


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--query", "missing.jpg"], 1, "--query missing.jpg does not exist"),
        (["--layer", "top"], 2, "its layers: "),
        (["--patches", "--patch-size", "400"], 1, "side under 400 pixels"),
        (["--count", "0"], 2, "--count must be at least 1"),
        (["--patch-size", "16"], 2, "ask for these with --patches"),
        (["--out", "sheet.jpg"], 2, "must end with .png"),
    ],
)
def test_what_cannot_be_done_gets_a_sentence(
    home: Path, words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["neighbours", str(home / "run"), *words]) == status
    told = " ".join(word.strip("│") for word in capsys.readouterr().err.split())
    assert said in " ".join(told.split())
    assert "Traceback" not in told


def test_one_picture_has_no_neighbours(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "alone.png")

    assert main(["neighbours", str(home / "run"), str(tmp_path)]) == 1
    assert "never its own neighbour" in capsys.readouterr().err


def test_json_prints_the_record_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["neighbours", str(home / "run"), "--queries", "2", "--count", "2", "--json"]) == 0
    record: dict[str, Any] = json.loads(capsys.readouterr().out)

    assert Path(record["sheet"]) == home / "run" / "pictures" / "neighbours.png"


JIGSAW: dict[str, dict[str, Any]] = {"jigsaw": {"grid": 3, "permutations": 100}}
POSITION: dict[str, dict[str, Any]] = {"relative-position": {"gap": 1.0}}


@pytest.mark.parametrize(
    ("settings", "task", "side"),
    [
        (JIGSAW, None, 24),  # three quarters of a third of 96
        (POSITION, None, 18),  # three patches, two gaps as wide and 3 pixels of play are 93
        (JIGSAW | POSITION, None, 24),
        (JIGSAW | POSITION, "relative-position", 18),
        ({"rotation": {}}, None, None),
        (JIGSAW | {"rotation": {}}, None, None),
    ],
)
def test_a_run_was_trained_on_the_tiles_of_its_tasks(
    settings: dict[str, dict[str, Any]], task: str | None, side: int | None
) -> None:
    known: dict[str, Any] = {field.name: None for field in dataclasses.fields(Plan)}
    sample = PicturePlan(channels=3, canvas=96, size=96)
    known |= {"sample": sample, "tasks": tuple(settings), "task_settings": settings}

    assert tile_side(Plan(**known), task) == side
