"""DeepCluster: weights and a clustering by hand, the loss in float64, a head that begins anew."""

import io
import math
from typing import Any, cast

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from pair import Pair
from selfsight.data.pictures.batch import Images
from selfsight.encoders import Encoder, Feed, build
from selfsight.tasks.base import Epoch, Facts
from selfsight.tasks.deepcluster import DeepCluster, cluster_weights


class Glance(nn.Module):
    """Features by hand: the mean of each channel, and a weight to learn."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, pictures: Tensor) -> Tensor:
        """Average each channel: (B, 3, S, S) -> (B, 3)."""
        return pictures.mean(dim=(2, 3)) * self.weight


def deepcluster(samples: int = 12, clusters: int = 3, **settings: Any) -> DeepCluster:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DeepCluster(Glance(), 3, size=8, samples=samples, clusters=clusters, **settings)


def groups(samples: int = 12, kinds: int = 3) -> Tensor:
    """Draw features (N, 3) about one point for each kind; picture i is of kind i mod kinds."""
    generator = torch.Generator().manual_seed(0)
    places = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.2]])[:kinds]
    near = 0.01 * torch.randn(samples, 3, generator=generator)
    return places[torch.arange(samples) % kinds] + near


def epoch_of(features: Tensor, number: int = 0, *, seed: int = 0) -> Epoch:
    return Epoch(number, seed, lambda _: features)


def pictures(count: int = 4, side: int = 10) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_weights_by_hand_have_mean_1_over_the_pictures() -> None:
    sizes = torch.tensor([6, 2, 0, 4])  # 12 pictures in 3 clusters: 4 each would weigh 1

    weights = cluster_weights(sizes)

    assert weights[[0, 1, 3]].tolist() == pytest.approx([4 / 6, 4 / 2, 4 / 4])
    assert (weights * sizes).sum().item() == pytest.approx(12)


def test_a_cluster_of_one_picture_counts_as_a_quarter_of_the_mean() -> None:
    sizes = torch.tensor([100, 99, 1])  # the mean is 66.7, a quarter of it 16.7

    weights = cluster_weights(sizes)

    assert (weights[2] / weights[0]).item() == pytest.approx(100 / (200 / 12))
    assert (weights * sizes).sum().item() == pytest.approx(200)


def test_blind_guess_costs_log_k_where_clusters_count_alike() -> None:
    task = deepcluster()
    assert task.blind == pytest.approx(math.log(3))
    assert task.chance == pytest.approx(1 / 3)

    task.assignments.copy_(torch.tensor([0] * 6 + [1] * 4 + [2] * 2))
    task.weights.copy_(cluster_weights(torch.tensor([6, 4, 2])))
    assert task.blind == pytest.approx(math.log(3))  # the largest is as heavy as the smallest
    assert task.chance == pytest.approx(6 / 12)  # every picture counts alike for the accuracy


def test_blind_guess_costs_the_entropy_of_shares_where_clusters_count_by_size() -> None:
    task = deepcluster(balanced=False)
    task.assignments.copy_(torch.tensor([0] * 9 + [1] * 2 + [2]))

    shares = [9 / 12, 2 / 12, 1 / 12]
    assert task.blind == pytest.approx(-sum(share * math.log(share) for share in shares))
    assert task.chance == pytest.approx(9 / 12)


def test_weights_scale_each_cost() -> None:
    task = deepcluster()
    task.weights.copy_(torch.tensor([0.5, 1.0, 2.0]))
    logits = torch.zeros(3, 3)

    assert task.score(logits, torch.tensor([1, 1, 1])).loss.item() == pytest.approx(math.log(3))
    mixed = task.score(logits, torch.tensor([0, 2, 2])).loss.item()
    assert mixed == pytest.approx(math.log(3) * (0.5 + 2 + 2) / 3)


def test_accuracy_is_the_share_of_clusters_found() -> None:
    logits = torch.eye(3)[[0, 1, 2, 0]]

    assert deepcluster().score(logits, torch.tensor([0, 1, 2, 2])).metrics["accuracy"] == 0.75


def test_pictures_of_a_kind_are_sorted_together_and_learned_by_their_place() -> None:
    task = deepcluster()

    task.before_epoch(epoch_of(groups()))

    found = task.assignments.view(4, 3)
    assert torch.equal(found, found[:1].expand(4, 3))
    assert found[0].unique().numel() == 3
    batch = Images.of(pictures(2))._replace(index=torch.tensor([7, 2]))
    assert task.hide(batch)[1].tolist() == [found[0, 1].item(), found[0, 2].item()]


def test_a_new_head_comes_from_the_runs_seed_and_epoch_alone() -> None:
    first, second, other = deepcluster(), deepcluster(), deepcluster()
    state = torch.get_rng_state()

    forgotten = first.before_epoch(epoch_of(groups(), 2, seed=5))

    assert torch.equal(torch.get_rng_state(), state)
    assert {id(p) for p in forgotten} == {id(p) for p in first.head.parameters()}
    assert not first.head.bias.any()
    second.before_epoch(epoch_of(groups(), 2, seed=5))
    other.before_epoch(epoch_of(groups(), 3, seed=5))
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_a_run_does_not_repeat_the_draws_of_another_runs_epoch() -> None:
    alike = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))  # no groups to find
    one, other = deepcluster(60, 8), deepcluster(60, 8)

    one.before_epoch(epoch_of(alike, 1, seed=0))
    other.before_epoch(epoch_of(alike, 0, seed=1))

    assert not torch.equal(one.assignments, other.assignments)


def test_weights_of_a_new_head_have_deviation_a_hundredth() -> None:
    task = DeepCluster(nn.Flatten(), 300, size=10, samples=400, clusters=100)

    task.before_epoch(epoch_of(torch.randn(400, 3, generator=torch.Generator().manual_seed(0))))

    assert task.head.weight.std().item() == pytest.approx(0.01, rel=0.03)
    assert task.head.weight.mean().abs() < 3e-4


def test_clusters_stay_for_as_many_epochs_as_were_asked() -> None:
    task = deepcluster(every=3)
    task.before_epoch(epoch_of(groups(), 0))
    before = {key: value.clone() for key, value in task.state_dict().items()}

    assert task.before_epoch(epoch_of(groups().flip(0), 1)) == []
    assert task.before_epoch(epoch_of(groups().flip(0), 2)) == []

    assert all(torch.equal(value, before[key]) for key, value in task.state_dict().items())
    assert task.before_epoch(epoch_of(groups().flip(0), 3)) != []
    assert task.epochs_between == 3


def test_news_of_a_clustering_are_told_once_and_agreement_from_the_second_on() -> None:
    task = deepcluster()

    task.before_epoch(epoch_of(groups(), 0))
    first = task.after_step(0, 900)
    task.before_epoch(epoch_of(groups(), 1))
    second = task.after_step(400, 900)

    assert {key: value.item() for key, value in first.items()} == pytest.approx({"largest": 1 / 3})
    assert second["nmi"].item() == pytest.approx(1)
    assert task.after_step(401, 900) == {}


@pytest.mark.parametrize("clusterings", [0, 1, 2])
def test_news_that_wait_for_the_turn_of_the_task_are_told_by_a_resumed_run(
    clusterings: int,
) -> None:
    task, other = deepcluster(), deepcluster()
    for number in range(clusterings):
        task.before_epoch(epoch_of(groups(), number))
    other.load_state_dict(task.state_dict())

    assert other.after_step(0, 9) == task.after_step(0, 9)


def test_a_state_without_news_is_one_whose_news_are_told() -> None:
    task, other = deepcluster(), deepcluster()
    task.before_epoch(epoch_of(groups(), 0))
    state = task.state_dict()
    del state["_extra_state"]
    other.load_state_dict(state)

    assert other.after_step(0, 9) == {}


def test_a_run_that_is_taken_up_again_goes_on_with_its_clusters() -> None:
    task, other = deepcluster(), deepcluster()
    task.before_epoch(epoch_of(groups(), 0))
    task.after_step(0, 900)

    file = io.BytesIO()
    torch.save(task.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)

    for one in (task, other):
        one.before_epoch(epoch_of(groups().roll(1, dims=0), 1))
    assert torch.equal(task.assignments, other.assignments)
    assert "nmi" in other.after_step(1, 900)


@pytest.mark.parametrize(("last", "steps", "again"), [
    (98, 200, True),  # 101 steps are left
    (100, 200, False),  # 99 are
    (1799, 2000, True),
    (1850, 2000, False),  # less than a tenth of them all
])  # fmt: skip
def test_near_the_end_clusters_stay(last: int, steps: int, again: bool) -> None:
    task = deepcluster()
    task.before_epoch(epoch_of(groups(), 0))
    task.after_step(last, steps)
    resumed = deepcluster()
    resumed.load_state_dict(task.state_dict())

    for one in (task, resumed):
        assert (one.before_epoch(epoch_of(groups().flip(0), 1)) != []) == again


def test_the_shortest_run_is_clustered_once() -> None:
    task = deepcluster()
    task.after_step(0, 2)  # as when a step is measured

    assert task.before_epoch(epoch_of(groups(), 0)) != []


def test_without_balance_all_pictures_weigh_the_same() -> None:
    features = groups()[[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 2]]  # clusters of 9, 1 and 2
    balanced, plain = deepcluster(), deepcluster(balanced=False)

    for task in (balanced, plain):
        task.before_epoch(epoch_of(features))

    assert plain.weights.tolist() == [1, 1, 1]
    expected = cluster_weights(balanced.assignments.bincount(minlength=3))
    assert torch.allclose(balanced.weights, expected)
    assert balanced.weights.max() > 2 * balanced.weights.min()


def test_before_the_first_clustering_pictures_are_dealt_out() -> None:
    task = deepcluster(samples=8, clusters=3)

    assert task.assignments.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert task(Images.of(pictures())).loss.item() == pytest.approx(math.log(3), abs=0.1)


def test_the_head_sorts_pictures_it_has_never_seen() -> None:
    task = deepcluster()
    with torch.no_grad():
        task.head.weight.copy_(torch.eye(3))
    primary = torch.eye(3)[[2, 0, 1, 1]][:, :, None, None].expand(4, 3, 8, 8)

    assert task.clusters_of(primary).tolist() == [2, 0, 1, 1]


def test_fed_gradients_the_encoder_says_so_and_colour_does_not_matter() -> None:
    encoder = build("small", size=16, arguments={"stem": 8, "widths": (8, 8)})
    task = DeepCluster(encoder, encoder.dim, size=16, samples=8, clusters=2, sobel=True).eval()

    assert cast(Encoder, task.encoder).recipe.feed == Feed("sobel")
    images = pictures(side=16)
    brighter = 0.5 * images + 0.5 * images.mean(dim=1, keepdim=True) + 0.1
    assert torch.allclose(task.predict(images), task.predict(brighter), atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": None}, "samples must be at least 2, as many as the data has, got None"),
        ({"clusters": 13}, "clusters must be from 2 to the 12 pictures, got 13"),
        ({"clusters": 1}, "clusters must be from 2 to the 12 pictures, got 1"),
        ({"every": 0}, "every must be at least 1 epoch, got 0"),
        ({"least_scale": math.nan}, "least_scale must be above 0 and at most 1, got nan"),
        ({"strength": -1.0}, "strength must be from 0 to 1, got -1.0"),
    ],
)
def test_settings_outside_their_ranges_are_refused(settings: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"samples": 12, "clusters": 3} | settings
    with pytest.raises(ValueError, match=message):
        deepcluster(**given)


@pytest.mark.parametrize(
    ("samples", "batch", "clusters", "every"),
    [(8, 8, 2, 100), (300, 64, 10, 25), (50_000, 64, 391, 1), (1_281_167, 256, 10_009, 1)],
)
def test_clusters_and_epochs_follow_the_data(
    samples: int, batch: int, clusters: int, every: int
) -> None:
    found = DeepCluster.derive(Facts(samples, 0, 3, 32, batch))

    assert found == {"samples": samples, "clusters": clusters, "every": every}


@pytest.mark.parametrize("samples", [2, 3, 8])
def test_a_handful_of_pictures_do(samples: int) -> None:
    found = DeepCluster.derive(Facts(samples, 0, 3, 8, samples))
    task = DeepCluster(Glance(), 3, size=8, **found)

    task.before_epoch(epoch_of(groups(samples)))
    task(Images.of(pictures(samples))).loss.backward()

    assert task.assignments.max() < found["clusters"]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.parameters())


def test_features_that_are_all_alike_do_not_break_it() -> None:
    task = deepcluster()

    task.before_epoch(epoch_of(torch.full((12, 3), 0.5)))

    assert task.after_step(0, 9)["largest"] == 1
    assert task(Images.of(pictures())).loss.isfinite()


def test_the_plan_tells_what_a_clustering_costs() -> None:
    assert deepcluster(samples=50_000, clusters=391).notes() == (
        "every epoch all 50,000 pictures are encoded and sorted into 391 clusters in 2 directions; "
        "their features take 1.0 MB",
    )
    assert deepcluster(every=4).notes()[0].startswith("every 4 epochs all 12 pictures")


def test_loss_is_the_weighted_cross_entropy_of_the_definition() -> None:
    task = deepcluster().double()
    task.before_epoch(epoch_of(groups()[[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 2]]))
    crops, clusters = task.hide(Images.of(pictures(12)))
    with torch.no_grad():
        task.head.weight.normal_(generator=torch.Generator().manual_seed(1))
    crops = crops.double()

    found = task.score(task.predict(crops), clusters).loss

    sizes = [int((task.assignments == k).sum()) for k in range(3)]
    total = 0.0
    for features, cluster in zip(task.encoder(crops).tolist(), clusters.tolist(), strict=True):
        logits = [
            sum(w * x for w, x in zip(row, features, strict=True))
            for row in task.head.weight.tolist()
        ]
        cost = math.log(sum(math.exp(z) for z in logits)) - logits[cluster]
        total += 12 / (3 * sizes[cluster]) * cost
    assert sorted(sizes) == [1, 2, 9]  # a quarter of the mean size is 1: nobody is held back
    assert found.item() == pytest.approx(total / 12, rel=1e-5)  # float32 logits


def clustered_in() -> tuple[Tensor, Tensor]:
    """Cluster features that differ between the processes, as rounding might make them."""
    task = deepcluster(samples=60, clusters=7)
    rank = dist.get_rank()
    features = torch.randn(60, 3, generator=torch.Generator().manual_seed(rank))
    task.before_epoch(epoch_of(features))
    return task.assignments, task.head.weight.detach()


def test_processes_agree_on_clusters_and_head_even_if_they_compute_otherwise(two: Pair) -> None:
    (clusters, head), (others, other_head) = two.ask(clustered_in)

    assert torch.equal(clusters, others)
    assert torch.equal(head, other_head)
