"""Layouts: folders as people have them, through the verbs as they would type them."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import selfsight
from selfsight.cli import main
from selfsight.errors import SelfsightError
from selfsight.training.run import Run

pytestmark = pytest.mark.slow

TRAIN = ("--task", "rotation", "--samples", "40", "--size", "16", "--encoder", "small")
EACH = 8  # pictures of a class


def pictures(folder: Path, *classes: str, count: int = EACH, seed: int = 0) -> None:
    """Write pictures of noise, of which every second class is reddish."""
    generator = np.random.default_rng([seed, *folder.name.encode()])
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            pixels = generator.integers(0, 100, (20, 20, 3), dtype=np.uint8)
            pixels[..., 0] += 150 * (number % 2)
            Image.fromarray(pixels).save(folder / name / f"{k}.png")


def typed(*words: str) -> None:
    assert main(list(words)) == 0


def classes_in(file: Path) -> dict[str, int]:
    table = pq.read_table(file, columns=["class"])
    return dict(Counter(table.column("class").to_pylist()))


def test_runs_and_sheets_inside_the_data_are_no_pictures_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    pictures(data, "cat", "dog")
    monkeypatch.chdir(data)
    expected = {"cat": EACH, "dog": EACH}

    typed("pretrain", ".", *TRAIN, "--out", "runs/a")
    typed("neighbours", "runs/a", ".")
    typed("neighbours", "runs/a", ".", "--out", "sheet.png")
    typed("look", "runs/a", "--at", "filters", "--out", "looked")
    typed("embed", "runs/a", ".", "--out", "../features.parquet")
    typed("pretrain", ".", *TRAIN, "--out", "runs/b")

    assert (data / "runs/a/pictures/neighbours.png").is_file()
    assert (data / "looked/filters.png").is_file()
    assert classes_in(tmp_path / "features.parquet") == expected
    plans = [Run(data / f"runs/{name}").settings["plan"] for name in "ab"]
    assert [plan["samples"] for plan in plans] == [2 * EACH] * 2
    assert plans[0]["fingerprint"] == plans[1]["fingerprint"]
    assert any("selfsight made" in note for note in Run(data / "runs/b").settings["notes"])


def test_a_probe_learns_from_training_and_is_tested_on_testing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path / "data/Training", "cat", "dog")
    pictures(tmp_path / "data/Testing", "cat", "dog", count=3)
    (tmp_path / "data/Training/cat/Thumbs").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "data/Training/cat/Thumbs/0.jpg")

    run = selfsight.pretrain(
        str(tmp_path / "data"), "rotation", samples=40, size=16, out=str(tmp_path / "run")
    )
    record = selfsight.probe(run, quick=True)

    assert isinstance(record, dict)
    assert run.settings["plan"]["samples"] == 2 * EACH
    assert (record["labels"], record["test"]) == (2 * EACH, 6)
    assert list(record["by_class"]) == ["cat", "dog"]
    said = capfd.readouterr().err
    assert said.count("1 picture in folders of other programs: Thumbs") == 1


def test_classes_of_the_test_part_alone_are_refused_by_the_probe_and_by_nothing_else(
    tmp_path: Path,
) -> None:
    pictures(tmp_path / "data/train", "cat", "dog")
    pictures(tmp_path / "data/test", "cow", "unknown", count=3)

    run = selfsight.pretrain(
        str(tmp_path / "data"), "rotation", samples=40, size=16, out=str(tmp_path / "run")
    )
    selfsight.embed(run, out=tmp_path / "features.parquet")

    assert run.settings["plan"]["samples"] == 2 * EACH
    assert classes_in(tmp_path / "features.parquet") == {
        "cat": EACH, "dog": EACH, "cow": 3, "unknown": 3
    }  # fmt: skip
    with pytest.raises(SelfsightError, match="also has cow, unknown"):
        selfsight.probe(run, quick=True)
    with pytest.raises(SelfsightError, match="also has cow, unknown"):
        selfsight.pretrain(
            str(tmp_path / "data"),
            "rotation",
            samples=40,
            size=16,
            probe_every=2.0,
            out=str(tmp_path / "probed"),
        )
