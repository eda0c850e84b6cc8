"""Verdict: says in a word whether a run has learned anything, by fixed rules.

collapsed:                  features hardly differ from picture to picture.
learning:                   the whole interval of the gain over untrained networks is above zero.
no better than untrained:   that interval excludes a gain worth having, `WORTH_HAVING`.
too close to tell:          it contains both no gain and one worth having.
unknown:                    there were no labels to measure it with.

Reasons are sentences with the numbers that decided.

Collapse is recognised by two numbers of the pooled final features (N, D). Their spread recognises
features that all point one way, as in Chen, He, "Exploring Simple Siamese Representation Learning",
CVPR 2021, https://arxiv.org/abs/2011.10566, section 4.1. Their effective rank recognises features
that differ only along a line: Garrido, Balestriero, Najman, LeCun, "RankMe: Assessing the
Downstream Performance of Pretrained Self-Supervised Representations by Their Rank", ICML 2023,
https://arxiv.org/abs/2210.02885, section 3.2; we centre the features first, so that what is common
to all pictures does not count, and leave out exact zeros rather than add a constant. Both are
compared with those of the untrained network. A spread under `LEAST_SPREAD` counts as none, whatever
that of the untrained network is; black or identical pictures give such a spread. Whether the
pictures themselves are all alike is decided from the pictures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.errors import SelfsightError
from selfsight.system.validation import check, check_value
from selfsight.tasks.table import TASKS

Word = Literal["collapsed", "no better than untrained", "too close to tell", "learning", "unknown"]

WORTH_HAVING = 0.01  # of accuracy: a gain below 1 point is as good as none
SPREAD_SHARE = 0.05  # of the untrained network's spread
LEAST_RANK = 2.0
ROUNDING = 1e-6  # differences below this share of the features' size are rounding
# Spread below which features are equal for every purpose. Five untrained networks on nine data sets
# had from 0.08 to 0.93, and on identical pictures below 1e-5.
LEAST_SPREAD = 0.002
SHOWN_DIGITS = 4  # of a share, kept in records; what is shown is rounded from these


@dataclass(frozen=True)
class Verdict:
    """One of five words, and why."""

    word: Word
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Shape:
    """The distribution of a network's pooled final features.

    Attributes:
        spread: See `spread`.
        rank: See `effective_rank`.
    """

    spread: float
    rank: float

    @classmethod
    def of(cls, features: Tensor) -> "Shape":
        """Measure features (N, D).

        Raises:
            SelfsightError: If one of them is no finite number.
        """
        if not bool(features.isfinite().all()):
            raise SelfsightError(
                "features must be finite, got infinity or NaN from the network; it has diverged, "
                "so train again at a lower --rate or with --precision f32"
            )
        return cls(spread(features), effective_rank(features))


def spread(features: Tensor) -> float:
    """Measure how far features point in different directions.

    Args:
        features: (N, D), finite.

    Returns:
        Mean over dimensions of the standard deviation of features scaled to length 1, times
        sqrt(D): 0 if all point the same way, 1 if all directions are equally frequent.
    """
    directions = F.normalize(features.double(), dim=1)
    deviation = directions.std(dim=0, correction=0).mean()
    return float(deviation * features.shape[1] ** 0.5)


def effective_rank(features: Tensor) -> float:
    """Count the dimensions that features really use.

    Args:
        features: (N, D), finite.

    Returns:
        exp of the entropy of the singular values' shares, of the centred features: 0 if all
        features are equal, else from 1 (a line) to the lesser of N - 1 and D (equal variance in all
        directions).
    """
    features = features.double()
    centred = features - features.mean(dim=0)
    if centred.norm() <= ROUNDING * features.norm():
        return 0.0
    values = torch.linalg.svdvals(centred)
    shares = values[values > 0] / values.sum()
    return float((-(shares * shares.log()).sum()).exp())


def _collapse(trained: Shape, untrained: Shape) -> tuple[str, ...]:
    """Say why features count as collapsed; nothing if they do not."""
    reasons: list[str] = []
    if trained.spread < LEAST_SPREAD:
        reasons.append(
            f"The spread of the normalised features is {trained.spread:.4f}, under "
            f"{LEAST_SPREAD:g}, and the untrained network's {untrained.spread:.4f}: they are the "
            "same for every picture."
        )
    elif trained.spread < SPREAD_SHARE * untrained.spread:
        reasons.append(
            f"The spread of the normalised features is {trained.spread:.4f}, under "
            f"{SPREAD_SHARE:.0%} of the untrained network's {untrained.spread:.4f}."
        )
    if trained.rank < LEAST_RANK <= untrained.rank:  # two pictures have no rank to lose
        reasons.append(
            f"The features' effective rank is {trained.rank:.2f}, under {LEAST_RANK:g}: "
            "they use hardly more than one direction."
        )
    return tuple(reasons)


def _beside_pixels(trained: float, pixels: float | None) -> tuple[str, ...]:
    if pixels is None:
        return ()
    if trained > pixels:
        return (
            f"Raw pixels reach {_percent(pixels)}; the network is {_points(trained, pixels)} "
            "above.",
        )
    return (
        f"The network is not above raw pixels: they reach {_percent(pixels)} and it reaches "
        f"{_percent(trained)}.",
    )


def _beside_dictionary(trained: float, dictionary: float | None) -> tuple[str, ...]:
    if dictionary is None:
        return ()
    side = "above" if trained > dictionary else "below"
    return (
        f"A dictionary of patches, fitted without gradients, reaches {_percent(dictionary)}; the "
        f"network is {_points(trained, dictionary)} {side}.",
    )


def in_percent(share: float) -> float:
    """Round a share in [0, 1] as it is printed everywhere: in %, with one digit after the point.

    It is first rounded as in records, since tables are made from these. A printed difference is
    that of the two printed numbers.

    >>> in_percent(0.63446), in_percent(0.1), in_percent(0.05) - in_percent(0.04)
    (63.5, 10.0, 1.0)
    """
    kept = round(share, SHOWN_DIGITS)
    # 63.45 is 63.449999... in binary; what rounds to nothing has no sign.
    return round(100 * kept + math.copysign(1e-9, kept), 1) + 0.0


def _percent(share: float) -> str:
    """Write a share in [0, 1] in %, as it is shown everywhere."""
    return f"{in_percent(share):.1f}%"


def _points(one: float, other: float) -> str:
    """Write how far two shares lie apart, as they are shown."""
    return f"{abs(in_percent(one) - in_percent(other)):.1f} points"


def judge_labelled(
    trained: Shape,
    untrained: Shape,
    *,
    accuracy: float,
    untrained_accuracy: float,
    gain_low: float,
    gain_high: float,
    pixels: float | None = None,
    dictionary: float | None = None,
    narrow: str | None = None,
) -> Verdict:
    """Judge a network that was probed with labels.

    Args:
        trained: The distribution of its features.
        untrained: That of the same network before training.
        accuracy: Its accuracy, in [0, 1].
        untrained_accuracy: That of the same network untrained, or the mean of several.
        gain_low: Lower end of the gain's 95 % interval, a difference of accuracies.
        gain_high: Upper end of it.
        pixels: Accuracy of raw pixels, if they were probed.
        dictionary: Accuracy of a patch dictionary, if one was probed.
        narrow: A sentence that says what would narrow the interval; given where it is too wide.

    Returns:
        Never `unknown`. Pixels and dictionary are named in the reasons, and do not decide.
    """
    beside = _beside_pixels(accuracy, pixels) + _beside_dictionary(accuracy, dictionary)
    if collapse := _collapse(trained, untrained):
        return Verdict("collapsed", collapse + beside)
    reached = (
        f"It reaches {_percent(accuracy)} and the untrained network {_percent(untrained_accuracy)}"
    )
    interval = f"from {in_percent(gain_low):+.1f} to {in_percent(gain_high):+.1f} points"
    said = f"{reached}; the gain's 95 % interval, {interval},"
    worth = f"{_points(WORTH_HAVING, 0.0)}, the least worth having"
    if gain_low > 0:
        return Verdict("learning", (f"{said} lies above zero.", *beside))
    if gain_high < WORTH_HAVING:
        reason = f"{said} lies below {worth}."
        return Verdict("no better than untrained", (reason, *beside))
    reason = f"{said} holds both none and {worth}."
    return Verdict("too close to tell", (reason, *([narrow] if narrow else []), *beside))


@dataclass(frozen=True)
class Solved:
    """How far a pretext task is solved.

    Attributes:
        task: Its name.
        loss: As the task counts it; None if it had no turn when it was last looked at.
        blind: What a guess without looking costs; None where that has no meaning.
        accuracy: In [0, 1], if the task has one.
        chance: Accuracy of always giving the most frequent answer, if it is known.
    """

    task: str
    loss: float | None
    blind: float | None
    accuracy: float | None = None
    chance: float | None = None

    @classmethod
    def kept(cls, record: dict[str, Any]) -> "list[Solved]":
        """Read back what a run's record says of its tasks.

        Raises:
            ValueError: If it does not say it so.
        """
        keys = ("loss", "blind", "accuracy")
        alone = {str(record.get("task")): {key: record.get(key) for key in keys}}
        tasks = record.get("tasks", alone)
        check_value(tasks, dict[str, dict[str, float | None]], "tasks")
        for name, of in tasks.items():
            check({"task": name, **of}, cls, place=f"{name}.")
        return [cls(name, **of) for name, of in tasks.items()]


def judge_unlabelled(
    trained: Shape,
    untrained: Shape,
    solved: Sequence[Solved],
    *,
    of_pictures: str | None = None,
    labelled: bool = False,
) -> Verdict:
    """Judge a network without labels.

    Args:
        trained: The distribution of its features.
        untrained: That of the same network before training.
        solved: How far each of the pretext tasks is solved.
        of_pictures: What `likeness_warning` says of the pictures.
        labelled: Whether the pictures have labels, by which a probe could tell.

    Returns:
        `collapsed` or `unknown`.
    """
    told = tuple(_told(one, _titled(one.task, len(solved))) for one in solved)
    found = () if of_pictures is None else (of_pictures,)
    if collapse := _collapse(trained, untrained):
        return Verdict("collapsed", (*found, *collapse, *told))
    standing = (
        f"The features have not collapsed: their spread is {trained.spread:.3f} (untrained "
        f"{untrained.spread:.3f}) and their effective rank {trained.rank:.1f}."
    )
    open_question = "Whether they are of use for your classes"
    advice = (
        f"{open_question} was not asked yet: the labels that are there can tell."
        if labelled
        else f"{open_question} cannot be told: label fifty pictures to know."
    )
    return Verdict("unknown", (*found, *told, standing, advice))


def _titled(task: str, tasks: int) -> str:
    """Name a task at the beginning of a sentence."""
    if tasks > 1:
        return task
    taught = task in TASKS and not TASKS[task].pretext
    return "The task of the labels" if taught else "The pretext task"


def _told(solved: Solved, subject: str) -> str:
    """Say how far a pretext task is solved above a blind guess."""
    loss, blind, accuracy = solved.loss, solved.blind, solved.accuracy
    if loss is None:
        return f"{subject} had no turn in the last steps."
    right = "" if accuracy is None else f", with {_percent(accuracy)} of its answers right"
    if accuracy is not None and solved.chance is not None:
        right += f" ({_percent(solved.chance)} by guessing)"
    if blind is None:
        return f"{subject}'s loss is {loss:.3f}{right}; a blind guess has no cost to compare."
    if not round(loss, 3) < round(blind, 3):  # as they are shown
        return (
            f"{subject} is solved no better than by a blind guess: its loss is {loss:.3f} "
            f"where a blind guess costs {blind:.3f}{right}."
        )
    saved = f" ({1 - loss / blind:.0%} less)" if blind > 0 else ""
    return (
        f"{subject} is solved above a blind guess: its loss is {loss:.3f} where a blind "
        f"guess costs {blind:.3f}{saved}{right}."
    )
