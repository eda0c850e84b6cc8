"""Instance discrimination: the loss by the paper's formula, who moves, and that it learns."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from making import features_of
from selfsight.data.pictures.batch import Images
from selfsight.draws import Draws
from selfsight.encoders import build
from selfsight.errors import UsageError
from selfsight.tasks.base import Epoch, Facts
from selfsight.tasks.instance_discrimination import Asked, InstanceDiscrimination

SIZE = 16


def task_of(samples: int = 20, seed: int = 0, **settings: Any) -> InstanceDiscrimination:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = build("small", size=SIZE, arguments={"stem": 8, "widths": (8, 16)})
        settings = {"samples": samples, "width": 8} | settings
        return InstanceDiscrimination(encoder, encoder.dim, size=SIZE, **settings)


def pictures(count: int) -> Tensor:
    """Blotches of colour: another pattern in every picture, the same on every call."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(count, 3, 3, 3, generator=generator)
    return nn.functional.interpolate(coarse, size=SIZE, mode="bilinear")


def batch_of(index: Tensor, images: Tensor, epoch: int = 0) -> Images:
    return Images.of(images[index])._replace(index=index, draws=Draws(0, epoch, index))


def test_the_loss_is_the_softmax_over_the_bank() -> None:
    task = task_of(samples=6, temperature=0.5)
    views, asked = task.hide(batch_of(torch.tensor([4, 1]), pictures(6)))
    embedded = task.predict(views)

    loss = task.score(embedded, asked).loss.item()

    costs: list[float] = []
    for vector, place in zip(embedded.tolist(), (4, 1), strict=True):
        weights = [
            math.exp(sum(m * v for m, v in zip(entry, vector, strict=True)) / 0.5)
            for entry in task.bank.entries.tolist()
        ]
        costs.append(-math.log(weights[place] / sum(weights)))
    assert loss == pytest.approx(sum(costs) / 2, rel=1e-5)


def test_the_proximal_term_is_the_squared_distance_to_the_entry() -> None:
    plain, held = task_of(), task_of(proximal=3.0)
    entry, across = torch.eye(8)[0], torch.eye(8)[1]
    for task in (plain, held):
        task.bank.entries[0] = entry
    asked = Asked(torch.tensor([0]), None)

    apart = [t.score(across[None], asked).loss.item() for t in (plain, held)]
    near = [t.score(entry[None], asked).loss.item() for t in (plain, held)]

    assert apart[1] - apart[0] == pytest.approx(3 * 2)  # a right angle: 1 + 1
    assert near[1] == pytest.approx(near[0])


def test_pictures_at_their_own_entries_are_all_found() -> None:
    task = task_of()
    index = torch.tensor([3, 17, 8])

    score = task.score(task.bank.entries[index], Asked(index, None))

    assert score.metrics["accuracy"].item() == 1


def test_a_blind_guess_costs_the_log_of_the_pictures() -> None:
    assert task_of(samples=20).blind == pytest.approx(math.log(20))
    assert task_of(samples=20).chance == 1 / 20
    noise = task_of(samples=20, objective="nce", negatives=5)
    assert noise.blind == pytest.approx(math.log(6) + 5 * math.log(1.2))


def test_scoring_changes_nothing_and_a_step_the_entries_of_its_pictures() -> None:
    task = task_of(objective="nce", negatives=7)
    batch = batch_of(torch.tensor([4, 1, 19]), pictures(20))
    state = copy.deepcopy(task.bank.state_dict())
    first = task(batch).loss

    assert task(batch).loss.equal(first)
    assert task.bank.entries.equal(state["entries"])
    told = task.after_step(0, 10)

    still = (task.bank.entries == state["entries"]).all(dim=1)
    assert [place for place in range(20) if not still[place]] == [1, 4, 19]
    assert list(told) == ["target_cosine"]
    assert -1 <= told["target_cosine"].item() <= 1
    assert task.after_step(1, 10) == {}  # no step, nothing to follow


def test_the_bank_begins_with_what_the_network_makes_of_the_pictures() -> None:
    task, images = task_of(), pictures(20)
    whole = batch_of(torch.arange(20), images)
    task.look_at(whole)

    assert task.before_epoch(Epoch(0, 0, features_of(images))) == []

    task.eval()
    torch.testing.assert_close(task.bank.entries, task.embed(images))
    mean = task.bank.entries.mean(dim=0).norm()
    assert mean < 0.99  # without the calibration, entries would be nearly one
    before = task.bank.entries.clone()
    task.before_epoch(Epoch(1, 0, features_of(1 - images)))
    assert task.bank.entries.equal(before)


def test_an_unfilled_bank_stays_random() -> None:
    task = task_of(filled=False)
    before = copy.deepcopy(task.state_dict())

    task.look_at(batch_of(torch.arange(20), pictures(20)))
    task.before_epoch(Epoch(0, 0, features_of(pictures(20))))

    assert all(value.equal(before[key]) for key, value in task.state_dict().items())


@pytest.mark.parametrize("samples", [2, 8, 300])
def test_few_pictures_do(samples: int) -> None:
    facts = Facts(samples=samples, classes=0, channels=3, side=SIZE, batch=min(samples, 8))
    task = task_of(**InstanceDiscrimination.derive(facts))

    task(batch_of(torch.arange(facts.batch), pictures(8))).loss.backward()

    assert task.after_step(0, 1)["target_cosine"].isfinite()
    assert task.blind == pytest.approx(math.log(samples))


def test_negatives_follow_the_number_of_pictures() -> None:
    def derived(count: int, **chosen: Any) -> dict[str, Any]:
        return InstanceDiscrimination.derive(Facts(count, 10, 3, 32, 64, chosen=chosen))

    assert derived(300) == {"samples": 300, "negatives": 299}
    assert derived(50_000) == {"samples": 50_000, "negatives": 4096}
    with pytest.raises(UsageError, match="samples of instance-discrimination must be the 300"):
        derived(300, samples=100)


def test_ingredients_are_left_out_by_name() -> None:
    recipe = task_of(without="crop, jitter,grey").augmentation

    assert recipe.scale == (1.0, 1.0)
    assert (recipe.colors.share, recipe.colors.grey, recipe.flip) == (0.0, 0.0, 0.5)
    with pytest.raises(UsageError, match="unknown ingredient 'noise'"):
        task_of(without="noise")


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"samples": None}, "samples must be at least 2, as many as the data has, got None"),
        ({"proximal": -1.0}, r"proximal must be at least 0 and finite, got -1\.0"),
        ({"proximal": math.inf}, "proximal must be at least 0 and finite, got inf"),
        ({"proximal": math.nan}, "proximal must be at least 0 and finite, got nan"),
        ({"least_scale": 0.0}, r"least_scale must be above 0 and at most 1, got 0\.0"),
        ({"momentum": 1.0}, "momentum must be from 0 to below 1"),
        ({"temperature": -0.1}, "temperature must be above 0"),
        ({"negatives": 20}, "negatives must be from 1 to the 19 other samples, got 20"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"head": "deep"}, "head must be none, linear or mlp, got 'deep'"),
    ],
)
def test_what_is_outside_its_range_is_refused(settings: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        task_of(**settings)


def test_without_a_head_the_bank_is_as_wide_as_the_features() -> None:
    task = task_of(head="none")

    assert task.bank.entries.shape == (20, task.encoder.dim)
    assert task.notes() == (task.bank.note(),)


def test_two_views_of_a_picture_differ_and_are_drawn_again_alike() -> None:
    task, batch = task_of(), batch_of(torch.arange(4), pictures(4))

    first, second = task.views(batch)

    assert first.shape == second.shape == (4, 3, SIZE, SIZE)
    assert not first.equal(second)
    assert first.equal(task.hide(batch)[0])
    assert task.embed(first).norm(dim=1).tolist() == pytest.approx([1.0] * 4)


def accuracy_after(epochs: int, *, mixed: bool) -> float:
    """Train on 64 pictures: -> the share that is found in the last epochs."""
    task, images = task_of(samples=64, without="jitter,grey"), pictures(64)
    task.look_at(batch_of(torch.arange(64), images))
    task.before_epoch(Epoch(0, 0, features_of(images)))
    optimizer = torch.optim.Adam(task.parameters(), lr=3e-3)
    found: list[float] = []
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(epoch)
        for rows in torch.randperm(64, generator=generator).split(32):
            batch = batch_of(rows, images, epoch)
            if mixed:  # pictures come under other names in every epoch
                names = torch.randperm(64, generator=generator)[:32]
                batch = batch._replace(index=names)
            score = task(batch)
            optimizer.zero_grad()
            score.loss.backward()
            optimizer.step()
            task.after_step(0, 1)
            found.append(score.metrics["accuracy"].item())
    return sum(found[-10:]) / 10


@pytest.mark.slow
def test_pictures_are_told_apart_by_what_they_show() -> None:
    assert accuracy_after(40, mixed=False) > 0.3


@pytest.mark.slow
def test_pictures_under_changing_names_stay_at_chance() -> None:
    assert accuracy_after(20, mixed=True) == pytest.approx(1 / 64, abs=0.03)
