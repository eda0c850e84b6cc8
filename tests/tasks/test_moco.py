"""MoCo: the loss by hand and by plain loops, who is shuffled where, what a step changes."""

import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from noise import noise_batch, smooth_batch, told_apart
from pair import Pair
from selfsight.augment.color import ColorJitter
from selfsight.data.pictures.batch import Images
from selfsight.distributed.gather import own_rows, processes, summed
from selfsight.draws import Draws
from selfsight.encoders import build
from selfsight.errors import UsageError
from selfsight.layers.heads import of_length_1
from selfsight.tasks.base import Facts
from selfsight.tasks.moco import MoCo, Shuffled
from selfsight.tasks.moco_v2 import MoCoV2

SIZE = 8


def moco(of: type[MoCo] = MoCo, **settings: Any) -> MoCo:
    torch.manual_seed(0)
    encoder = build("small", size=SIZE, channels=3, arguments={"stem": 8, "widths": (8, 16)})
    chosen: dict[str, Any] = {"queue": 16} | settings
    return of(encoder, encoder.dim, size=SIZE, **chosen)


def in_order(pictures: int) -> Shuffled:
    return Shuffled(torch.arange(pictures), torch.arange(pictures))


def step(
    task: MoCo, optimizer: torch.optim.Optimizer, number: int, batch: Images
) -> dict[str, Tensor]:
    task.before_step(number, 100)
    score = task(batch)
    optimizer.zero_grad()
    score.loss.backward()
    optimizer.step()
    return task.after_step(number, 100)


def sgd(task: MoCo, rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in task.parameters() if p.requires_grad], lr=rate)


def queued(task: MoCo, keys: list[list[float]], owners: list[int]) -> None:
    task.queue.push(torch.tensor(keys), torch.tensor(owners))


def test_two_queries_by_hand() -> None:
    task = moco(queue=2, width=2, temperature=0.5)
    queued(task, [[0.0, 1.0], [0.6, 0.8]], [7, 8])
    queries, keys = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.8, 0.6], [0.6, 0.8]])

    score = task.score((queries, keys), in_order(2))

    # Cosines over 0.5; its key, then the queue: 1.6 | 0, 1.2 and 1.6 | 2, 1.6.
    first = math.log(math.exp(1.6) + math.exp(0) + math.exp(1.2)) - 1.6
    second = math.log(math.exp(1.6) + math.exp(2) + math.exp(1.6)) - 1.6
    assert score.loss.item() == pytest.approx((first + second) / 2)
    assert score.metrics["accuracy"].item() == 0.5


def test_a_blind_guess_costs_the_log_of_the_queue_and_one() -> None:
    task = moco(queue=6, width=2)
    queued(task, [[1.0, 0.0]] * 6, [9] * 6)
    alike = torch.tensor([[1.0, 0.0]] * 4)

    assert task.score((alike, alike), in_order(4)).loss.item() == pytest.approx(math.log(7))
    assert task.blind == pytest.approx(math.log(7))
    assert task.chance == pytest.approx(1 / 7)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_loss_is_that_of_the_definition(symmetric: bool) -> None:
    task = moco(queue=5, width=4, temperature=0.2, symmetric=symmetric).double()
    views = 2 if symmetric else 1
    task.queue.owners.copy_(torch.tensor([30, 11, 31, 12, 11]))
    index, order = torch.tensor([10, 11, 12]), torch.tensor([2, 0, 1])
    queries, keys = (of_length_1(torch.randn(3 * views, 4)).double() for _ in range(2))

    found = task.score((queries, keys), Shuffled(index, order)).loss.item()

    costs: list[float] = []
    queue, owners = task.queue.keys.tolist(), task.queue.owners.tolist()
    for row, query in enumerate(queries.tolist()):
        way, picture = divmod(row, 3)
        key = keys[3 * way + order.tolist().index(picture)].tolist()
        others = [k for k, owner in zip(queue, owners, strict=True) if owner != index[picture]]
        exponents = [
            sum(a * b for a, b in zip(query, k, strict=True)) / 0.2 for k in [key, *others]
        ]
        costs.append(-math.log(math.exp(exponents[0]) / sum(map(math.exp, exponents))))
    assert found == pytest.approx(sum(costs) / len(costs), rel=1e-6)


def test_a_queue_of_only_its_own_keys_costs_nothing_and_breaks_nothing() -> None:
    task = moco(queue=1, width=2)
    queued(task, [[1.0, 0.0]], [0])
    queries = torch.tensor([[0.0, 1.0]], requires_grad=True)

    loss = task.score((queries, torch.tensor([[1.0, 0.0]])), in_order(1)).loss
    loss.backward()

    assert loss.item() == 0
    assert queries.grad is not None
    assert queries.grad.abs().max() == 0


def test_keys_are_shuffled_over_the_groups_and_found_again() -> None:
    task, batch = moco(groups=2), noise_batch(0, 8, size=SIZE)

    views, shuffled = task.hide(batch)

    _, second = task.views(batch)
    assert shuffled.order.tolist() == batch.draws.order("moco/shuffle").tolist()
    assert shuffled.order.tolist() != list(range(8))
    assert torch.equal(views[8:], second[shuffled.order])

    task.eval()  # in evaluation the batch does not matter
    keys = task.predict(views)[1]
    task.score((keys, keys), shuffled)
    pushed, owners = cast(tuple[Tensor, Tensor], task._pushed)  # pyright: ignore[reportPrivateUsage]
    assert torch.allclose(pushed, task.key(second), atol=1e-5)
    assert owners.tolist() == list(range(8))


def test_one_group_is_not_shuffled() -> None:
    assert moco(groups=1).hide(noise_batch(0, 8, size=SIZE))[1].order.tolist() == list(range(8))


def test_a_network_without_batch_statistics_needs_no_groups() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 16))
    task = MoCo(encoder, 16, size=SIZE, queue=8, groups=4)

    assert task.groups == 1
    assert not any("statistics" in note for note in task.notes())


def test_a_query_is_normalised_among_its_group() -> None:
    task, batch = moco(groups=2), noise_batch(0, 8, size=SIZE)
    views, _ = task.hide(batch)

    queries = task.predict(views)[0]

    alone = of_length_1(task.head(task.encoder(views[:4])))
    assert torch.allclose(queries[:4], alone, atol=1e-5)


def test_a_symmetric_step_asks_both_ways() -> None:
    task, batch = moco(symmetric=True, groups=2), noise_batch(0, 4, size=SIZE)

    views, shuffled = task.hide(batch)

    first, second = task.views(batch)
    assert torch.equal(views[:8], torch.cat([first, second]))
    assert torch.equal(views[8:], torch.cat([second[shuffled.order], first[shuffled.order]]))


def test_a_step_moves_the_keys_encoder_a_little_and_queues_its_keys() -> None:
    task, batch = moco(momentum=0.9), noise_batch(100, 8, size=SIZE)
    before = [p.clone() for p in task.key.parameters()]

    step(task, sgd(task, 0.1), 0, batch)

    queries = [*task.encoder.parameters(), *task.head.parameters()]
    for was, now, query in zip(before, task.key.parameters(), queries, strict=True):
        assert torch.allclose(now, 0.9 * was + 0.1 * query, atol=1e-6)
    assert task.queue.owners.tolist() == [*range(100, 108), *[-1] * 8]


def test_only_a_step_changes_the_state() -> None:
    task, batch = moco(), noise_batch(0, 8, size=SIZE)
    kept = {k: v.clone() for k, v in task.state_dict().items() if "running" not in k}

    once = task(batch).loss
    twice = task(batch).loss

    assert torch.equal(once, twice)
    now = task.state_dict()
    batches = ("num_batches_tracked",)
    assert all(torch.equal(v, now[k]) for k, v in kept.items() if not k.endswith(batches))


def test_how_far_the_target_moves_is_told_every_25_steps() -> None:
    task = moco(momentum=0.0)
    told = [step(task, sgd(task, 0.5), n, noise_batch(8 * n, 8, size=SIZE)) for n in range(26)]

    assert [number for number, metrics in enumerate(told) if metrics] == [0, 25]
    assert -1 <= told[0]["target_cosine"].item() < 0.9999


def test_more_momentum_is_a_steadier_target() -> None:
    def moved(momentum: float) -> float:
        task = moco(momentum=momentum)
        return step(task, sgd(task, 0.5), 0, noise_batch(0, 8, size=SIZE))["target_cosine"].item()

    assert moved(0.0) < moved(0.9) < moved(0.999) <= 1 + 1e-6


def test_before_the_first_step_the_queue_holds_keys_of_the_data() -> None:
    task = moco()
    task.look_at(noise_batch(0, 6, size=SIZE))

    assert task.queue.owners.tolist() == [0, 1, 2, 3, 4, 5] * 2 + [0, 1, 2, 3]
    assert torch.allclose(task.queue.keys.norm(dim=1), torch.ones(16), atol=1e-6)
    assert torch.equal(task.queue.keys[:6], task.queue.keys[6:12])


@pytest.mark.parametrize(
    ("samples", "batch", "queue", "momentum", "groups"),
    [
        (50_000, 512, 4096, 0.99, 8),  # the authors' demonstration
        (1_281_167, 256, 65_536, 1 - 1 / 1024, 4),  # about the paper's 0.999
        (50_000, 64, 4160, 1 - 1 / 260, 1),
        (300, 64, 64, 0.99, 1),
        (300, 200, 200, 0.99, 2),
        (8, 8, 8, 0.99, 1),
    ],
)
def test_queue_momentum_and_groups_follow_the_data(
    samples: int, batch: int, queue: int, momentum: float, groups: int
) -> None:
    found = MoCo.derive(Facts(samples, 0, 3, 32, batch))

    assert found["queue"] == queue
    assert found["momentum"] == pytest.approx(momentum)
    assert found["groups"] == groups


def test_the_momentum_follows_a_queue_that_was_asked_for() -> None:
    found = MoCo.derive(Facts(50_000, 0, 3, 32, 64, chosen={"queue": 64_000}))

    assert found["momentum"] == pytest.approx(1 - 1 / 4000)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"momentum": 1.0}, "momentum must be from 0 to below 1, got 1.0"),
        ({"momentum": math.nan}, "momentum must be from 0 to below 1, got nan"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"groups": 0}, "groups must be at least 1, got 0"),
        ({"queue": 0}, "queue must hold at least 1 key, got 0"),
        ({"least_scale": 0.0}, "least_scale must be above 0 and at most 1, got 0.0"),
        ({"without": "crops"}, "unknown ingredient 'crops'; did you mean crop"),
    ],
)
@pytest.mark.parametrize("of", [MoCo, MoCoV2])
def test_settings_outside_their_ranges_are_refused(
    of: type[MoCo], settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        moco(of, **settings)


def test_the_second_version_has_another_head_temperature_and_colours() -> None:
    first, second = moco(), moco(MoCoV2)

    assert (len(first.head), first.temperature) == (1, 0.1)
    assert (len(second.head), second.temperature) == (3, 0.2)
    assert first.augmentation.colors == ColorJitter(0.4, 0.4, 0.4, 0.4, share=1.0, grey=0.2)
    assert second.augmentation.colors == ColorJitter(0.4, 0.4, 0.4, 0.1, share=0.8, grey=0.2)
    assert first.augmentation.blurred_share(224) == 0
    assert second.augmentation.blurred_share(224) == 0.5


def test_both_encoders_are_offered_the_trained_one_first() -> None:
    task = moco()

    assert list(task.encoders()) == ["query", "key"]
    assert task.encoders()["query"] is task.encoder
    assert task.encoders()["key"].model is not task.encoders()["query"].model


def told_by_statistics(*, shuffled: bool) -> float:
    """Tell the mean cosine of queries and keys that differ in nothing but batch statistics."""
    task = moco(groups=2, without="crop,flip,jitter,grey")
    batch = noise_batch(0, 8, size=SIZE)
    views, order = task.hide(batch)
    if not shuffled:
        views, order = torch.cat([views[:8], views[:8]]), in_order(8)
    queries, keys = task.predict(views)
    joint = keys[order.order.argsort()]
    return (queries * joint).sum(dim=1).mean().item()


def test_unshuffled_a_query_and_its_key_share_their_statistics() -> None:
    assert told_by_statistics(shuffled=False) == pytest.approx(1, abs=1e-5)
    assert told_by_statistics(shuffled=True) < 0.9999


def test_pictures_are_told_apart_and_do_not_collapse_to_a_point() -> None:
    torch.manual_seed(0)
    encoder = build("small", size=SIZE, channels=3, arguments={"stem": 16, "widths": (16, 32)})
    task = MoCoV2(encoder, encoder.dim, size=SIZE, queue=64, momentum=0.9)
    task.look_at(smooth_batch(50_000, 64, size=SIZE))
    optimizer = torch.optim.Adam([p for p in task.parameters() if p.requires_grad], lr=3e-3)
    before = told_apart(task, smooth_batch(100_000, 64, size=SIZE))

    for number in range(30):
        step(task, optimizer, number, smooth_batch(64 * number, 64, size=SIZE))

    assert told_apart(task, smooth_batch(100_000, 64, size=SIZE)) > before + 0.05


Told = tuple[float, dict[str, Tensor], dict[str, Tensor]]


def job_of_steps(symmetric: bool) -> Told:
    """Take two steps on this process's share of 16 pictures: -> loss, gradients, state."""
    task = moco(MoCoV2, groups=4, momentum=0.5, symmetric=symmetric)
    task.look_at(noise_batch(50_000, 8, size=SIZE))
    loss = torch.zeros(())
    for number in range(2):
        whole = noise_batch(16 * number, 16, size=SIZE)
        mine = own_rows(16 // processes())
        index = whole.index[mine]
        share = Images(whole.images[mine], whole.extent[mine], index, Draws(0, 0, index))
        loss = task(share).loss
        task.zero_grad()
        loss.backward()
        for parameter in task.parameters():
            if parameter.grad is not None:
                parameter.grad = summed(parameter.grad) / processes()
                parameter.data -= 0.1 * parameter.grad
        task.after_step(number, 2)
    mean = summed(loss) / processes()
    gradients = {k: p.grad for k, p in task.named_parameters() if p.grad is not None}
    return mean.item(), gradients, task.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("symmetric", [False, True])
def test_two_processes_of_two_groups_are_one_of_four(two: Pair, symmetric: bool) -> None:
    loss, gradients, state = job_of_steps(symmetric)

    for loss_there, gradients_there, state_there in two.ask(job_of_steps, symmetric):
        assert loss_there == pytest.approx(loss, rel=1e-5)
        for name, gradient in gradients.items():
            assert torch.allclose(gradients_there[name], gradient, atol=1e-5), name
        for name, value in state.items():
            if "num_batches_tracked" not in name:
                assert torch.allclose(state_there[name], value, atol=1e-5), name


@pytest.mark.parametrize(("batch", "groups"), [(16, 9), (16, 1000), (3, 2)])
def test_groups_of_fewer_than_two_pictures_are_refused(batch: int, groups: int) -> None:
    said = f"groups must be at most {batch // 2}, .* of the batch of {batch}, got {groups}"

    with pytest.raises(UsageError, match=said):
        MoCo.derive(Facts(300, 0, 3, 32, batch, chosen={"groups": groups}))
    MoCo.derive(Facts(300, 0, 3, 32, batch, chosen={"groups": batch // 2}))


def test_one_group_is_not_worth_a_note() -> None:
    assert len(moco(groups=1).notes()) == 1
    assert "batch statistics are of 2 groups a batch" in moco(groups=2).notes()
