"""Damaged: a hundred damaged files beside good ones, through the command line."""

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apart import Apart
from fuzz.pictures import damaged_file, encoded
from fuzz.worker import LIBJPEG
from selfsight.data.samples import Storage
from selfsight.training.run import Run

pytestmark = pytest.mark.slow  # whole trainings, in processes of their own

EVERYWHERE: tuple[Storage, ...] = ("memory", "map", "stream")
DAMAGED = 100
GOOD = {"few": 700, "many": 50}  # beside the damaged ones, of which about two thirds are bad
OURS = (
    "reading", "skipped ", "of 1,000 files of ", "training", "unknown:", "saved in",
    "The pictures have labels:", "next:",
)  # fmt: skip
PLANNED = ("data ", "task ", "encoder ", "steps ", "machine ", "note ")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders with the same damaged files, few or many among the good ones."""
    root = tmp_path_factory.mktemp("damaged")
    draw = random.Random(0)
    damaged = [damaged_file(draw) for _ in range(DAMAGED)]
    noise = np.random.default_rng(0).integers(0, 256, (16, 24, 24, 3), dtype=np.uint8)
    good = [encoded(Image.fromarray(values), "JPEG") for values in noise]
    for name, count in GOOD.items():
        (root / name / "a").mkdir(parents=True)
        (root / name / "b").mkdir()
        for number, (suffix, data) in enumerate(damaged):
            (root / name / "a" / f"{number:04d}{suffix}").write_bytes(data)
        for number in range(count):
            (root / name / "b" / f"{number:04d}.jpg").write_bytes(good[number % len(good)])
    return root


def pretrain(data: Path, out: Path, storage: str) -> tuple[int, list[str]]:
    """Train in a process of its own: -> exit status, and what it said less libjpeg's own lines."""
    words = ["--task", "rotation", "--samples", "64", "--batch", "16", "--size", "32"]
    words += ["--storage", storage, "--out", str(out)]
    said, cache = out.parent / "said", {"SELFSIGHT_CACHE": str(out.parent / "cache")}
    words = ["pretrain", str(data), *words]
    status = Apart(words, said=said, environment=cache, warning="always").wait()
    lines = said.read_text(errors="replace").splitlines()
    return status, [line for line in lines if line and not line.startswith(LIBJPEG)]


@pytest.mark.parametrize("storage", EVERYWHERE)
def test_up_to_a_tenth_of_damaged_files_is_skipped_counted_and_listed(
    tmp_path: Path, folders: Path, storage: str
) -> None:
    status, lines = pretrain(folders / "few", tmp_path / "run", storage)

    assert status == 0, lines
    assert [line for line in lines if not line.startswith((*OURS, *PLANNED))] == []
    skipped = Run(tmp_path / "run").settings["skipped"]
    assert 20 < len(skipped) <= 80
    assert all(one["title"].startswith("a/") and one["reason"] for one in skipped)
    # a stream finds some by their headers, and others as it meets them
    counted = [line.split()[1:4] for line in lines if line.startswith("skipped ")]
    assert len(counted) == 1 or storage == "stream"
    assert sum(int(words[0]) for words in counted) == len(skipped)
    assert counted[0][2] == "800"


@pytest.mark.parametrize("storage", EVERYWHERE)
def test_more_than_a_tenth_of_damaged_files_ends_a_run_with_a_sentence(
    tmp_path: Path, folders: Path, storage: str
) -> None:
    status, lines = pretrain(folders / "many", tmp_path / "run", storage)

    assert status == 1
    (said,) = [line for line in lines if line.startswith("selfsight: ")]
    assert "of 150 pictures in" in said
    assert "at most 10% may be skipped. Repair or remove them:" in said
    assert not any("Traceback" in line or "Warning" in line for line in lines)
    assert not (tmp_path / "run").exists()
