"""Streamed: what breaks or goes while a training reads it is skipped and counted, or told."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import selfsight
from selfsight.errors import SelfsightError
from selfsight.training.loop import Training
from selfsight.training.run import Run

SHORT: dict[str, Any] = {
    "task": "rotation", "samples": 64, "batch": 8, "size": 16, "storage": "stream",
    "save_every": 0.0, "limit": 24,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pictures").mkdir()
    noise = np.random.default_rng(0)
    for i in range(24):
        pixels = noise.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{i:02d}.png")
    return tmp_path / "pictures"


def bomb(side: int) -> bytes:
    """A PNG of few bytes that promises side x side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        sum_ = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + sum_

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + rows


def before_step(monkeypatch: pytest.MonkeyPatch, step: int, happens: Any) -> None:
    """Let something happen to the data before a step of any training."""
    advance = Training._advance

    def advanced(training: Training) -> None:
        if training.step == step:
            happens()
        advance(training)

    monkeypatch.setattr(Training, "_advance", advanced)


def test_a_bomb_among_the_pictures_is_skipped_and_the_record_written(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "bomb.png").write_bytes(bomb(13_000))

    run = selfsight.pretrain(str(folder), out=str(tmp_path / "run"), **{**SHORT, "limit": None})
    embedded = selfsight.embed(run, out=tmp_path / "features.npz")

    record = run.result("pretrain")
    assert record is not None
    assert record["skipped"] == 1
    assert [s["title"] for s in run.settings["skipped"]] == ["bomb.png"]
    assert embedded["count"] == 24
    assert [s["title"] for s in embedded["skipped"]] == ["bomb.png"]


def test_a_picture_that_becomes_a_bomb_is_skipped_and_the_record_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_step(monkeypatch, 2, lambda: (folder / "05.png").write_bytes(bomb(13_000)))

    run = selfsight.pretrain(str(folder), out=str(tmp_path / "run"), **SHORT)

    record = run.result("pretrain")
    assert record is not None
    assert record["skipped"] == 1
    assert [s["title"] for s in run.settings["skipped"]] == ["05.png"]
    assert "over 100 times as much" in run.settings["skipped"][0]["reason"]


def test_data_that_goes_stops_the_training_and_leaves_its_checkpoint(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = folder.parent / "elsewhere"
    with monkeypatch.context() as patched:
        before_step(patched, 4, lambda: folder.rename(elsewhere))
        with pytest.raises(
            SelfsightError, match=r"are no longer there: .*\.png: .* Bring them back"
        ):
            selfsight.pretrain(str(folder), out=str(tmp_path / "run"), **{**SHORT, "samples": 160})

    checkpoint = Run(tmp_path / "run").load_checkpoint()
    assert checkpoint is not None
    assert checkpoint["step"] >= 4
    run = selfsight.pretrain(resume=str(tmp_path / "run"), place=str(elsewhere))
    assert run.result("pretrain") is not None
