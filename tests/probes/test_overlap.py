"""Overlap: test pictures that a run was trained on, and those that are in both parts, by count."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import selfsight
from noise import noise_array
from selfsight.cli import main
from selfsight.data.pictures import open_data, read
from selfsight.data.source import Parts
from selfsight.probes.network import named_network
from selfsight.probes.overlap import both_parts_sentence, count_seen, in_both, seen_sentence
from selfsight.training.run import Run

SHORT: dict[str, Any] = {
    "samples": 16, "batch": 8, "size": 16, "precision": "f32", "encoder": "test_resnet"
}  # fmt: skip
EACH = 20  # pictures of a class


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def noise_of(seed: int) -> np.ndarray:
    return noise_array("u1", 16, 16, 3, seed=seed)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `all` of two classes, and `other` of pictures that are not among them."""
    home = tmp_path_factory.mktemp("over lap")
    for number in range(EACH):
        save(noise_of(number), home / f"all/cat/{number}.png")
        save(noise_of(100 + number) // 2, home / f"all/dog/{number}.png")
        save(noise_of(200 + number), home / f"other/{number}.png")
    return home


@pytest.fixture(autouse=True)
def cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(home / "cache"))


@pytest.fixture(scope="module")
def run(home: Path) -> Run:
    return selfsight.pretrain(str(home / "all"), "rotation", out=str(home / "run"), **SHORT)


def probed(run: Run, data: Path, **options: Any) -> dict[str, Any]:
    record = selfsight.probe(run, str(data), quick=True, **options)
    assert isinstance(record, dict)
    return record


def test_pixels_in_both_parts_are_counted_whatever_their_names(tmp_path: Path) -> None:
    for part, seeds in {"train": range(6), "test": (3, 4, 11, 12)}.items():
        for place, seed in enumerate(seeds):
            save(
                noise_of(seed),
                tmp_path / part / "ab"[place % 2] / f"{part}{place}.png",
            )
    parts: Parts = open_data(tmp_path)
    assert parts.test is not None

    train, test = (read(part, side=16, fit="square") for part in (parts.train, parts.test))

    assert in_both(train, test) == 2
    assert str(both_parts_sentence(2, 4)).startswith("2 of the 4 test pictures are also among")
    assert both_parts_sentence(0, 4) is None


def test_what_is_said_of_seen_pictures_is_what_was_counted() -> None:
    assert seen_sentence(0, 9, "run") == "It was pretrained on none of the test pictures' files."
    assert seen_sentence(9, 9, "run").startswith("It was pretrained on all 9 test pictures")
    assert seen_sentence(4, 9, "run").startswith("It was pretrained on 4 of the 9 test pictures")
    assert "cannot be told" in seen_sentence(None, 9, "timm:resnet18")


@pytest.mark.slow
def test_pictures_of_the_runs_own_data_were_seen(run: Run, home: Path) -> None:
    record = probed(run, home / "all")

    assert record["seen_in_pretraining"] == record["test"] > 0
    assert record["identical_in_training"] == 0
    assert "It was pretrained on all" in record["reasons"][-1]


@pytest.mark.slow
def test_the_same_bytes_by_other_names_were_seen_and_other_files_not(run: Run, home: Path) -> None:
    for number in range(EACH):  # the same pixels by other names are other files, but in both parts
        save(noise_of(number), home / f"labelled/train/a/{number}.png")
        save(noise_of(300 + number), home / f"labelled/train/b/{number}.png")
        save(
            noise_of(number if number < 5 else 400 + number),
            home / f"labelled/test/a/{number}.png",
        )
        save(noise_of(500 + number), home / f"labelled/test/b/{number}.png")

    record = probed(run, home / "labelled")

    assert (record["seen_in_pretraining"], record["identical_in_training"]) == (5, 5)
    assert record["reasons"][-2].startswith(f"It was pretrained on 5 of the {2 * EACH} test")
    assert record["reasons"][-1].startswith(f"5 of the {2 * EACH} test pictures are also among")


@pytest.mark.slow
def test_copies_of_files_under_other_names_were_seen(run: Run, home: Path, tmp_path: Path) -> None:
    for number in range(6):
        for name in ("cat", "dog"):
            place = tmp_path / "copies" / name.upper() / f"copy-{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes((home / f"all/{name}/{number}.png").read_bytes())
    save(noise_of(999), tmp_path / "copies/CAT/copy-0.png")

    source = open_data(tmp_path / "copies").train

    assert count_seen(named_network(str(run.path)), str(tmp_path / "copies"), source) == 11


@pytest.mark.slow
def test_only_what_limit_left_in_was_seen(home: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    few = selfsight.pretrain(str(home / "all"), "rotation", out=out, limit=20, **SHORT)

    record = probed(few, home / "all")

    assert 0 < record["seen_in_pretraining"] < record["test"]


@pytest.mark.slow
def test_a_task_that_learns_from_labels_has_seen_no_test_picture(
    home: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "run")
    taught = selfsight.pretrain(str(home / "all"), "supervised", out=out, **SHORT)

    assert probed(taught, home / "all")["seen_in_pretraining"] == 0
    assert taught.settings["plan"]["task_settings"]["supervised"]["shares"] == [0.5, 0.5]


@pytest.mark.slow
def test_what_comes_next_works_as_typed(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where results of their own would go
    advised = [
        run.result("pretrain"),
        probed(run, home / "all"),
        selfsight.probe(run, str(home / "other")),
    ]
    for record in advised:
        assert isinstance(record, dict)
        program, *words = shlex.split(record["next"]["command"])
        assert program == "selfsight"
        assert main(words) == 0
