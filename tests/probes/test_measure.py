"""Measure: one pass feeds every draw and layer; answers survive a file."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from selfsight.data.pictures.scaling import as_float
from selfsight.data.splitting import folds_of
from selfsight.errors import SelfsightError, UsageError
from selfsight.probes.features import Pixels
from selfsight.probes.knn import NearestNeighbours
from selfsight.probes.linear import LinearProbe
from selfsight.probes.measure import Answers, measure
from selfsight.probes.sampling import choose_labelled


class Toy(NamedTuple):
    """Stands in for `Pictures`: what probes read of them."""

    images: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]

    def seen(self, rows: Tensor, device: torch.device | str = "cpu") -> Tensor:
        return as_float(self.images[rows].to(device))


def bright_or_dark(rows: int, *, seed: int) -> Any:
    """Pictures of two classes that differ in brightness."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (rows,), generator=generator)
    grain = torch.randint(-40, 41, (rows, 3, 8, 8), generator=generator)
    images = (100 + 40 * labels[:, None, None, None] + grain).to(torch.uint8)
    return Toy(images, labels, ("dark", "bright"))


class Network(nn.Module):
    """Layer "noise" is blind, layer "seen" is a convolution of the picture."""

    layer_names = ("noise", "seen")

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__()
        self.seen = nn.Conv2d(3, 8, 3)
        self.broken = broken
        self.shown = 0

    def layers(self, images: Tensor) -> dict[str, Tensor]:
        self.shown += len(images)
        noise = (images * 12345.678).sin()  # keeps no brightness
        seen = self.seen(images)
        return {"noise": noise, "seen": seen / 0 if self.broken else seen}


@pytest.mark.parametrize("probe", ["linear", "knn"])
def test_brightness_is_read_where_it_is_seen(probe: Any) -> None:
    torch.manual_seed(0)
    train, test = bright_or_dark(120, seed=0), bright_or_dark(70, seed=1)

    answers = measure(Network(), train, test, probe=probe, labels=50, draws=2, batch=32)

    assert answers.layers == ("noise", "seen")
    assert answers.predictions.shape == (2, 2, 70)
    assert answers.validation.shape == (2, 2)
    assert answers.labels == 50
    assert answers.best == 1
    accuracy = (answers.predictions == test.labels).double().mean(dim=(0, 2))
    assert accuracy[0] < 0.75
    assert accuracy[1] > 0.95


def test_every_picture_is_shown_once_whatever_the_draws() -> None:
    train, test = bright_or_dark(60, seed=0), bright_or_dark(30, seed=1)
    network, said = Network(), list[tuple[int, int]]()

    measure(
        network,
        train,
        test,
        labels=40,
        draws=3,
        batch=16,
        progress=lambda done, total: said.append((done, total)),
    )

    done, total = said[-1]
    assert done == total == network.shown
    assert 30 + 40 < network.shown <= 30 + 60  # the union of three draws of forty in sixty


def test_all_labels_are_one_draw_and_match_a_probe_fed_by_hand() -> None:
    train, test = bright_or_dark(40, seed=0), bright_or_dark(25, seed=1)

    answers = measure(Pixels(3, 8), train, test, labels=1000, draws=3, batch=7)

    assert answers.labels == 40
    assert len(answers.predictions) == 1
    probe = LinearProbe(192, 2)
    x = train.images.flatten(1) / 255
    probe.add(x, train.labels, torch.arange(40) % 5 == 0)
    probe.solve()
    agree = probe.predict(test.images.flatten(1) / 255) == answers.predictions[0, 0]
    assert agree.double().mean() > 0.9  # other rows were held out, so not quite the same strength


def test_the_seed_decides_and_the_batch_does_not() -> None:
    train, test = bright_or_dark(80, seed=0), bright_or_dark(60, seed=1)
    train = train._replace(labels=torch.arange(80) % 2)  # says nothing of brightness

    def answered(seed: int, batch: int) -> Tensor:
        answers = measure(Pixels(3, 8), train, test, labels=40, draws=2, seed=seed, batch=batch)
        return answers.predictions

    first = answered(0, 64)
    assert (answered(0, 11) == first).double().mean() >= 0.98  # but for rounding, the same
    assert (answered(1, 64) == first).double().mean() < 0.98


@pytest.mark.parametrize("probe", ["linear", "knn"])
@pytest.mark.parametrize(("labels", "draws"), [(1000, 1), (20, 2)])
def test_folds_answer_as_folds_made_by_hand(probe: Any, labels: int, draws: int) -> None:
    torch.manual_seed(0)
    pictures, network = bright_or_dark(61, seed=0), Network()
    pictures.labels[7] = 1 - pictures.labels[7]  # so that not all is right
    folds = folds_of(pictures.labels)
    folds[3] = -1

    answers = measure(
        network, pictures, pictures, probe=probe, labels=labels, draws=draws, batch=16, folds=folds
    )

    assert network.shown == 61  # each once
    assert answers.predictions.shape == (draws, 2, 60)
    expected = torch.full((draws, 2, 61), -1)
    with torch.inference_mode():
        maps = network.layers(pictures.images.float() / 255)
    for place, name in enumerate(network.layer_names):
        x = maps[name].flatten(1) if probe == "linear" else maps[name].mean(dim=(2, 3))
        for fold in range(5):
            others = (folds != fold).nonzero()[:, 0]
            for draw in range(draws):
                rows, held = choose_labelled(pictures.labels[others], labels, seed=0, draw=draw)
                by_hand = LinearProbe(x.shape[1], 2) if probe == "linear" else NearestNeighbours(2)
                by_hand.add(x[others[rows]], pictures.labels[others[rows]], held)
                by_hand.solve()
                expected[draw, place, folds == fold] = by_hand.predict(x[folds == fold])
    agree = (answers.predictions == expected[:, :, folds >= 0]).double().mean()
    assert agree > 0.98  # but for rounding, the same
    assert answers.labels == min(labels, int((folds != 0).sum()), int((folds != 4).sum()))


def test_each_fold_chooses_its_layer_by_its_own_validation() -> None:
    answers = Answers(
        ("a", "b"),
        torch.tensor([[[0, 0, 0], [1, 1, 1]]]),
        torch.tensor([[0.5, 0.6]]).double(),
        measure(Pixels(3, 8), bright_or_dark(20, seed=0), bright_or_dark(9, seed=1)).shape,
        10,
        1.0,
        torch.tensor([0, 1, 0]),
    )

    assert answers.own.tolist() == [[0, 1, 0]]
    assert answers.best == 1


def test_answers_survive_a_file(tmp_path: Path) -> None:
    answers = measure(Pixels(3, 8), bright_or_dark(20, seed=0), bright_or_dark(9, seed=1))
    answers.save(tmp_path / "baseline.npz")

    again = Answers.load(tmp_path / "baseline.npz")

    assert [file.name for file in tmp_path.iterdir()] == ["baseline.npz"]
    assert torch.equal(again.predictions, answers.predictions)
    assert torch.equal(again.validation, answers.validation)
    assert again.chosen is None
    assert (again.layers, again.shape, again.labels, again.seconds) == (
        answers.layers,
        answers.shape,
        answers.labels,
        answers.seconds,
    )


def test_answers_in_folds_survive_a_file(tmp_path: Path) -> None:
    pictures = bright_or_dark(30, seed=0)
    answers = measure(Pixels(3, 8), pictures, pictures, folds=folds_of(pictures.labels))
    answers.save(tmp_path / "baseline.npz")

    again = Answers.load(tmp_path / "baseline.npz")

    assert again.chosen is not None
    assert again.own.equal(answers.own)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "baseline.npz").write_bytes(content)
    with pytest.raises(SelfsightError, match=r"baseline\.npz.*computed anew"):
        Answers.load(tmp_path / "baseline.npz")


def test_a_diverged_network_is_named_by_layer() -> None:
    pictures = bright_or_dark(20, seed=0)
    with pytest.raises(SelfsightError, match="layer seen"):
        measure(Network(broken=True), pictures, pictures)


def test_pictures_that_cannot_be_probed_are_refused() -> None:
    pictures = bright_or_dark(20, seed=0)
    with pytest.raises(UsageError, match="training pictures must have labels"):
        measure(Pixels(3, 8), pictures._replace(labels=None), pictures)
    with pytest.raises(UsageError, match="same classes"):
        measure(Pixels(3, 8), pictures, pictures._replace(classes=("a", "b")))
    with pytest.raises(UsageError, match="draws must be at least 1, got 0"):
        measure(Pixels(3, 8), pictures, pictures, draws=0)
