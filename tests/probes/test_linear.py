"""Linear probe: two samples by hand, sklearn's ridge and a plain loop as oracles, hard cases."""

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from selfsight.probes.features import Labelled
from selfsight.probes.linear import STRENGTHS, Equations, FewRows, LinearProbe, Moments


def planted(rows: int, features: int, classes: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw classes, and features about a mean of their own with unlike scales."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (rows,), generator=generator)
    means = torch.randn(classes, features, generator=generator)
    x = means[y] + torch.randn(rows, features, generator=generator)
    return x * torch.logspace(-2, 2, features) + 30, y


def every_fifth(rows: int) -> Tensor:
    return torch.arange(rows) % 5 == 0


def solved(x: Tensor, y: Tensor, classes: int, held_out: Tensor, *, batch: int) -> LinearProbe:
    probe = LinearProbe(x.shape[1], classes)
    for chunk in torch.arange(len(x)).split(batch):
        probe.add(x[chunk], y[chunk], held_out[chunk])
    probe.solve()
    return probe


def test_two_samples_by_hand() -> None:
    # x = 1 of class 0, x = 3 of class 1: mean 2, deviation 1, z = -1 and 1, R = 1, shares 1/2.
    # C = mean of z (y - q) = (-1/2, 1/2); at strength 1, W = C / (1 + 1) = (-1/4, 1/4).
    moments = Moments(torch.tensor([0.5]), 2)
    moments.add(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1]))

    linear = Equations.of(moments).solve(1.0)

    assert linear.mean.tolist() == [2.0]
    assert linear.weight.tolist() == [[-0.25, 0.25]]
    assert linear.bias.tolist() == [0.5, 0.5]
    assert linear(torch.tensor([[1.9], [2.1]])).tolist() == [0, 1]


@pytest.mark.parametrize("rows", [400, 12])  # 12: fewer rows than features
def test_sklearns_ridge_finds_the_same_map(rows: int) -> None:
    x, y = planted(rows, 20, 4)
    moments = Moments(x[:7].mean(dim=0), 4)
    for chunk in torch.arange(rows).split(7):
        moments.add(x[chunk], y[chunk])
    strength = 0.3

    linear = Equations.of(moments).solve(strength)

    exact = x.double()
    z = (exact - exact.mean(dim=0)) / exact.std(dim=0, correction=0)
    one_hot = torch.nn.functional.one_hot(y, 4).double()
    oracle = Ridge(alpha=strength * rows).fit(z.numpy(), one_hot.numpy())
    ours = (x - linear.mean) @ linear.weight + linear.bias
    torch.testing.assert_close(
        ours.double(), torch.from_numpy(oracle.predict(z.numpy())), atol=1e-4, rtol=1e-4
    )


def test_single_precision_chooses_by_nearly_the_same_map() -> None:
    x, y = planted(300, 20, 4)
    moments = Moments(x.mean(dim=0), 4)
    moments.add(x, y)
    equations = Equations.of(moments)

    rough = equations.solve(STRENGTHS[0], number=torch.float32)

    torch.testing.assert_close(
        rough.weight, equations.solve(STRENGTHS[0]).weight, rtol=1e-2, atol=0
    )


def test_a_plain_loop_chooses_the_same_strength_and_refits_on_all() -> None:
    x, y = planted(150, 40, 3, seed=4)
    x = x + 2.0 * x.std(dim=0) * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    held_out = every_fifth(150)

    probe = solved(x, y, 3, held_out, batch=32)

    def ridge(rows: Tensor, strength: float) -> tuple[Tensor, Tensor, Tensor]:
        fit = x[rows].double()
        mean, deviation = fit.mean(dim=0), fit.std(dim=0, correction=0)
        one_hot = torch.nn.functional.one_hot(y[rows], 3).double()
        gram, cross = torch.zeros(40, 40).double(), torch.zeros(40, 3).double()
        for row, target in zip((fit - mean) / deviation, one_hot, strict=True):
            gram += torch.outer(row, row) / len(fit)
            cross += torch.outer(row, target - one_hot.mean(dim=0)) / len(fit)
        weight = torch.linalg.inv(gram + strength * torch.eye(40).double()) @ cross
        return mean, weight / deviation[:, None], one_hot.mean(dim=0)

    def answers(rows: Tensor, to: Tensor, strength: float) -> Tensor:
        mean, weight, bias = ridge(rows, strength)
        return ((to.double() - mean) @ weight + bias).argmax(dim=1)

    scores = [
        float((answers(~held_out, x[held_out], strength) == y[held_out]).double().mean())
        for strength in STRENGTHS
    ]
    best = max(range(len(scores)), key=lambda place: (scores[place], place))
    assert probe.strength == STRENGTHS[best]
    assert probe.validation == pytest.approx(scores[best])
    everything = torch.ones(150, dtype=torch.bool)
    assert torch.equal(probe.predict(x), answers(everything, x, probe.strength))


@pytest.mark.parametrize("rows_at_once", [1, 50, 2048])
def test_any_batch_size_gives_the_same_answers(
    rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfsight.probes.linear.ROWS_AT_ONCE", rows_at_once)
    x, y = planted(203, 33, 5)
    held_out = every_fifth(203)
    probes = [solved(x, y, 5, held_out, batch=batch) for batch in (1, 7, 203)]
    queries = planted(100, 33, 5, seed=9)[0]

    for probe in probes[1:]:
        assert probe.strength == probes[0].strength
        assert probe.validation == probes[0].validation
        assert torch.equal(probe.predict(queries), probes[0].predict(queries))


def test_a_distant_mean_costs_no_digits() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 2
    x = 1000 + 0.05 * (y[:, None] + 0.1 * torch.randn(400, 3, generator=generator))

    assert solved(x, y, 2, every_fifth(400), batch=64).validation == 1.0


@pytest.mark.parametrize("value", [0.0, 1000.1, -3e-9])
def test_constant_features_take_no_part(value: float) -> None:
    x, y = planted(200, 6, 3)
    constant = torch.full((200, 2), value)
    held_out = every_fifth(200)

    with_constants = solved(torch.cat([constant, x], dim=1), y, 3, held_out, batch=64)
    without = solved(x, y, 3, held_out, batch=64)

    shifted = torch.cat([constant + 5, x], dim=1)  # even if they differ at test time
    assert torch.equal(with_constants.predict(shifted), without.predict(x))


def test_constant_features_alone_answer_the_commonest_class() -> None:
    y = torch.tensor([2] * 7 + [0] * 3)
    probe = solved(torch.ones(10, 4), y, 3, every_fifth(10), batch=4)

    assert probe.predict(torch.randn(5, 4)).tolist() == [2] * 5


def test_identical_features_at_the_least_strength_are_solved() -> None:
    x = torch.randn(50, 1, generator=torch.Generator().manual_seed(0)).expand(50, 300)
    probe = solved(x, (x[:, 0] > 0).long(), 2, every_fifth(50), batch=16)

    assert probe.validation >= 0.9


def test_fewer_rows_than_features_separate() -> None:
    x, y = planted(40, 300, 4)

    probe = solved(x, y, 4, every_fifth(40), batch=16)

    assert probe.validation == 1.0


def test_a_class_missing_from_the_fitting_part_is_learned_by_the_refit() -> None:
    x = torch.tensor([[0.0, 0.0], [0.1, 0.0], [5.0, 0.0], [5.1, 0.0], [0.0, 9.0]])
    y = torch.tensor([0, 0, 1, 1, 2])  # the only picture of class 2 is held out
    probe = solved(x, y, 4, torch.tensor([False, False, False, False, True]), batch=2)

    assert probe.validation == 0.0
    assert probe.predict(torch.tensor([[0.0, 4000.0]])).tolist() == [2]  # never class 3, not seen


def test_held_out_rows_past_the_bound_are_fitted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfsight.probes.linear.HELD_OUT_MOST", 3)
    x, y = planted(40, 2, 2)
    probe = LinearProbe(2, 2)
    for chunk in torch.arange(40).split(10):
        probe.add(x[chunk], y[chunk], torch.arange(10) % 5 == 0)
    probe.solve()

    thirds = 3 * probe.validation
    assert thirds == pytest.approx(round(thirds))


def test_misuse_is_refused() -> None:
    probe = LinearProbe(3, 2)
    with pytest.raises(ValueError, match="must be 3 wide, got 2"):
        probe.add(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([False]))
    with pytest.raises(ValueError, match="call solve"):
        probe.predict(torch.zeros(1, 3))
    probe.add(torch.zeros(2, 3), torch.tensor([0, 1]), torch.tensor([True, True]))
    with pytest.raises(ValueError, match="got 2 of 2"):
        probe.solve()


def test_fewer_rows_than_features_give_the_same_map() -> None:
    generator = torch.Generator().manual_seed(3)
    x, y = torch.randn(12, 40, generator=generator) + 5, torch.arange(12) % 3
    x[:, 7] = 2.0  # a constant feature takes no part in either form
    moments = Moments(x.mean(dim=0), 3)
    moments.add(x, y)

    many, few = Equations.of(moments).solve(0.1), FewRows.of(Labelled(x, y), 3).solve(0.1)

    torch.testing.assert_close(few.weight, many.weight, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(few.mean, many.mean)
