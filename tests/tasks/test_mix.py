"""Together: tasks share one network, take their turns or add up, and keep what is theirs."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from selfsight.data.pictures.batch import Images, LabelledImages
from selfsight.encoders import Encoder, Feed, build
from selfsight.tasks.base import Task
from selfsight.tasks.mix import Together, turns
from selfsight.tasks.moco import MoCo
from selfsight.tasks.rotation import Rotation
from selfsight.tasks.supervised import Supervised
from selfsight.training.loop import encoders_of
from selfsight.training.optimizer import parameter_groups


def encoder() -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("small", size=16, arguments={"stem": 8, "widths": (8, 16)})


def together(**options: Any) -> Together:
    shared = encoder()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        tasks = {
            "rotation": Rotation(shared, shared.dim, size=16),
            "supervised": Supervised(shared, shared.dim, size=16, classes=4),
        }
    return Together(tasks, **options)


def batch() -> LabelledImages:
    pixels = torch.randint(0, 256, (8, 3, 18, 18), generator=torch.Generator().manual_seed(0))
    return LabelledImages.of(pixels.to(torch.uint8), torch.arange(8) % 4)


def gradients(task: torch.nn.Module) -> dict[str, Tensor]:
    return {k: p.grad.clone() for k, p in task.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("weights", [[1, 1], [2, 1], [3, 1], [1, 1, 1], [5, 2, 3]])
def test_everyone_has_as_many_turns_as_its_weight_and_they_are_spread(weights: list[int]) -> None:
    cycle = turns(weights)

    assert [cycle.count(i) for i in range(len(weights))] == weights
    for length in range(1, len(cycle) + 1):  # at no time is anyone a whole turn ahead of its share
        shares = [length * weight / sum(weights) for weight in weights]
        counts = [cycle[:length].count(i) for i in range(len(weights))]
        assert all(abs(c - s) < 1 for c, s in zip(counts, shares, strict=True))


def test_a_common_factor_of_the_weights_makes_no_longer_cycle() -> None:
    assert turns([4, 2]) == turns([2, 1])


def test_tasks_take_turns_and_the_others_heads_rest() -> None:
    task = together(weights="2,1")
    heads: list[set[str]] = []
    for step in range(6):
        task.before_step(step, 6)
        task.zero_grad()
        score = task(batch())
        score.loss.backward()
        heads.append({k.split(".")[1] for k in gradients(task) if "head" in k})
        (name,) = heads[-1]
        assert set(score.metrics) == {f"{name}.loss", f"{name}.accuracy"}

    assert heads == [{"rotation"}, {"supervised"}, {"rotation"}] * 2
    assert task.shares == {0: pytest.approx(2 / 3), 1: pytest.approx(1 / 3)}


def test_summed_gradients_are_the_sum_of_the_tasks_own() -> None:
    task, alone = together(mix="sum", weights="3,1"), together(mix="sum")
    task(batch()).loss.backward()
    (1.5 * alone.tasks["rotation"](batch()).loss).backward()
    (0.5 * alone.tasks["supervised"](batch()).loss).backward()

    found, expected = gradients(task), gradients(alone)
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[k], expected[k], atol=1e-5) for k in found)


def test_a_blind_guess_costs_the_mean_of_the_turns_or_the_sum() -> None:
    assert together(weights="3,1").blind == pytest.approx(math.log(4))
    assert together(mix="sum", weights="3,1").blind == pytest.approx(2 * math.log(4))


def test_harmonised_tasks_are_fed_what_hides_most() -> None:
    shared = encoder()
    tasks: dict[str, Task] = {
        "one": Rotation(shared.fed(Feed("lightness")), shared.dim, size=16),
        "two": Rotation(shared.fed(Feed("all", "channel")), shared.dim, size=16),
    }
    own = Together(tasks)
    apart = {name: e.recipe.feed for name, e in own.encoders().items()}
    assert own.encoders()["one"].model is not own.encoders()["two"].model
    assert own.statistics == "separate"

    joint = Together(tasks, harmonised=True, statistics="shared").encoders()

    assert apart == {"one": Feed("lightness"), "two": Feed("all", "channel")}
    assert {e.recipe.feed for e in joint.values()} == {Feed("lightness", "channel")}


def test_tasks_that_are_fed_alike_share_statistics() -> None:
    task = together()
    first, second = task.encoders().values()

    assert task.statistics == "shared"
    assert first.model is second.model


def test_separate_statistics_are_each_tasks_own_and_the_weights_are_not() -> None:
    task = together(statistics="separate")
    first, second = task.encoders().values()
    before = {k: v.clone() for k, v in second.body.named_buffers()}

    task.before_step(0, 2)
    task(batch())

    assert all(torch.equal(v, before[k]) for k, v in second.body.named_buffers())
    assert all(p is q for p, q in zip(first.parameters(), second.parameters(), strict=True))
    names = [name for name, _ in task.named_parameters()]
    assert len(names) == len(set(names)) == len(list(encoder().parameters())) + 4


@pytest.mark.parametrize("statistics", ["shared", "separate"])
def test_an_encoder_that_a_task_has_besides_is_saved_under_both_names(statistics: Any) -> None:
    shared = encoder()
    moco = MoCo(shared, shared.dim, size=16, queue=8)
    rotation = Rotation(shared, shared.dim, size=16)

    saved = encoders_of(Together({"rotation": rotation, "moco": moco}, statistics=statistics))

    own = ["encoder-moco"] if statistics == "separate" else []
    assert list(saved) == ["encoder", *own, "encoder-moco-key"]
    assert saved["encoder"] is rotation.encoder
    assert saved["encoder-moco-key"] is moco.key.encoder
    assert list(encoders_of(moco)) == ["encoder", "encoder-key"]


def test_notes_say_whose_they_are() -> None:
    shared = encoder()
    moco = MoCo(shared, shared.dim, size=16, queue=8)
    task = Together({"rotation": Rotation(shared, shared.dim, size=16), "moco": moco})

    assert task.notes() == ("moco: the queue holds 8 keys, 0.0 MB",)


@pytest.mark.parametrize("weights", ["1", "1,0", "1,2,3", "1.5,1", "a,b", ""])
def test_weights_that_do_not_fit_are_refused(weights: str) -> None:
    with pytest.raises(
        ValueError, match=r"mix\.weights must hold a whole number from 1 on for each"
    ):
        together(weights=weights)


def test_every_task_is_told_of_the_data_and_the_step() -> None:
    class Curious(Rotation):
        seen, told = 0, (0, 0)

        def look_at(self, batch: Images) -> None:
            self.seen = len(batch.images)
            self.blind = 1.0

        def before_step(self, step: int, steps: int) -> None:
            self.told = (step, steps)

    shared = encoder()
    curious = Curious(shared, shared.dim, size=16)
    task = Together({"curious": curious, "rotation": Rotation(shared, shared.dim, size=16)})
    task.look_at(batch())
    task.before_step(3, 9)

    assert (curious.seen, curious.told) == (8, (3, 9))
    assert task.blind == pytest.approx((1 + math.log(4)) / 2)


@pytest.mark.parametrize("weights", ["1,1", "1,2"])
def test_turns_train_as_if_every_head_had_an_optimiser_of_its_own(weights: str) -> None:
    """Momentum of a head at rest waits."""
    task, other = together(weights=weights), together(weights=weights)
    joint = torch.optim.SGD(
        parameter_groups(task, 1e-3), lr=0.05, momentum=0.9, nesterov=True, foreach=True
    )
    owned = [set(map(id, t.head.parameters())) for t in other.tasks.values()]  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue] -- these tasks have heads
    rest = [p for p in other.parameters() if not any(id(p) in ids for ids in owned)]
    groups = [rest, *(list(t.head.parameters()) for t in other.tasks.values())]  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue] -- as above
    apart = [
        torch.optim.SGD(
            [{"params": [p], "weight_decay": 1e-3 if p.ndim > 1 else 0.0} for p in group],
            lr=0.05, momentum=0.9, nesterov=True,
        )
        for group in groups
    ]  # fmt: skip
    for step in range(7):
        for one, optimizers in ((task, [joint]), (other, apart)):
            one.before_step(step, 7)
            one(batch()).loss.backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()

    pairs = zip(task.parameters(), other.parameters(), strict=True)
    assert all(torch.allclose(p, q, atol=1e-5) for p, q in pairs)
