"""Coverage: how often a gain's interval is wrong, and how often it finds a gain, in simulation.

No picture is read. Networks' answers are drawn: a picture is as hard as a normal number says, which
all networks share; each network adds numbers of its own, and each draw of labels others; an answer
is right where the sum lies below what the network's accuracy asks for. That accuracy varies with
how first weights fell, with the draw of labels (alike for all networks), and with the network's own
luck of the draw. Without a gain the trained network is one more untrained one.

Beside the interval of `probes/intervals.py` stands the one before it, with its three untrained
networks (one with --quick): percentiles of a bootstrap that resamples draws, starts and pictures
together. An alarm is *learning* without a gain, wanted in at most 2.5 %.

`folds` answers every picture once by a ridge regression on features of random networks, fitted on
the other folds, and compares with testing a fifth: the ratio is the variance of a mean over folds,
over data sets, beside that of as many independent pictures (`OVERLAP`).

Run: python benchmarks/coverage.py [answers] [folds] [--repeats 1.0]   (a share of the repetitions)
"""

import argparse
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.data.splitting import FOLDS, folds_of
from selfsight.probes.intervals import gains
from selfsight.probes.untrained import INITIALISATIONS

BEFORE = 3  # untrained networks of the interval before
RESAMPLES = 1000
AT_ONCE = 4_000_000  # answers
LIMIT = 200  # pictures from which resampled means are drawn from their normal limit
OWN = 0.5  # of what a network does not share: the part that stays from draw to draw
BY_DRAW, BY_BOTH = 0.01, 0.003  # deviations of accuracy: of a draw, of a network in a draw
REPEATS = {5: 4000, 10: 4000, 30: 4000, 100: 2000, 1000: 1000, 2000: 1000, 10_000: 500}
FOUND_IN = 4  # a gain is looked for in so many times fewer repetitions


class Regime(NamedTuple):
    """What is simulated.

    Attributes:
        pictures: Test pictures T.
        draws: Draws of labels R.
        starts: Untrained networks I.
        spread: Deviation of accuracy over first weights.
        accuracy: Of untrained networks, on average.
        shared: Share of the variance of an answer that all networks share.
    """

    pictures: int
    draws: int
    starts: int
    spread: float
    accuracy: float = 0.6
    shared: float = 0.5


def regimes() -> list[Regime]:
    """List what is simulated: sizes by draws and starts by spreads, then other answers."""
    usual = [
        Regime(pictures, draws, starts, spread)
        for pictures in REPEATS
        for draws, starts in ((3, INITIALISATIONS), (1, INITIALISATIONS), (1, 1))
        for spread in (0.0, 0.01, 0.02)
    ]
    other = [
        Regime(pictures, draws, INITIALISATIONS, 0.01, accuracy, shared)
        for pictures in (5, 30, 2000)
        for draws in (3, 1)
        for accuracy, shared in ((0.6, 0.1), (0.9, 0.5), (0.9, 0.1))
    ]
    return usual + other


def answered(regime: Regime, gain: float, repeats: int, generator: torch.Generator) -> Tensor:
    """Draw answers: -> (B, 1 + I, R, T) whether each is right; the trained network comes first."""
    networks, draws = 1 + regime.starts, regime.draws

    def normal(*shape: int) -> Tensor:
        return torch.randn(repeats, *shape, generator=generator)

    accuracy = regime.accuracy + regime.spread * normal(networks, 1)
    accuracy = accuracy + BY_DRAW * normal(1, draws) + BY_BOTH * normal(networks, draws)
    accuracy[:, 0] += gain
    asked = torch.special.ndtri(accuracy.clamp(0.001, 0.999))[..., None]
    alone = 1 - regime.shared
    hard = math.sqrt(regime.shared) * normal(1, 1, regime.pictures)
    hard = hard + math.sqrt(alone * OWN) * normal(networks, 1, regime.pictures)
    hard = hard + math.sqrt(alone * (1 - OWN)) * normal(networks, draws, regime.pictures)
    return hard < asked


def percentiles(right: Tensor, generator: torch.Generator) -> float:
    """Give the lower end of the interval before: of answers (1 + I, R, T) to one experiment."""
    networks, draws, pictures = right.shape
    table = right.float().flatten(0, 1)  # (M, T)
    if pictures < LIMIT:
        chosen = torch.randint(pictures, (RESAMPLES, pictures), generator=generator)
        means = table[:, chosen].mean(dim=2).T  # (P, M)
    else:
        covariance = torch.cov(table, correction=0) / pictures + 1e-12 * torch.eye(len(table))
        noise = torch.randn(RESAMPLES, len(table), generator=generator)
        means = table.mean(dim=1) + noise @ torch.linalg.cholesky(covariance).T
    means = means.view(RESAMPLES, networks, draws)

    def counts(things: int) -> Tensor:
        drawn = max(1, things - 1)
        chosen = torch.randint(things, (RESAMPLES, drawn), generator=generator)
        return F.one_hot(chosen, things).float().mean(dim=1)

    by_draw, by_start = counts(draws), counts(networks - 1)
    trained = (by_draw * means[:, 0]).sum(dim=1)
    untrained = torch.einsum("pi,pr,pir->p", by_start, by_draw, means[:, 1:])
    return float(torch.quantile(trained - untrained, 0.025))


def told(regime: Regime, gain: float, repeats: int) -> tuple[float, float]:
    """Say in which share of experiments the interval before, and ours, lie above zero."""
    generator = torch.Generator().manual_seed(0)
    size = (1 + regime.starts) * regime.draws * regime.pictures
    before, now, done = 0, 0, 0
    while done < repeats:
        some = min(repeats - done, max(1, AT_ONCE // size))
        right = answered(regime, gain, some, generator)
        now += int((gains(right[:, 0], right[:, 1:]).low > 0).sum())
        kept = right[:, : 1 + min(regime.starts, BEFORE)]
        before += sum(percentiles(one, generator) > 0 for one in kept)
        done += some
    return before / repeats, now / repeats


def of_answers(repeats: float) -> None:
    """Print a line a regime: alarms, and gains found, before and now, in %."""
    print("pictures draws starts spread accuracy shared | alarms % | gain 1 | gain 3 | gain 5")
    for regime in regimes():
        count = max(20, int(repeats * REPEATS[regime.pictures]))
        cells = [told(regime, 0.0, count)]
        cells += [told(regime, gain, max(20, count // FOUND_IN)) for gain in (0.01, 0.03, 0.05)]
        shown = " | ".join(f"{100 * old:5.1f} {100 * new:5.1f}" for old, new in cells)
        print(
            f"{regime.pictures:8,} {regime.draws:5} {regime.starts:6} {100 * regime.spread:6.0f} "
            f"{100 * regime.accuracy:8.0f} {regime.shared:6.1f} | {shown}",
            flush=True,
        )


class World(NamedTuple):
    """Labelled pictures as points: N of them in D dimensions, K classes about means (K, D)."""

    pictures: int
    means: Tensor

    def drawn(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw pictures (N, D) and their labels (N,)."""
        y = torch.randint(len(self.means), (self.pictures,), generator=generator)
        noise = torch.randn(self.pictures, self.means.shape[1], generator=generator)
        return (self.means[y] + noise).double(), y


def networks_of(count: int, features: int, world: World, generator: torch.Generator) -> Tensor:
    """Draw random networks (M, D, F); features are what lies above 0 of x times one."""
    dimensions = world.means.shape[1]
    weight = torch.randn(count, dimensions, features, generator=generator)
    return (weight / math.sqrt(dimensions)).double()


def fitted(x: Tensor, y: Tensor, classes: int) -> Callable[[Tensor], Tensor]:
    """Fit ridge regressions on features (M, n, F) at once: -> what answers (M, t, F)."""
    mean, scale = x.mean(dim=1, keepdim=True), x.std(dim=1, keepdim=True).clamp(min=1e-6)
    z, share = (x - mean) / scale, F.one_hot(y, classes).double()
    left = z.mT @ z / len(y) + 0.1 * torch.eye(x.shape[2], dtype=x.dtype)
    weight = torch.linalg.solve(left, z.mT @ (share - share.mean(dim=0)) / len(y))
    return lambda t: ((t - mean) / scale @ weight + share.mean(dim=0)).argmax(dim=2)


def in_folds(x: Tensor, y: Tensor, folds: Tensor, weights: Tensor, classes: int) -> Tensor:
    """Test every picture once by networks (M, D, F): -> (M, N) whether they are right."""
    features = (x @ weights).clamp(min=0)  # (M, N, F)
    right = torch.zeros(features.shape[:2], dtype=torch.bool)
    for fold in range(int(folds.max()) + 1):
        here = folds == fold
        answer = fitted(features[:, ~here], y[~here], classes)
        right[:, here] = answer(features[:, here]) == y[here]
    return right


def of_folds(repeats: float) -> None:
    """Print a line a size: the ratio of variances, alarms and gains found, a fifth and folds."""
    print("pictures classes features | ratio | alarms %, a fifth then folds | gain of ... found")
    count = max(20, int(400 * repeats))
    for pictures in (50, 150, 400):
        for classes, features in ((2, 16), (2, 64), (10, 64)):
            generator = torch.Generator().manual_seed(0)
            means = 0.4 * torch.randn(classes, 20, generator=generator)
            world = World(pictures, means)
            fixed = networks_of(1 + INITIALISATIONS, features, world, generator)
            found: list[tuple[float, float]] = []
            hits = torch.zeros(2, 2)
            gained = 0.0
            for number in range(count):
                x, y = world.drawn(generator)
                folds = folds_of(y, folds=FOLDS, seed=number)
                right = in_folds(x, y, folds, fixed, classes)
                difference = right[0].double() - right[1:].double().mean(dim=0)
                found.append((float(difference.mean()), float(difference.var() / len(y))))
                for place, better in enumerate((False, True)):
                    fresh = networks_of(1 + INITIALISATIONS, features, world, generator)
                    if better:  # some features look along the classes' means
                        some = torch.randint(classes, (features // 4,), generator=generator)
                        fresh[0, :, : features // 4] += means[some].T.double()
                    right = in_folds(x, y, folds, fresh, classes)[:, None]
                    here = (folds == 0).nonzero()[:, 0]
                    kept = right[: 1 + BEFORE, :, here]
                    hits[place, 0] += percentiles(kept, generator) > 0
                    ours = gains(right[None, 0], right[None, 1:], folded=True)
                    hits[place, 1] += float(ours.low[0] > 0)
                    gained += float(ours.value[0]) * better
            mean, plain = torch.tensor(found, dtype=torch.float64).T
            hits = 100 * hits / count
            print(
                f"{pictures:8} {classes:7} {features:8} | {float(mean.var() / plain.mean()):5.2f} "
                f"| {hits[0, 0]:5.1f} {hits[0, 1]:5.1f} "
                f"| {100 * gained / count:4.1f}: {hits[1, 0]:5.1f} {hits[1, 1]:5.1f}",
                flush=True,
            )


def main() -> None:
    """Print the tables that were asked for, both by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", default=["answers", "folds"])
    parser.add_argument("--repeats", type=float, default=1.0)
    asked = parser.parse_args()
    for table in asked.tables:
        {"answers": of_answers, "folds": of_folds}[table](asked.repeats)


if __name__ == "__main__":
    main()
