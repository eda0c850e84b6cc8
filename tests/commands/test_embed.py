"""Embedding: every readable picture is in the file, with its name, class and part."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import selfsight
from making import timms
from selfsight import encoders
from selfsight.cli import main
from selfsight.data.pictures import open_data, read
from selfsight.errors import UsageError

pytestmark = pytest.mark.slow


def photographs(folder: Path, count: int, seed: int) -> None:
    folder.mkdir(parents=True)
    noise = np.random.default_rng(seed)
    for number in range(count):
        pixels = noise.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`photos` with parts and classes and one broken picture among the 13, and a `run` on it."""
    home = tmp_path_factory.mktemp("embedding")
    for number, (split, name, count) in enumerate(
        [("train", "a", 11), ("train", "b", 2), ("test", "a", 1), ("test", "b", 2)]
    ):
        photographs(home / "photos" / split / name, count, number)
    broken = home / "photos" / "train" / "a" / "04.png"
    broken.write_bytes(broken.read_bytes()[:300])
    selfsight.pretrain(
        str(home / "photos"),
        "rotation",
        out=str(home / "run"),
        samples=16,
        size=16,
        batch=8,
        encoder="test_resnet",
        precision="f32",
    )
    return home


def test_parquet_holds_what_the_encoder_says_of_every_readable_picture(
    home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "features.parquet"
    record = selfsight.embed(home / "run", out=out)
    table = pq.read_table(out)
    encoder = selfsight.load(home / "run")
    train = read(open_data(home / "photos").train, side=16, fit="square", channels=3)
    assert isinstance(train.images, torch.Tensor)
    with torch.no_grad():
        expected = encoder(train.images.float() / 255)

    embedding = np.stack(table["embedding"].to_pylist())
    assert table["path"].to_pylist()[:12] == list(train.titles)
    assert np.allclose(embedding[:12], expected.numpy(), atol=1e-5)
    assert table["split"].to_pylist() == ["train"] * 12 + ["test"] * 3
    assert table["class"].to_pylist() == ["a"] * 10 + ["b"] * 2 + ["a", "b", "b"]
    assert table["label"].to_pylist() == [0] * 10 + [1] * 2 + [0, 1, 1]
    assert record["count"] == 15
    assert record["features"] == embedding.shape[1]
    assert [one["title"] for one in record["skipped"]] == ["a/04.png"]


def test_npz_holds_the_same_as_parquet(home: Path, tmp_path: Path) -> None:
    layer = selfsight.load(home / "run").layer_names[0]
    for suffix in ("npz", "parquet"):
        selfsight.embed(home / "run", out=tmp_path / f"features.{suffix}", layer=layer)
    table = pq.read_table(tmp_path / "features.parquet")
    with np.load(tmp_path / "features.npz", allow_pickle=False) as kept:
        assert kept["path"].tolist() == table["path"].to_pylist()
        assert kept["class"].tolist() == table["class"].to_pylist()
        assert np.array_equal(kept["embedding"], np.stack(table["embedding"].to_pylist()))
        assert str(kept["layer"]) == layer
    assert table.schema.metadata[b"selfsight.layer"] == layer.encode()


def test_unlabelled_data_has_neither_classes_nor_parts(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "features.parquet"
    assert main(["embed", str(home / "run"), "photos", "--limit", "3", "--out", str(out)]) == 0

    assert pq.read_table(out).column_names == ["path", "embedding"]
    assert pq.read_table(out).num_rows == 3


def test_an_old_file_is_replaced_and_that_is_said(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "features.npz"
    out.write_text("old")
    words = ["embed", str(home / "run"), "photos", "--limit", "2", "--out", str(out), "--json"]
    assert main(words) == 0
    told = capsys.readouterr()

    assert json.loads(told.out)["count"] == 2
    assert "is replaced once everything is computed" in told.err
    assert np.load(out)["embedding"].shape[0] == 2


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--out", "features.csv"], 2, "must end with .parquet or .npz"),
        ([], 2, "needs --out FILE"),
        (["nowhere", "--out", "a.npz"], 1, "no file or folder 'nowhere'"),
        (["--out", "a.npz", "--layer", "top"], 2, "its layers: "),
    ],
)
def test_what_cannot_be_done_gets_a_sentence(
    home: Path,
    tmp_path: Path,
    words: list[str],
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["embed", str(home / "run"), *words]) == status
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_timm_without_data_is_told_to_need_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = encoders.build("test_resnet", size=16, channels=3).eval()
    network = timms(network)
    monkeypatch.setattr("selfsight.commands.embed.picture_network", lambda *_, **__: network)
    monkeypatch.chdir(tmp_path)

    assert main(["embed", "timm:test_resnet", "--out", "f.npz"]) == 2
    assert "needs DATA: the pictures" in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_features_never_go_over_the_pictures_or_among_them(home: Path) -> None:
    for place in (home / "photos" / "new.parquet", home / "photos" / "train" / "a" / "x.npz"):
        with pytest.raises(UsageError, match="would lie in the data"):
            selfsight.embed(home / "run", out=place)
        assert not place.exists()
