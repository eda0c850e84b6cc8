"""Record: answers -> the result, its 95 % intervals and its verdict.

The intervals come from a bootstrap over what varies: draws of labelled pictures, initialisations of
the untrained network, and test pictures. All three are crossed (every draw of every network answers
every test picture), so each is resampled on its own: Owen, "The pigeonhole bootstrap", Annals of
Applied Statistics 2007, https://arxiv.org/abs/0712.1111. The gain is paired: in each resample both
networks have the same draws and the same test pictures.

Of n draws or initialisations, n - 1 are resampled: with so few, n would make the variance too small
by a factor (n - 1) / n, and n - 1 make it right (Rao, Wu, "Resampling inference with complex survey
data", JASA 1988, https://doi.org/10.1080/01621459.1988.10478591, section 2). A single one stays.

A resample is a row of counts, an accuracy under it a sum of correctness by these counts; so a
thousand resamples are one matrix product.

Legend: P resamples, R draws, I initialisations, L layers, T test pictures, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from selfsight.errors import UsageError
from selfsight.probes.measure import Answers, Kind
from selfsight.verdict import Shape, Verdict, judge_labelled

if TYPE_CHECKING:
    from selfsight.data import Pictures

RESAMPLES = 1000
RESAMPLES_AT_ONCE = 100  # bounds the (P, T) table of counts
INTERVAL = (0.025, 0.975)
DIGITS = 4


@dataclass(frozen=True)
class Intervals:
    """Where 95 % of the resamples lie, as (low, high).

    Attributes:
        layers: (L, 2), each layer's accuracy.
        gain: The trained network's best layer less the untrained networks'.
    """

    layers: Tensor
    gain: tuple[float, float]


def _counts(
    things: int, drawn: int, generator: torch.Generator, *, resamples: int = RESAMPLES
) -> Tensor:
    """Draw so many with replacement, at least 1: -> shares (P, things) float32, rows sum to 1."""
    chosen = torch.randint(things, (resamples, max(1, drawn)), generator=generator)
    counts = torch.zeros(resamples, things)
    counts.scatter_add_(1, chosen, torch.ones(chosen.shape))
    return counts / chosen.shape[1]


def _resampled(right: Tensor, generator: torch.Generator) -> Tensor:
    """Average correctness over resampled test pictures: (M, T) -> (P, M)."""
    pictures = right.shape[1]
    blocks = range(RESAMPLES // RESAMPLES_AT_ONCE)
    return torch.cat(
        [
            _counts(pictures, pictures, generator, resamples=RESAMPLES_AT_ONCE) @ right.T
            for _ in blocks
        ]
    )


def bootstrap(trained: Tensor, best: int, untrained: Tensor, *, seed: int = 0) -> Intervals:
    """Find the intervals of every layer's accuracy and of the best layer's gain.

    Args:
        trained: (R, L, T) whether each answer is right, as 0 or 1.
        best: The trained network's layer that the gain is taken of.
        untrained: (I, R, T), the same for each untrained network's own best layer.
        seed: Of the resamples.
    """
    draws, layers = trained.shape[:2]
    initialisations = len(untrained)
    generator = torch.Generator().manual_seed(seed)
    by_draw = _counts(draws, draws - 1, generator)  # (P, R)
    by_start = _counts(initialisations, initialisations - 1, generator)  # (P, I)
    right = torch.cat([trained.flatten(0, 1), untrained.flatten(0, 1)]).float()
    accuracy = _resampled(right, generator)  # (P, R * L + I * R)
    before, after = accuracy.split([draws * layers, initialisations * draws], dim=1)
    of_layers = torch.einsum("pr,prl->pl", by_draw, before.view(-1, draws, layers))
    plain = torch.einsum("pi,pr,pir->p", by_start, by_draw, after.view(-1, initialisations, draws))
    ends = torch.tensor(INTERVAL)
    low, high = torch.quantile(of_layers[:, best] - plain, ends).tolist()
    return Intervals(torch.quantile(of_layers, ends, dim=0).T, (low, high))


def _rounded(value: Any) -> Any:
    """Round every float inside dictionaries and lists to `DIGITS` digits after the point."""
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value


def _accuracies(answers: Answers, labels: Tensor) -> Tensor:
    """Average each layer's accuracy over draws: -> (L,) float64."""
    return (answers.predictions == labels).double().mean(dim=(0, 2))


def by_class(right: Tensor, labels: Tensor, classes: Sequence[str]) -> dict[str, float | None]:
    """Split an accuracy by class.

    Args:
        right: (R, T), whether each answer is right.
        labels: (T,) class numbers.
        classes: Names of the K classes.

    Returns:
        Accuracy in [0, 1] by class name; None for a class without a test picture.
    """
    return {
        name: float(right[:, labels == number].double().mean())
        if (labels == number).any()
        else None
        for number, name in enumerate(classes)
    }


def rarest_third(accuracies: Mapping[str, float | None], counts: Tensor) -> float | None:
    """Average the accuracies of the third of classes with the fewest training pictures.

    Args:
        accuracies: By class name, in the classes' order; those that are None do not take part.
        counts: (K,) training pictures a class; of equals the first class counts as rarer.

    Returns:
        Mean accuracy in [0, 1] over a third of the classes, rounded up; None without any.
    """
    ordered = [list(accuracies.values())[place] for place in counts.argsort(stable=True).tolist()]
    tested = [accuracy for accuracy in ordered if accuracy is not None]
    rare = tested[: -(-len(tested) // 3)]
    return sum(rare) / len(rare) if rare else None


def _check(trained: Answers, untrained: Sequence[Answers], test: int) -> None:
    if not untrained:
        raise UsageError("a gain must be over at least 1 untrained network, got none")
    shape = (trained.predictions.shape[0], test)
    for answers in (trained, *untrained):
        if answers.layers != trained.layers:
            raise UsageError(
                f"untrained networks must have the layers of the trained one, "
                f"{list(trained.layers)}, got {list(answers.layers)}"
            )
        if (answers.predictions.shape[0], answers.predictions.shape[2]) != shape:
            raise UsageError(
                f"all networks must be probed by {shape[0]} draws on {shape[1]} test pictures, "
                f"got {answers.predictions.shape[0]} and {answers.predictions.shape[2]}"
            )


def _judge(trained: Answers, untrained: Sequence[Answers], numbers: Mapping[str, Any]) -> Verdict:
    mean = Shape(
        sum(answers.shape.spread for answers in untrained) / len(untrained),
        sum(answers.shape.rank for answers in untrained) / len(untrained),
    )
    return judge_labelled(
        trained.shape,
        mean,
        accuracy=numbers["trained"],
        untrained_accuracy=numbers["untrained"],
        gain_low=numbers["gain_low"],
        gain_high=numbers["gain_high"],
        pixels=numbers["pixels"],
        dictionary=numbers["patch_dictionary"],
    )


def _best_accuracy(answers: Answers | None, labels: Tensor) -> float | None:
    """Take a network's accuracy at its own best layer, if it was probed."""
    return None if answers is None else float(_accuracies(answers, labels)[answers.best])


def _numbers(
    trained: Answers,
    untrained: Sequence[Answers],
    pixels: Answers | None,
    dictionary: Answers | None,
    y: Tensor,
    seed: int,
) -> dict[str, Any]:
    """Compute every number that compares networks, by its key in the record."""
    best = trained.best
    own = torch.stack([answers.predictions[:, answers.best] == y for answers in untrained])
    intervals = bootstrap(trained.predictions == y, best, own, seed=seed)
    mine = _accuracies(trained, y)
    theirs = torch.stack([_accuracies(answers, y) for answers in untrained]).mean(dim=0)
    untrained_best = float(own.double().mean())
    low, high = intervals.layers.T.tolist()
    return {
        "best_layer": trained.layers[best],
        "trained": float(mine[best]),
        "untrained": untrained_best,
        "gain": float(mine[best]) - untrained_best,
        "gain_low": intervals.gain[0],
        "gain_high": intervals.gain[1],
        "low": low[best],
        "high": high[best],
        "pixels": _best_accuracy(pixels, y),
        "patch_dictionary": _best_accuracy(dictionary, y),
        "layers": {
            name: {
                "trained": float(mine[place]),
                "untrained": float(theirs[place]),
                "low": low[place],
                "high": high[place],
            }
            for place, name in enumerate(trained.layers)
        },
    }


def result_record(
    trained: Answers,
    untrained: Sequence[Answers],
    pixels: Answers | None,
    train: "Pictures",
    test: "Pictures",
    *,
    probe: Kind,
    dictionary: Answers | None = None,
    seed: int = 0,
    seconds: float | None = None,
    settings: Mapping[str, Any] | None = None,
    machine: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Build the record of a probe, ready for JSON.

    Args:
        trained: Answers of the network that is judged.
        untrained: Answers of the same network untrained, one an initialisation; at least one.
        pixels: Answers of raw pixels, if they were probed.
        train: The labelled pictures probes were fitted on.
        test: The labelled pictures that were answered.
        probe: Which probe it was.
        dictionary: Answers of a patch dictionary, if one was probed.
        seed: Of the bootstrap.
        seconds: Time taken; by default the sum over the networks.
        settings: What was asked and derived.
        machine: What it ran on.

    Raises:
        UsageError: If labels are missing, or networks were not probed alike.
    """
    if train.labels is None or test.labels is None:
        raise UsageError("a result must be of labelled pictures, got none with labels; label fifty")
    y = test.labels
    _check(trained, untrained, len(y))
    others = [*untrained, *(answers for answers in (pixels, dictionary) if answers is not None)]
    numbers = _numbers(trained, untrained, pixels, dictionary, y, seed)
    verdict = _judge(trained, untrained, numbers)
    classes = by_class(trained.predictions[:, trained.best] == y, y, test.classes)
    counts = train.labels.bincount(minlength=len(test.classes))
    record = {
        "probe": probe,
        "metric": "accuracy",
        "unit": "share",
        "chance": float(y.bincount().max()) / len(y),
        "labels": trained.labels,
        "test": len(y),
        "draws": len(trained.predictions),
        **numbers,
        "verdict": verdict.word,
        "reasons": list(verdict.reasons),
        "by_class": classes,
        "rarest_third": rarest_third(classes, counts),
        "seconds": trained.seconds + sum(answers.seconds for answers in others)
        if seconds is None
        else seconds,
    }
    return {**_rounded(record), "settings": dict(settings or {}), "machine": dict(machine or {})}
