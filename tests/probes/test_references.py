"""Patch baseline: the baseline is fitted once, to the pictures alone, and kept."""

import dataclasses
from pathlib import Path

import pytest
import torch

from selfsight.data.pictures import Pictures
from selfsight.data.pictures.collection import fingerprint_of
from selfsight.probes.references import fitted_dictionary, kept_dictionary

SIDE = 12


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path))
    return tmp_path / "dictionaries"


def pictures(count: int = 40, *, channels: int = 3, bits: int = 8, seed: int = 0) -> Pictures:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 2**bits, (count, channels, SIDE, SIDE), generator=generator)
    images = images.to(torch.uint8 if bits == 8 else torch.uint16)
    extent = torch.full((count, 2), SIDE)
    labels = torch.arange(count) % 2
    name, classes, titles = "noise", ("a", "b"), tuple(map(str, range(count)))
    mark = fingerprint_of(images, extent, labels)
    return Pictures(images, extent, labels, classes, titles, (), name, mark)


def test_it_is_fitted_once_and_kept(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    first = kept_dictionary(pictures(), size=SIDE, progress=lambda *at: told.append(at))
    second = kept_dictionary(pictures(), size=SIDE, progress=lambda *at: told.append(at))
    views = torch.rand(2, 3, SIDE, SIDE)

    assert told == [(40, 40)]
    with torch.no_grad():
        assert torch.equal(first(views), second(views))
    assert len([*folder.glob("*.json")]) == 1
    kept_dictionary(pictures(seed=1), size=SIDE)
    assert len([*folder.glob("*.json")]) == 2  # other pictures, another dictionary


def test_a_damaged_one_is_fitted_anew(folder: Path) -> None:
    first = kept_dictionary(pictures(), size=SIDE)
    (file,) = folder.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])

    again = kept_dictionary(pictures(), size=SIDE)

    views = torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        assert torch.equal(first(views), again(views))


def test_labels_have_no_part_in_it() -> None:
    labelled = pictures()
    turned = dataclasses.replace(labelled, labels=None, classes=())
    torch.rand(3)  # nor has what others draw

    first, second = (fitted_dictionary(p, size=SIDE) for p in (labelled, turned))

    assert all(a.equal(b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize(("channels", "bits"), [(1, 8), (4, 8), (3, 16)])
def test_any_channels_and_depth_do(channels: int, bits: int) -> None:
    network = fitted_dictionary(pictures(channels=channels, bits=bits), size=SIDE)

    with torch.no_grad():
        features = network(torch.rand(2, channels, SIDE, SIDE))
    assert features.shape == (2, 4 * 20)  # a centroid for every two pictures
    assert features.isfinite().all()
