"""Record: answers -> the result, its 95 % intervals and its verdict.

Networks are compared picture by picture, each at its own best layer; `intervals.py` derives how
sure the difference is, and why. Where it is not sure enough, the largest of what makes it uncertain
says what would narrow it.

Legend: R draws, I initialisations, L layers, T test pictures, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from selfsight.data.samples import Samples
from selfsight.errors import UsageError
from selfsight.probes.intervals import Gain, accuracy_interval
from selfsight.probes.measure import Answers, Kind
from selfsight.probes.verdict import Shape, Verdict, judge_labelled

DIGITS = 4


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


def _judge(
    trained: Answers, untrained: Sequence[Answers], numbers: Mapping[str, Any], narrow: str
) -> Verdict:
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
        narrow=narrow,
    )


def narrowing(gain: Gain, *, pictures: int, initialisations: int, folded: bool) -> str:
    """Say what makes a gain most uncertain, and what would narrow its interval.

    Args:
        gain: The gain.
        pictures: How many were tested.
        initialisations: How many untrained networks there were.
        folded: Whether the pictures were tested in folds.
    """
    parts = (
        f"The chance of {pictures:,} test pictures alone would leave {100 * gain.pictures:.1f} "
        f"points on either side, that of first weights {100 * gain.starts:.1f}"
    )
    if gain.pictures >= gain.starts:
        more = "labelled pictures" if folded else "test pictures"
        return f"{parts}: more {more} would narrow it."
    if initialisations == 1:
        return f"{parts}: without --quick more untrained networks tell how far these matter."
    if gain.labels > gain.starts / 2:
        return f"{parts}, which take the draws of labels unlike: more --labels would narrow it."
    return f"{parts}: a run with another --seed would tell whether the gain comes again."


def _best_accuracy(answers: Answers | None, labels: Tensor) -> float | None:
    """Take a network's accuracy at its own best layer, if it was probed."""
    return None if answers is None else float((answers.own == labels).double().mean())


def _numbers(
    trained: Answers,
    untrained: Sequence[Answers],
    pixels: Answers | None,
    dictionary: Answers | None,
    y: Tensor,
    gain: Gain,
) -> dict[str, Any]:
    """Collect every number that compares networks, by its key in the record."""
    mine = _accuracies(trained, y)
    theirs = torch.stack([_accuracies(answers, y) for answers in untrained]).mean(dim=0)
    ends = [accuracy_interval(right) for right in (trained.predictions == y).transpose(0, 1)]
    right = trained.own == y
    low, high = accuracy_interval(right)
    accuracy = float(right.double().mean())
    return {
        "best_layer": trained.layers[trained.best],
        "trained": accuracy,
        "untrained": accuracy - gain.value,
        "gain": gain.value,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "won": gain.won,
        "lost": gain.lost,
        "low": low,
        "high": high,
        "pixels": _best_accuracy(pixels, y),
        "patch_dictionary": _best_accuracy(dictionary, y),
        "layers": {
            name: {
                "trained": float(mine[place]),
                "untrained": float(theirs[place]),
                "low": ends[place][0],
                "high": ends[place][1],
            }
            for place, name in enumerate(trained.layers)
        },
    }


def result_record(
    trained: Answers,
    untrained: Sequence[Answers],
    pixels: Answers | None,
    train: Samples,
    test: Samples,
    *,
    probe: Kind,
    dictionary: Answers | None = None,
    folds: Tensor | None = None,
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
        test: The labelled pictures that were answered; in folds, the same ones.
        probe: Which probe it was.
        dictionary: Answers of a patch dictionary, if one was probed.
        folds: (N,) the fold that each picture was tested in, -1 for none; None where the test part
            is its own.
        seconds: Time taken; by default the sum over the networks.
        settings: What was asked and derived.
        machine: What it ran on.

    Raises:
        UsageError: If labels are missing, or networks were not probed alike.
    """
    if train.labels is None or test.labels is None:
        raise UsageError("a result must be of labelled pictures, got none with labels; label fifty")
    y = test.labels if folds is None else test.labels[folds >= 0]
    _check(trained, untrained, len(y))
    others = [*untrained, *(answers for answers in (pixels, dictionary) if answers is not None)]
    own = torch.stack([answers.own == y for answers in untrained])
    folded = folds is not None
    gain = Gain.of(trained.own == y, own, folded=folded)
    numbers = _numbers(trained, untrained, pixels, dictionary, y, gain)
    narrow = narrowing(gain, pictures=len(y), initialisations=len(untrained), folded=folded)
    verdict = _judge(trained, untrained, numbers, narrow)
    classes = by_class(trained.own == y, y, test.classes)
    counts = train.labels.bincount(minlength=len(test.classes))
    record = {
        "probe": probe,
        "metric": "accuracy",
        "unit": "share",
        "chance": float(y.bincount().max()) / len(y),
        "labels": trained.labels,
        "test": len(y),
        "folds": None if folds is None else int(folds.max()) + 1,
        "draws": len(trained.predictions),
        "initialisations": len(untrained),
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
