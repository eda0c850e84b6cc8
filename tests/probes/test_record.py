"""Record: its keys, its intervals on planted truths, and the verdict of planted networks."""

import json
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from selfsight.data.pictures.scaling import as_float
from selfsight.errors import UsageError
from selfsight.probes.features import Pixels
from selfsight.probes.intervals import Gain
from selfsight.probes.measure import Answers, measure
from selfsight.probes.record import by_class, narrowing, rarest_third, result_record
from selfsight.probes.verdict import Shape

KEYS = [
    *("probe", "metric", "unit", "chance", "labels", "test", "folds", "draws", "initialisations"),
    *("best_layer", "trained", "untrained", "gain", "gain_low", "gain_high", "won", "lost"),
    *("low", "high", "pixels", "patch_dictionary", "layers", "verdict"),
    *("reasons", "by_class", "rarest_third", "seconds", "settings", "machine"),
]
WELL = Shape(spread=0.5, rank=20.0)


class Toy(NamedTuple):
    """Stands in for `Pictures`: what probes read of them."""

    images: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]

    def seen(self, rows: Tensor, device: torch.device | str = "cpu") -> Tensor:
        return as_float(self.images[rows].to(device))


def labelled(labels: Tensor, classes: int) -> Any:
    return Toy(torch.empty(0), labels, tuple(f"class {number}" for number in range(classes)))


def answering(right: Tensor, labels: Tensor, validation: Tensor) -> Answers:
    """Answers that are right where `right` (R, L, T) says so."""
    predictions = torch.where(right, labels, (labels + 1) % 4)
    layers = tuple(f"layer {number}" for number in range(right.shape[1]))
    return Answers(layers, predictions, validation, WELL, 100, 1.5)


def planted(*accuracies: float, draws: int = 3, seed: int = 0, test: int = 400) -> Answers:
    """A network whose layers have these accuracies, chosen by the same numbers."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.tensor(accuracies, dtype=torch.float64)
    right = torch.rand(draws, len(accuracies), test, generator=generator) < truth[:, None]
    labels = torch.arange(test) % 4
    return answering(right, labels, truth.expand(draws, -1))


def record_of(trained: Answers, untrained: list[Answers], **others: Any) -> dict[str, Any]:
    pictures = labelled(torch.arange(400) % 4, 4)
    settings: dict[str, Any] = {
        "pixels": None,
        "train": pictures,
        "test": pictures,
        "probe": "linear",
        **others,
    }
    return result_record(trained, untrained, **settings)


def test_the_keys_are_those_of_the_design() -> None:
    record = record_of(planted(0.5, 0.7), [planted(0.4, 0.3, seed=1)], pixels=planted(0.35, seed=2))

    assert list(record) == KEYS
    assert list(record["layers"]["layer 0"]) == ["trained", "untrained", "low", "high"]
    assert json.loads(json.dumps(record)) == record
    assert (record["chance"], record["labels"], record["test"], record["draws"]) == (
        0.25,
        100,
        400,
        3,
    )
    assert record["seconds"] == 4.5
    assert record["verdict"] == "learning"
    assert "Raw pixels" in record["reasons"][1]


def test_the_patch_dictionary_stands_beside_the_pixels() -> None:
    dictionary = planted(0.65, seed=3)

    record = record_of(planted(0.7), [planted(0.3, seed=1)], dictionary=dictionary)

    right = (dictionary.predictions == torch.arange(400) % 4).double().mean().item()
    assert record["patch_dictionary"] == pytest.approx(right, abs=1e-4)
    assert record["pixels"] is None
    assert record["seconds"] == 4.5
    assert record["reasons"][1].startswith("A dictionary of patches, fitted without gradients,")
    assert record_of(planted(0.7), [planted(0.3, seed=1)])["patch_dictionary"] is None


def test_each_network_is_judged_by_its_own_best_layer() -> None:
    trained, first, second = planted(0.5, 0.7), planted(0.4, 0.3, seed=1), planted(0.2, 0.5, seed=2)

    record = record_of(trained, [first, second])

    y = torch.arange(400) % 4
    right = [
        (answers.predictions == y).double().mean(dim=(0, 2)) for answers in (trained, first, second)
    ]
    untrained = float(right[1][0] + right[2][1]) / 2
    assert record["best_layer"] == "layer 1"
    assert record["trained"] == pytest.approx(float(right[0][1]), abs=1e-4)
    assert record["untrained"] == pytest.approx(untrained, abs=1e-4)
    assert record["gain"] == pytest.approx(float(right[0][1]) - untrained, abs=1e-4)
    assert record["low"] < record["trained"] < record["high"]
    assert record["layers"]["layer 0"]["untrained"] == pytest.approx(
        float(right[1][0] + right[2][0]) / 2, abs=1e-4
    )


def test_the_best_layer_is_never_chosen_by_test_pictures() -> None:
    y = torch.arange(400) % 4
    right = torch.zeros(1, 2, 400, dtype=torch.bool)
    right[:, 1] = True
    trained = answering(right, y, torch.tensor([[0.9, 0.1]]).double())

    assert record_of(trained, [planted(0.3, 0.3, draws=1)])["trained"] == 0.0


def test_the_same_network_gains_nothing() -> None:
    record = record_of(planted(0.6), [planted(0.6)])

    assert (record["gain"], record["won"], record["lost"]) == (0, 0, 0)
    assert record["gain_low"] < 0 < record["gain_high"]
    assert record["verdict"] == "too close to tell"
    assert "without --quick" in record["reasons"][1]
    assert record["low"] < 0.6 < record["high"]


def test_many_pictures_and_starts_that_agree_exclude_a_gain_worth_having() -> None:
    answers = planted(0.6, test=20_000)
    y = labelled(torch.arange(20_000) % 4, 4)

    record = record_of(answers, [answers] * 8, train=y, test=y)

    assert record["verdict"] == "no better than untrained"
    assert record["gain_high"] < 0.01


def uncertain(*, pictures: float, starts: float, labels: float = 0.0) -> Gain:
    return Gain(0.0, -0.05, 0.05, pictures, starts, labels, 0.1, 0.1)


@pytest.mark.parametrize(
    ("gain", "initialisations", "folded", "said"),
    [
        (uncertain(pictures=0.036, starts=0.012), 8, False, "more test pictures would narrow it"),
        (uncertain(pictures=0.036, starts=0.012), 8, True, "more labelled pictures would"),
        (uncertain(pictures=0.012, starts=0.036), 1, False, "without --quick more untrained"),
        (uncertain(pictures=0.012, starts=0.036, labels=0.03), 8, False, "more --labels would"),
        (uncertain(pictures=0.012, starts=0.036), 8, False, "a run with another --seed"),
    ],
)
def test_the_greatest_part_of_the_variance_says_what_would_narrow(
    gain: Gain, initialisations: int, folded: bool, said: str
) -> None:
    sentence = narrowing(gain, pictures=1411, initialisations=initialisations, folded=folded)

    assert said in sentence
    assert sentence.startswith("The chance of 1,411 test pictures alone would leave ")
    assert "3.6" in sentence
    assert "1.2" in sentence


def test_pairing_narrows_the_gain() -> None:
    y = torch.arange(400) % 4
    base = torch.rand(1, 1, 400, generator=torch.Generator().manual_seed(0)) < 0.5
    better = base.clone()
    better[..., (~base[0, 0]).nonzero()[:20, 0]] = True  # 5 points, none lost
    one = torch.ones(1, 1).double()

    record = record_of(answering(better, y, one), [answering(base, y, one)] * 8)

    assert (record["gain"], record["won"], record["lost"]) == (0.05, 0.05, 0)
    assert 0.02 < record["gain_low"] < 0.05 < record["gain_high"] < 0.08
    assert record["high"] - record["low"] > 0.09


def test_pictures_that_no_fold_tested_take_no_part() -> None:
    y = torch.arange(400) % 4
    folds = torch.arange(400) % 5
    folds[:40] = -1
    right = torch.rand(1, 1, 360, generator=torch.Generator().manual_seed(0)) < 0.5
    one = torch.ones(1, 1).double()
    answers = answering(right, y[40:], one)

    record = record_of(answers, [answers], folds=folds)

    assert (record["test"], record["folds"]) == (360, 5)
    assert record["trained"] == pytest.approx(float(right.double().mean()), abs=1e-4)


def test_classes_and_the_rarest_third_by_hand() -> None:
    right = torch.tensor([[True, False, True, True], [True, True, True, False]])
    accuracies = by_class(right, torch.tensor([0, 0, 1, 3]), ("a", "b", "c", "d"))

    assert accuracies == {"a": 0.75, "b": 1.0, "c": None, "d": 0.5}
    assert rarest_third(accuracies, torch.tensor([5, 9, 1, 2])) == 0.5  # d; c was not tested
    assert rarest_third(accuracies, torch.tensor([1, 9, 1, 2])) == 0.75
    assert rarest_third({"a": None}, torch.tensor([1])) is None


def test_networks_that_were_not_probed_alike_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 1 untrained"):
        record_of(planted(0.5), [])
    with pytest.raises(UsageError, match="must have the layers"):
        record_of(planted(0.5), [planted(0.5, 0.6)])
    with pytest.raises(UsageError, match="probed by 3 draws on 400 test pictures, got 2 and 400"):
        record_of(planted(0.5), [planted(0.5, draws=2)])
    with pytest.raises(UsageError, match="label fifty"):
        record_of(planted(0.5), [planted(0.5)], test=Toy(torch.empty(0), None, ()))


class Filter(nn.Module):
    """One layer: each colour's product with a pattern, or, blind, with a constant."""

    layer_names = ("filter",)

    def __init__(self, *, seed: int, kind: str) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.randn(16, 3, 8, 8, generator=generator)
        self.kind = kind

    def layers(self, images: Tensor) -> dict[str, Tensor]:
        weight = self.weight.clone()
        if self.kind == "knows":
            weight[0] = pattern()
            weight[0] *= 30
        maps = nn.functional.conv2d(images - 0.5, weight)
        return {"filter": torch.ones_like(maps) if self.kind == "constant" else maps}


def pattern() -> Tensor:
    return torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(99)).sign()


def faint(rows: int, *, seed: int, shuffled: bool = False) -> Any:
    """Pictures of noise in which a faint pattern is added or subtracted, by class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (rows,), generator=generator)
    noise = 40 * torch.randn(rows, 3, 8, 8, generator=generator)
    images = 128 + noise + 6 * (2 * labels - 1)[:, None, None, None] * pattern()
    if shuffled:
        labels = labels[torch.randperm(rows, generator=generator)]
    return Toy(images.clamp(0, 255).to(torch.uint8), labels, ("minus", "plus"))


def verdict_of(kind: str, *, seed: int = 0, shuffled: bool = False) -> dict[str, Any]:
    train = faint(300, seed=2 * seed, shuffled=shuffled)
    test = faint(300, seed=2 * seed + 1, shuffled=shuffled)
    networks = {
        "trained": Filter(seed=seed, kind=kind),
        "first": Filter(seed=seed, kind="random"),
        "second": Filter(seed=seed + 1000, kind="random"),
        "pixels": Pixels(3, 8),
    }
    answers = {
        name: measure(network, train, test, labels=200, draws=3, seed=seed)
        for name, network in networks.items()
    }
    untrained = [answers["first"], answers["second"]]
    return result_record(
        answers["trained"], untrained, answers["pixels"], train, test, probe="linear"
    )


def test_a_constant_encoder_is_called_collapsed() -> None:
    assert verdict_of("constant")["verdict"] == "collapsed"


def test_a_network_that_knows_the_pattern_is_called_learning() -> None:
    record = verdict_of("knows")

    assert record["verdict"] == "learning"
    assert record["trained"] > 0.85 > record["untrained"]


def test_shuffled_labels_are_seldom_called_learning() -> None:
    # The interval's lower end lies above zero by luck in one of forty.
    words = [verdict_of("knows", seed=seed, shuffled=True)["verdict"] for seed in range(10)]

    assert words.count("learning") <= 1
    assert words.count("too close to tell") >= 8
