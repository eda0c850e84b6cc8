"""Dictionary: whitening is undone, the most used centroids come first, and shares add up."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from selfsight.data.pictures import Pictures
from selfsight.data.pictures.batch import Images
from selfsight.encoders import build
from selfsight.encoders.patch_dictionary import standardised_patches
from selfsight.layers.whitening import Whitening
from selfsight.looks.held_out import HeldOut
from selfsight.looks.sheet import draw_sheet
from selfsight.looks.sheets import patch_dictionary
from selfsight.looks.task_sheet import Question
from selfsight.tasks.base import Facts
from selfsight.tasks.patch_dictionary import PatchDictionary

SIDE, COUNT, CENTROIDS = 16, 12, 24


def some_pictures() -> torch.Tensor:
    noise = torch.Generator().manual_seed(0)
    coarse = torch.rand(COUNT, 3, 6, 6, generator=noise)
    smooth = torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear")
    return (255 * smooth).to(torch.uint8)


def held_out() -> HeldOut:
    extent = torch.tensor([SIDE, SIDE]).expand(COUNT, 2)
    pictures = Pictures(some_pictures(), extent, None, (), (), (), "some", "")
    return HeldOut(pictures, "the test part", False)


@pytest.fixture(scope="module")
def fitted() -> PatchDictionary:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        arguments = {"centroids": CENTROIDS, "patch": 4}
        encoder = build("patch-dictionary", size=SIDE, arguments=arguments)
    settings = PatchDictionary.derive(Facts(COUNT, 0, 3, SIDE, COUNT, chosen={"centroids": 24}))
    task = PatchDictionary(
        encoder, encoder.dim, size=SIDE, patches=settings["patches"], iterations=3
    )
    task.fit([Images.of(some_pictures())])
    return task.eval()


def asked(task: PatchDictionary) -> tuple[patch_dictionary.Sheet, dict[str, float]]:
    with torch.inference_mode():
        return patch_dictionary.find_answers(task, Question(held_out(), 8))


def test_undone_centroids_are_the_means_of_patches(fitted: PatchDictionary) -> None:
    """Whitening a patch and undoing it gives the patch; so it is with the mean of several."""
    model = fitted.model
    noise = torch.Generator().manual_seed(1)
    patches = torch.rand(5000, 3, 4, 4, generator=noise)
    rows = standardised_patches(patches.flatten(1))
    whitening = Whitening.of(rows, epsilon=0.1, form="zca")
    two = whitening.apply(rows)[:CENTROIDS].lerp(whitening.apply(rows)[1 : CENTROIDS + 1], 0.5)
    other: Any = build("patch-dictionary", size=SIDE, arguments={"centroids": 24, "patch": 4}).model
    other.take(whitening.mean, whitening.matrix, two)
    means = (rows[:CENTROIDS] + rows[1 : CENTROIDS + 1]) / 2

    assert torch.allclose(patch_dictionary.undone(other).flatten(1), means, atol=1e-4)
    assert patch_dictionary.undone(model).shape == (CENTROIDS, 3, 4, 4)


def test_the_figures_are_the_tasks_own(fitted: PatchDictionary) -> None:
    _, figures = asked(fitted)
    with torch.inference_mode():
        loss = float(fitted(Images.of(some_pictures())).loss)

    assert figures["loss"] == pytest.approx(loss, rel=0.05)  # of patches at other places
    assert 0 < figures["loss"] < figures["blind"] == 1
    assert figures["centroids"] == CENTROIDS
    assert 1 / CENTROIDS <= figures["commonest"] < 1
    assert figures["patches"] >= patch_dictionary.PATCHES


def test_the_most_used_come_first_and_the_unused_are_counted(fitted: PatchDictionary) -> None:
    """Of two centroids that are alike the first is the nearest, and one far off is of no patch."""
    model = fitted.model
    before = model.centroids.clone()
    with torch.no_grad():
        model.centroids[1:] = 1e3
        model.centroids[5] = model.centroids[0] * 1.0
    sheet, figures = asked(fitted)
    with torch.no_grad():
        model.centroids.copy_(before)

    assert figures["commonest"] == 1
    assert figures["unused"] == CENTROIDS - 1
    assert list(sheet.headings) == ["100.00 to 0.00 %", "0.00 to 0.00 %"]
    assert f"and {CENTROIDS - 1} to no patch" in patch_dictionary.in_words(
        fitted, figures, "12 pictures"
    )


def test_how_often_pictures_are_looked_at_hardly_matters(
    fitted: PatchDictionary, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = asked(fitted)[1]
    monkeypatch.setattr(patch_dictionary, "PATCHES", 3 * patch_dictionary.PATCHES)
    monkeypatch.setattr(patch_dictionary, "BATCH", 5)
    more = asked(fitted)[1]

    assert more["patches"] > 2 * whole["patches"]
    assert more["commonest"] == pytest.approx(whole["commonest"], rel=0.1)
    assert more["loss"] == pytest.approx(whole["loss"], rel=0.02)


def test_a_sheet_shows_all_centroids(fitted: PatchDictionary, tmp_path: Path) -> None:
    sheet, figures = asked(fitted)
    words = patch_dictionary.in_words(fitted, figures, held_out().among)
    draw_sheet(sheet, tmp_path / "sheet.png", caption=words)

    assert len(sheet.samples) == 2  # 20 in a line
    assert "On 12 held-out pictures, the nearest of 24 centroids leaves" in words
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.size[0] > picture.size[1] > 100
