"""Exemplar: which pictures are classes, that each is found again, and what they cost."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from selfsight.data.pictures.batch import Images
from selfsight.encoders import build
from selfsight.errors import UsageError
from selfsight.tasks.base import Facts
from selfsight.tasks.exemplar import MOST, Exemplar

SIZE = 12


def task_of(samples: int = 10, **settings: Any) -> Exemplar:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 16))
    return Exemplar(encoder, dim=16, size=SIZE, samples=samples, **settings)


def test_four_of_ten_pictures_are_chosen_evenly() -> None:
    task = task_of(exemplars=4)

    assert task.rows(10).tolist() == [0, 3, 5, 8]
    assert task.classes_of(task.rows(10)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("samples", "exemplars"), [(2, 2), (300, 300), (50_000, 8000), (97, 96)])
def test_every_exemplar_is_found_again(samples: int, exemplars: int) -> None:
    task = task_of(samples, exemplars=exemplars)

    rows = task.rows(samples)

    assert rows.dtype == torch.int64
    assert len(rows.unique()) == exemplars
    assert 0 <= int(rows.min()) <= int(rows.max()) < samples
    assert task.classes_of(rows).equal(torch.arange(exemplars))


def test_a_blind_guess_costs_the_log_of_the_exemplars() -> None:
    task = task_of(exemplars=5)

    score = task.score(torch.zeros(10, 5), torch.arange(10) // 2)

    assert score.loss.item() == pytest.approx(math.log(5))
    assert task.blind == pytest.approx(math.log(5))
    assert task.chance == 1 / 5


def test_loss_is_the_cross_entropy_of_the_definition() -> None:
    task = task_of()
    changed, exemplars = task.hide(Images.of(torch.rand(4, 3, SIZE, SIZE)))
    logits = task.predict(changed)

    found = task.score(logits, exemplars)

    costs = [
        math.log(sum(math.exp(z) for z in row)) - row[exemplar]
        for row, exemplar in zip(logits.double().tolist(), exemplars.tolist(), strict=True)
    ]
    assert found.loss.item() == pytest.approx(sum(costs) / 4, rel=1e-5)
    hits = [max(row) == row[j] for row, j in zip(logits.tolist(), exemplars.tolist(), strict=True)]
    assert found.metrics["accuracy"].item() == pytest.approx(sum(hits) / 4)


def test_more_than_some_thousand_exemplars_must_be_asked_for() -> None:
    def derived(samples: int) -> dict[str, Any]:
        return Exemplar.derive(Facts(samples, 10, 3, 32, 64))

    assert derived(8) == {"samples": 8, "exemplars": 8}
    assert derived(50_000) == {"samples": 50_000, "exemplars": MOST}
    assert task_of(50_000).classes == MOST
    assert task_of(50_000, exemplars=9000).classes == 9000
    with pytest.raises(UsageError, match="samples of exemplar must be the 50 of the data, got 9"):
        Exemplar.derive(Facts(50, 10, 3, 32, 64, chosen={"samples": 9}))


def test_pictures_are_turned_and_not_mirrored_unless_it_is_left_out() -> None:
    recipe = task_of().augmentation
    assert (recipe.degrees, recipe.flip, recipe.scale) == (20.0, 0.0, (0.25, 1.0))

    plain = task_of(without="crop,turn,jitter")
    images = torch.rand(3, 3, SIZE, SIZE)

    torch.testing.assert_close(plain.hide(Images.of(images))[0], images)


def test_every_epoch_changes_a_picture_in_another_way() -> None:
    task, images = task_of(), torch.rand(3, 3, SIZE, SIZE)

    first, again, later = (task.hide(Images.of(images, epoch=epoch))[0] for epoch in (0, 0, 1))

    assert first.equal(again)
    assert not first.equal(later)


def test_the_note_tells_what_the_classifier_costs() -> None:
    """The encoder multiplies 3 * 12 * 12 * 16 numbers a picture, the classifier 16 * K."""
    (note,) = task_of(samples=432, exemplars=432).notes()

    assert "432 exemplars holds 27.6 kB of weights" in note
    assert "takes 50% of the networks' arithmetic" in note


def test_the_note_counts_a_real_encoder_and_leaves_it_as_it_was() -> None:
    encoder = build("small", size=16, channels=1, arguments={"stem": 8, "widths": (8, 16)})
    task = Exemplar(encoder, encoder.dim, size=16, samples=100)
    state = {key: value.clone() for key, value in task.state_dict().items()}

    (note,) = task.notes()

    assert "100 exemplars" in note
    assert task.training
    assert all(value.equal(state[key]) for key, value in task.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"samples": None}, "samples must be at least 2, as many as the data has, got None"),
        ({"samples": 1}, "samples must be at least 2, as many as the data has, got 1"),
        ({"exemplars": 1}, "exemplars must be from 2 to the 10 pictures, got 1"),
        ({"exemplars": 11}, "exemplars must be from 2 to the 10 pictures, got 11"),
        ({"least_scale": 0.0}, r"least_scale must be above 0 and at most 1, got 0\.0"),
        ({"least_scale": math.nan}, "least_scale must be above 0 and at most 1, got nan"),
        ({"without": "noise"}, "unknown ingredient 'noise'"),
    ],
)
def test_what_is_outside_its_range_is_refused(settings: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        task_of(**settings)
