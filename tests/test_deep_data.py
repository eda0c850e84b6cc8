"""Deep data: many channels and 16 bits, from the file to a verdict, neighbours and embeddings."""

import gzip
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

import selfsight
from selfsight.errors import SelfsightError
from selfsight.training.run import Run

pytestmark = pytest.mark.slow  # whole trainings

CHANNELS = 13
TWELVE_BIT = 4095


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def spectra(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10 as a spectral camera of 12 bits might see it: (N, 32, 32, 13), (N,)."""
    table = pq.ParquetFile(shared_data / "cifar10" / "test.parquet")
    rows = next(table.iter_batches(10_000)).to_pylist()[::25]
    pictures = [Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB") for row in rows]
    colours = np.stack([np.asarray(picture) for picture in pictures]) / 255
    chance = np.random.default_rng(0)
    mixed = colours @ chance.dirichlet(np.ones(3), CHANNELS).T  # every channel some of the three
    mixed += chance.normal(0, 0.01, mixed.shape)
    values = np.rint(mixed * TWELVE_BIT).clip(0, TWELVE_BIT).astype(np.uint16)
    return values, np.array([row["label"] for row in rows])


@pytest.fixture(scope="module")
def digits(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """MNIST in 16 bits: (N, 28, 28), (N,)."""
    folder, count = shared_data / "mnist", 300
    with gzip.open(folder / "train-images-idx3-ubyte.gz") as file:
        values = np.frombuffer(file.read(16 + count * 28 * 28)[16:], dtype=np.uint8)
    with gzip.open(folder / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + count)[8:], dtype=np.uint8)
    return values.reshape(count, 28, 28).astype(np.uint16) * 257, labels


def check_all_verbs(data: str, out: Path, values: np.ndarray) -> Run:
    """Pretrain, and ask the run everything."""
    run = selfsight.pretrain(
        data, "rotation", out=str(out), samples=256, batch=32, precision="f32", encoder="small"
    )
    recipe, channels = run.encoder().recipe, values.shape[3:] or (1,)
    plain = (values / 65_535).reshape(-1, *channels)
    assert recipe.channels == channels[0]
    assert recipe.mean == pytest.approx(plain.mean(axis=0), rel=1e-3)
    assert recipe.deviation == pytest.approx(plain.std(axis=0), rel=1e-3)
    record = selfsight.probe(run, labels=100, quick=True)
    assert isinstance(record, dict)
    assert record["verdict"] in (
        "learning",
        "no better than untrained",
        "too close to tell",
        "collapsed",
    )
    assert record["trained"] > record["chance"]
    found = selfsight.neighbours(run, queries=2, count=2)
    assert Path(found["sheet"]).is_file()
    assert found["networks"].keys() == {"trained", "untrained", "pixels"}
    written = selfsight.embed(run, out=out.parent / "embedded.npz")
    assert written["count"] == len(values)
    return run


@pytest.mark.parametrize("form", ["npz", "npy"])
def test_thirteen_channels_go_from_the_file_to_a_verdict(
    tmp_path: Path, spectra: tuple[np.ndarray, np.ndarray], form: str
) -> None:
    values, labels = spectra
    if form == "npz":
        np.savez(tmp_path / "data.npz", images=values, labels=labels)
    else:
        (tmp_path / "data").mkdir()
        np.save(tmp_path / "data" / "images.npy", values)
        np.save(tmp_path / "data" / "labels.npy", labels)
    place = tmp_path / ("data.npz" if form == "npz" else "data")
    run = check_all_verbs(str(place), tmp_path / "run", values)

    sentence = r"run takes pictures of 13 channels, and those of digits have 1\. "
    with pytest.raises(SelfsightError, match=sentence):
        selfsight.probe(run, "digits")


def test_grey_tiffs_of_sixteen_bits_go_from_a_folder_to_a_verdict(
    tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    for number, (value, label) in enumerate(zip(*digits, strict=True)):
        folder = tmp_path / "digits" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / f"{number:03d}.tif", value)

    check_all_verbs(str(tmp_path / "digits"), tmp_path / "run", digits[0])
