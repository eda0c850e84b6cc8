"""The contract: what every task of the table promises, asked of each."""

import io
import re
from pathlib import Path
from typing import Any, cast

import pytest
import torch

import selfsight.tasks
from contract import faults_of_scoring, faults_of_targets, faults_of_views
from making import CANVAS, CLASSES, SAMPLES, batch_of, made, photographs, rows_of
from noise import noise_batch
from selfsight.modalities.table import modality_called
from selfsight.tasks.base import Needs, Score, Task
from selfsight.tasks.cards import card, described_settings, kinds_of
from selfsight.tasks.deepcluster import cluster_weights
from selfsight.tasks.table import TASKS, Row, load_task
from selfsight.training.adagrad import Adagrad

NEED_COLOURS = {"colorization", "colorization-vae"}
# These compare pictures with each other: an untrained network knows already that views of one
# picture are more alike than views of two, so that its first loss may lie below a blind guess.
# Differences of cosines are divided by the temperature, so that it may lie further off above, too.
COMPARING = {"simclr", "moco", "moco-v2", "pirl", "instance-discrimination"}

every_task = pytest.mark.parametrize("name", TASKS)
every_trained_task = pytest.mark.parametrize(
    "name", [n for n, row in TASKS.items() if row.way == "trained"]
)
# A table of words costs log 2 for each answer at first, since its outputs begin at 0: it has yet to
# learn how often words occur, which a blind guess knows.
every_blind_task = pytest.mark.parametrize(
    "name", [n for n, row in TASKS.items() if row.blind and row.modality == "pictures"]
)
every_task_on_pictures = pytest.mark.parametrize(
    "name", [n for n, row in TASKS.items() if row.modality == "pictures"]
)
every_task_in_bf16 = pytest.mark.parametrize(
    "name",
    [
        n
        for n, row in TASKS.items()
        if row.way == "trained" and "bf16" in modality_called(row.modality).usual.precisions
    ],
)


def trained(task: Task, batches: list[Any], *, rate: float = 3e-3) -> list[float]:
    """Take a step for every batch: -> the losses."""
    sparse = any(getattr(part, "sparse", False) for part in task.modules())
    optimizer = (
        Adagrad([{"params": [*task.parameters()]}], lr=1.0)
        if sparse
        else torch.optim.Adam(task.parameters(), lr=rate)
    )
    losses: list[float] = []
    for step, batch in enumerate(batches):
        task.before_step(step, len(batches))
        score = task(batch)
        optimizer.zero_grad()
        score.loss.backward()
        optimizer.step()
        task.after_step(step, len(batches))
        losses.append(score.loss.item())
    return losses


def test_every_file_is_in_the_table() -> None:
    folder = Path(selfsight.tasks.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {
        "__init__",
        "base",
        "cards",
        "mix",
        "cropping",
        "two_views",
        "table",
        "windows",
    }

    assert files == {row.target.partition(":")[0].rpartition(".")[2] for row in TASKS.values()}


@every_task
def test_the_row_is_true(name: str) -> None:
    task_class = load_task(name)

    row: Row = TASKS[name]
    assert issubclass(task_class, Task)
    assert f"{task_class.__module__}:{task_class.__name__}" == row.target
    assert isinstance(task_class.needs, Needs)
    assert (made(name).blind is not None) == row.blind


@every_task
def test_the_card_has_its_words_and_a_reference(name: str) -> None:
    words = card(name)

    assert all(words[word] for word in ("title", "hidden", "predicted", "scored"))
    assert "https://" in words["reference"]
    assert ("blind" in words["scored"]) == TASKS[name].blind
    assert "size" not in words["settings"]


RANGE = r"at least|at most|above|below|\bin [\[(]|\bfrom\b|\d or \d|\b2 batch - 2"


@pytest.mark.parametrize("name", [*TASKS, "mix"])
def test_every_setting_has_a_meaning_and_every_number_a_range(name: str) -> None:
    settings = described_settings(name)
    numbers = [key for key, kind in kinds_of(name).items() if {int, float} & {*kind}]

    assert [key for key, of in settings.items() if not of["meaning"]] == []
    assert [key for key in numbers if not re.search(RANGE, settings[key]["meaning"])] == []


@every_task
def test_hide_predict_and_score_make_the_score(name: str) -> None:
    task, batch = cast(Any, made(name)), batch_of(name, photographs(name, 4))

    pictures, answers = task.hide(batch)
    in_steps, at_once = task.score(task.predict(pictures), answers), task(batch)

    assert torch.equal(in_steps.loss, at_once.loss)
    assert at_once.loss.shape == ()
    assert all(metric.shape == () for metric in at_once.metrics.values())


@every_blind_task
def test_the_first_loss_is_near_a_blind_guess(name: str) -> None:
    task = made(name)

    score = task(batch_of(name, photographs(name, 32)))

    blind = cast(float, task.blind)
    assert score.loss.item() < blind + (1.0 if name in COMPARING else 0.35)
    assert name in COMPARING or score.loss.item() > blind - 0.35


@pytest.mark.parametrize("name", ["supervised", "deepcluster"])
def test_no_guess_that_ignores_the_picture_is_cheaper_than_a_blind_one(name: str) -> None:
    """Answers 80:10:5:5: the best constant logits, found by descent, cost what `blind` says."""
    shares = torch.tensor([0.8, 0.1, 0.05, 0.05])
    answers = torch.arange(CLASSES).repeat_interleave((SAMPLES * shares).round().long())
    task = cast(Any, made(name, **({"clusters": CLASSES} if name == "deepcluster" else {})))
    if name == "deepcluster":
        task.assignments.copy_(answers)
        task.weights.copy_(cluster_weights(answers.bincount()))
    else:
        task = cast(Any, made(name, shares=shares.tolist()))
    logits = torch.zeros(CLASSES, requires_grad=True)
    search = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

    def cost() -> torch.Tensor:
        search.zero_grad()
        loss = task.score(logits.expand(SAMPLES, CLASSES), answers).loss
        loss.backward()
        return loss

    search.step(cost)

    assert cost().item() == pytest.approx(task.blind, abs=1e-4)
    guess = torch.eye(CLASSES)[0].expand(SAMPLES, CLASSES)
    assert task.score(guess, answers).metrics["accuracy"].item() == pytest.approx(task.chance)


@every_trained_task
def test_the_gradient_reaches_every_parameter(name: str) -> None:
    task = made(name)

    task(batch_of(name, photographs(name, 8))).loss.backward()

    unreached = [
        key
        for key, p in task.named_parameters()
        if p.requires_grad and (p.grad is None or p.grad.abs().sum() == 0)
    ]
    assert unreached == []


@every_task
def test_the_same_seed_gives_the_same_loss(name: str) -> None:
    task, images = made(name), photographs(name, 8)
    loss = task(batch_of(name, images, seed=1)).loss

    torch.rand(5)  # what others draw does not matter
    assert torch.equal(task(batch_of(name, images, seed=1)).loss, loss)
    assert not torch.equal(task(batch_of(name, images, seed=2)).loss, loss)


@every_task_on_pictures
def test_a_sample_is_hidden_alike_in_any_batch(name: str) -> None:
    task, whole = cast(Any, made(name)), batch_of(name, photographs(name, 8))

    together, _ = task.hide(whole)
    apart, _ = task.hide(rows_of(whole, [6, 1, 3]))

    distance = (apart[:, None] - together[None]).abs().amax(dim=(2, 3, 4))  # (few, many)
    assert distance.amin(dim=1).max() < 1e-5


@every_task
def test_the_loss_does_not_depend_on_the_order_of_the_batch(name: str) -> None:
    task, whole = made(name), batch_of(name, photographs(name, 8))

    turned_round = task(rows_of(whole, list(range(7, -1, -1)))).loss

    assert torch.allclose(turned_round, task(whole).loss, atol=1e-5)


@every_task
def test_a_state_comes_back(name: str) -> None:
    task, other = made(name, seed=0), made(name, seed=1)
    batch = batch_of(name, photographs(name, 8))
    assert not torch.equal(task(batch).loss, other(batch).loss)

    file = io.BytesIO()
    torch.save(task.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)

    assert torch.equal(task(batch).loss, other(batch).loss)


@every_task
def test_scoring_changes_nothing_but_batch_statistics(name: str) -> None:
    assert faults_of_scoring(made(name), batch_of(name, photographs(name, 8))) == []


@every_trained_task
def test_what_is_compared_with_gets_no_gradient_and_moves_after_a_step_alone(name: str) -> None:
    assert faults_of_targets(made(name), batch_of(name, photographs(name, 8))) == []


@every_task
def test_views_differ_and_none_is_its_own_target(name: str) -> None:
    assert faults_of_views(made(name), batch_of(name, photographs(name, 8))) == []


@every_trained_task
def test_eight_samples_are_learned_by_heart(name: str) -> None:
    task, batch = made(name), batch_of(name, photographs(name, 8))

    losses = trained(task, [batch] * 59)

    assert losses[-1] < losses[0] / 2


@every_task_on_pictures
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_channels_do_or_are_refused_by_name(name: str, channels: int) -> None:
    if channels != 3 and name in NEED_COLOURS:
        with pytest.raises(
            ValueError, match=f"{name} needs pictures of 3 channels, got {channels}"
        ):
            made(name, channels=channels)
        return
    score: Score = made(name, channels=channels)(batch_of(name, photographs(name, 4, channels)))

    assert score.loss.isfinite()


@every_task_in_bf16
def test_bf16_gives_a_loss_in_f32(name: str) -> None:
    task, batch = made(name), batch_of(name, photographs(name, 8))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        score = task(batch)
    score.loss.backward()

    assert score.loss.dtype == torch.float32
    assert score.loss.item() == pytest.approx(task(batch).loss.item(), abs=0.05)


@every_task
def test_pictures_are_left_as_they_were(name: str) -> None:
    images = photographs(name, 4)
    before = images.clone()

    made(name)(batch_of(name, images))

    assert torch.equal(images, before)


def test_rotation_on_noise_stays_at_chance() -> None:
    task = made("rotation")
    trained(task, [noise_batch(64 * step, 64, size=CANVAS) for step in range(60)], rate=1e-3)

    with torch.no_grad():
        accuracy = task(noise_batch(100_000, 500, size=CANVAS)).metrics["accuracy"].item()
    assert accuracy == pytest.approx(0.25, abs=0.08)
