"""Pretext: every task has a sheet, and what is said below it is what was measured."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from making import PICTURE_TASKS
from selfsight.augment.views import random_view
from selfsight.data.pictures import Pictures
from selfsight.data.pictures.batch import Images, LabelledImages
from selfsight.encoders import build
from selfsight.looks.held_out import HeldOut
from selfsight.looks.pretext import look_at_task, sheet_of
from selfsight.looks.sheet import CROSS, TICK
from selfsight.looks.sheets import (
    colorization,
    colorization_vae,
    inpainting,
    jigsaw,
    relative_position,
    rotation,
    supervised,
)
from selfsight.looks.task_sheet import PicturewiseSheet, Question, measured
from selfsight.tasks.base import Facts
from selfsight.tasks.table import load_task, make_task

SIDE, COUNT = 32, 5
FACTS = Facts(samples=COUNT, classes=3, channels=3, side=SIDE, batch=COUNT)
SMALL = {"stem": 8, "widths": (8, 16)}
EVERY_TASK = pytest.mark.parametrize("name", PICTURE_TASKS)
SETWISE = [name for name in PICTURE_TASKS if not isinstance(sheet_of(name), PicturewiseSheet)]


def task_named(name: str) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        settings = load_task(name).derive(FACTS)
        network, arguments = load_task(name).encoder_of(settings) or ("small", SMALL)
        encoder = build(network, size=SIDE, arguments=arguments)
        task = make_task(name, encoder, size=SIDE, **settings)
    return task.eval()


def some_pictures() -> torch.Tensor:
    noise = torch.Generator().manual_seed(0)
    coarse = torch.rand(COUNT, 3, 5, 5, generator=noise)
    smooth = torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear")
    return (255 * smooth).to(torch.uint8)


def a_batch() -> LabelledImages:
    return LabelledImages.of(some_pictures(), torch.tensor([0, 1, 2, 0, 1]))


def held_out(*, trained_on: bool | None = False) -> HeldOut:
    extent = torch.tensor([SIDE, SIDE]).expand(COUNT, 2)
    pictures = Pictures(
        some_pictures(), extent, torch.tensor([0, 1, 2, 0, 1]), ("a", "b", "c"), (), (), "some", ""
    )
    return HeldOut(pictures, "the test part", trained_on)


@EVERY_TASK
def test_a_sheet_is_drawn_and_its_words_hold_figures(name: str, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    question = Question(held_out(), 3, ("a", "b", "c"))
    record = look_at_task(name, task_named(name), question, path)

    with Image.open(path) as sheet:
        assert min(sheet.size) > 150
    assert "5 held-out pictures" in record["words"]
    assert any(letter.isdigit() for letter in record["words"].replace("5 held-out", ""))
    assert record["pictures"] == COUNT
    assert name in SETWISE or record["loss"] > 0


@pytest.mark.parametrize("name", SETWISE)
def test_a_task_that_tells_pictures_apart_is_not_asked_for_its_loss(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bank or queue has no entries of held-out pictures; their numbers are others' there."""
    task = task_named(name)
    monkeypatch.setattr(task, "forward", None)
    before = {key: value.clone() for key, value in task.state_dict().items()}
    look_at_task(name, task, Question(held_out(), 2), tmp_path / "a.png")

    assert all(value.equal(before[key]) for key, value in task.state_dict().items())


@pytest.mark.parametrize("name", ["supervised", "rotation", "jigsaw"])
def test_figures_are_averages_over_all_pictures(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured two at a time, five pictures give what they give at once."""
    task, held = task_named(name), held_out()
    with torch.inference_mode():
        whole = measured(name, task, held, seed=0, device="cpu")
        monkeypatch.setattr("selfsight.looks.task_sheet.BATCH", 2)
        parts = measured(name, task, held, seed=0, device="cpu")

    assert parts == pytest.approx(whole, abs=2e-4)


def test_what_the_run_knows_of_the_pictures_is_said() -> None:
    assert held_out(trained_on=True).among == "5 pictures that training had seen"
    assert held_out(trained_on=None).among == "5 pictures, some perhaps trained on"


@torch.inference_mode()
def test_turns_are_marked_by_the_networks_own_guess() -> None:
    task = task_named("rotation")
    task.head.weight.zero_()
    task.head.bias.copy_(torch.tensor([0.0, 9.0, 0.0, 0.0]))
    samples = rotation.lay_out(task, Images.of(some_pictures()), ()).samples

    assert [cell.right for cell in samples[0]] == [False, True, False, False]
    assert samples[0][1].note.startswith(f"{TICK} a quarter left")
    assert samples[0][0].note.startswith(f"{CROSS} a quarter left")
    assert samples[0][1].picture.equal(samples[0][0].picture.rot90(1, dims=(-2, -1)))


@torch.inference_mode()
def test_guesses_name_the_true_class() -> None:
    task = task_named("supervised")
    task.head.weight.zero_()
    task.head.bias.copy_(torch.tensor([0.0, 9.0, 3.0]))
    samples = supervised.lay_out(
        task, a_batch(), ("cat", "dog", "a very long name of a class")
    ).samples

    assert [cells[0].right for cells in samples] == [False, True, False, False, True]
    assert samples[1][0].note.startswith(f"{TICK} dog")
    assert samples[0][0].note.endswith("is cat")
    assert "a very long name of…" in samples[0][0].note


@torch.inference_mode()
def test_puzzles_are_put_together_by_the_guess() -> None:
    task, batch = task_named("jigsaw"), Images.of(some_pictures())
    tiles, numbers = task.hide(batch)
    chosen = int(numbers[0])
    last = task.joint[-1]
    last.weight.zero_()
    last.bias.copy_(9.0 * (torch.arange(len(last.bias)) == chosen))
    samples = jigsaw.lay_out(task, batch, ()).samples

    question, answer, truth = samples[0]
    assert answer.right
    assert answer.picture.equal(truth.picture)
    wrong = int((numbers != chosen).nonzero()[0])
    question, answer, truth = samples[wrong]
    assert answer.right is False
    assert not answer.picture.equal(truth.picture)
    order, true = task.permutations[chosen].argsort(), task.permutations[numbers[wrong]].argsort()
    assert f"{int((order == true).sum())} of 4 in place" in answer.note
    side = tiles.shape[-1]
    first = (slice(None), slice(side), slice(side))
    assert truth.picture[first].equal(task.put_together(tiles, numbers)[wrong][first])
    assert question.picture[first].equal(tiles[4 * wrong])


@torch.inference_mode()
def test_patches_lie_where_they_are_thought_to_be() -> None:
    """A network that always says "below right" puts all neighbours there, the surest on top."""
    task = task_named("relative-position")
    last = task.joint[-1]
    last.weight.zero_()
    last.bias.copy_(9.0 * (torch.arange(8) == 7))
    answer, truth = relative_position.lay_out(task, Images.of(some_pictures()), ()).samples[0]
    middle = slice(answer.picture.shape[1] // 3 + 1, 2 * (answer.picture.shape[1] // 3))

    assert answer.note == f"{CROSS} 1 of 8 right"
    assert answer.picture[:, middle, middle].equal(truth.picture[:, middle, middle])
    assert not answer.picture[:, :5, :5].equal(truth.picture[:, :5, :5])


@torch.inference_mode()
def test_colourings_keep_the_lightness_and_stand_beside_the_same_crop() -> None:
    task, batch = task_named("colorization"), Images.of(some_pictures())
    sheet = colorization.lay_out(task, batch, ())
    truth = random_view(batch, SIDE, scale=(task.least_scale, 1.0))

    assert list(sheet.columns) == ["question", "T → 0", "T = 0.38", "T = 1", "truth"]
    assert sheet.samples[0][-1].picture.equal(truth[0])
    assert colorization.off(truth[0], task.hide(batch)[1][0]) == "off by 0.0"
    figures = colorization.metrics(task, batch)
    assert figures["grey_error"] > 1


@torch.inference_mode()
def test_regression_has_one_answer() -> None:
    encoder = build("small", size=SIDE, arguments=SMALL)
    task: Any = make_task("colorization", encoder, size=SIDE, objective="regression")
    sheet = colorization.lay_out(task.eval(), Images.of(some_pictures()), ())

    assert list(sheet.columns) == ["question", "answer", "truth"]


@torch.inference_mode()
def test_the_ways_differ_and_the_best_of_them_is_no_worse_than_the_first() -> None:
    task, batch = task_named("colorization-vae"), Images.of(some_pictures())
    cells = colorization_vae.lay_out(task, batch, ()).samples[0]
    figures = colorization_vae.metrics(task, batch)

    assert len(cells) == colorization_vae.SHOWN + 2
    assert not cells[1].picture.equal(cells[2].picture)
    assert figures["best_of"] <= figures["error"]


@torch.inference_mode()
def test_only_holes_are_painted() -> None:
    task, batch = task_named("inpainting"), Images.of(some_pictures())
    pictures, withheld = task.hide(batch)
    samples = inpainting.lay_out(task, batch, ()).samples
    for row, (question, answer, truth) in enumerate(samples):
        outside = (withheld.hole[row] == 0).expand(3, -1, -1)
        assert question.picture.equal(pictures[row])
        assert answer.picture[outside].equal(truth.picture[outside])
        assert not answer.picture.equal(truth.picture)
