"""torchvision's sets: cached data is used, missing data is named, the table fits torchvision."""

import gzip
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight.data.pictures import open_data
from selfsight.data.pictures.forms.torchvision_sets import NAMED, open_named
from selfsight.errors import SelfsightError

DOWNLOADED = "MNIST/raw"


def test_mnist_in_the_cache_needs_no_network(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path))
    folder = tmp_path / "downloads/MNIST/raw"
    folder.mkdir(parents=True)
    for path in (shared_data / "mnist").glob("*.gz"):
        (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))

    parts = open_data("mnist")

    assert parts.test is not None
    assert (len(parts.train), len(parts.test)) == (60_000, 10_000)
    assert parts.train.classes == parts.test.classes == tuple("0123456789")
    own = open_data(shared_data / "mnist").train
    assert torch.equal(parts.train.decode(59_999), own.decode(59_999))
    assert own.labels is not None
    assert parts.train.labels is not None
    assert torch.equal(parts.train.labels, own.labels)


def test_a_folder_in_the_cache_with_a_subfolder_a_class_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path))
    for name in ("Forest", "River"):
        folder = tmp_path / "downloads/eurosat/2750" / name
        folder.mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(folder / f"{name}_1.jpg")

    parts = open_data("eurosat")

    assert parts.train.classes == ("Forest", "River")
    assert parts.test is None
    assert parts.train.decode(1).shape == (3, 64, 64)


def test_a_folder_of_the_same_name_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cifar10").mkdir()
    np.save("cifar10/images.npy", np.zeros((3, 8, 8), np.uint8))

    assert len(open_data("cifar10").train) == 3


OFFLINE = """
from selfsight.data.pictures import open_data
from selfsight.errors import SelfsightError
for name in ("cifar10", "mnist"):
    try:
        open_data(name)
    except SelfsightError as error:
        print(error)
"""


@pytest.mark.slow
def test_without_a_network_the_sentence_says_what_to_do(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"  # the discard port, where nothing answers
    environment = {"SELFSIGHT_CACHE": str(tmp_path), "HOME": str(tmp_path), "PATH": ""}
    environment |= dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), nowhere)

    done = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    for name, line in zip(("cifar10", "mnist"), done.stdout.splitlines(), strict=True):
        assert line.startswith(f"{name} is missing or incomplete in {tmp_path}/downloads")
        assert "could not be downloaded" in line
        assert "Connection refused" in line
        assert "give the path of your own data" in line


def test_a_damaged_file_in_the_cache_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path))
    folder = tmp_path / "downloads" / DOWNLOADED
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            (folder / f"{part}-{kind}").write_bytes(b"short")

    with pytest.raises(SelfsightError, match="mnist is missing or incomplete in"):
        open_named("mnist")


def read_from(name: str) -> set[str]:
    """Give the attributes of torchvision's objects that a source is made of."""
    reader = NAMED[name].opened.__name__
    return {
        "_from_arrays": {"data"},
        "_from_idx": {"raw_folder"},
        "_from_files": {"_labels"},
        "_from_folder": {"root"},
    }[reader]


@pytest.mark.parametrize("name", sorted(NAMED))
def test_the_table_fits_the_installed_torchvision(name: str) -> None:
    from torchvision import datasets

    entry = NAMED[name]
    kind = getattr(datasets, entry.kind)
    source = "".join(inspect.getsource(base) for base in kind.__mro__[:2])

    for arguments in filter(None, (entry.train, entry.test)):
        inspect.signature(kind).bind("root", download=True, **arguments)
    assert [word for word in read_from(name) if word not in source] == []
    if entry.opened.__name__ == "_from_files":
        assert "self._image_files" in source or "self._images " in source
    if entry.opened.__name__ == "_from_arrays":
        assert "self.targets" in source or "self.labels" in source


def test_the_module_lists_the_table() -> None:
    from selfsight.data.pictures.forms import torchvision_sets

    assert [name for name in NAMED if f"`{name}`" not in (torchvision_sets.__doc__ or "")] == []


class Held:
    """What torchvision's objects hold in memory, made here: the data cannot be downloaded."""

    def __init__(self, data: np.ndarray, **fields: object) -> None:
        self.data = data
        vars(self).update(fields)


def test_arrays_are_read_channels_last_or_first() -> None:
    opened = NAMED["cifar10"].opened
    values = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)

    last = opened("x", Held(values, targets=[0, 2, 1, 0], classes=["a", "b", "c"]))
    first = opened("x", Held(values.transpose(0, 3, 1, 2), labels=np.array([0, 2, 1, 0])))
    bare = opened("x", Held(values, labels=np.full(4, -1)))

    assert (last.classes, first.classes, bare.labels) == (("a", "b", "c"), ("0", "1", "2"), None)
    for source in (last, first):
        assert np.array_equal(source.decode(1).permute(1, 2, 0).numpy(), values[1])
        assert source.labels is not None
        assert source.labels.tolist() == [0, 2, 1, 0]
