"""Intervals: 95 % intervals of an accuracy, and of a gain over untrained networks.

What varies. A gain is the trained network's accuracy minus the mean accuracy of I untrained
networks, each at its own best layer. It would be different with other test pictures; with other
initial weights, of the trained network and of the untrained ones; and with other draws of labels.

*Test pictures.* Networks are compared picture by picture: d_t, in [-1, 1], is the share of the
trained network's draws that are right on picture t, minus that of the untrained networks. How hard
a picture is for all of them cancels. The mean of d has the variance var(d) / T. With few pictures
the estimate var(d) is often 0 where the true variance is not. So two pictures are added, one that
only the trained network gets right and one that only the trained network gets wrong:

    centre = sum d / (T + 2),    P = ((sum d^2 + 2) / (T + 2) - centre^2) / (T + 2).

For one draw and one untrained network this is the interval of Bonett, Price, "Adjusted Wald
Confidence Interval for a Difference of Binomial Proportions Based on Paired Data", Journal of
Educational and Behavioral Statistics 2012, https://doi.org/10.3102/1076998611411915. It reports
`learning` without a gain in at most 2.1 % of cases, by enumeration of all cases of up to 30
pictures in which the two networks disagree on at most half of the pictures. Means over draws and
networks differ by less than 1 on a picture, so two added pictures of less weight would detect more
gains on 5 and 10 pictures. But where accuracies are near 90 % such differences are skewed, and the
smaller weights that were tried reported `learning` falsely in 3 to 5 % of cases on 30 pictures.

*Initial weights and draws.* If the trained network were just another untrained one, its accuracy
would differ from theirs as much as theirs differ from each other. Their standard deviation s is
therefore what the trained network may owe to its initial weights; the difference from a mean of I
networks has the variance s^2 (1 + 1/I). All networks get the same draws of labels, so what a draw
does to all of them cancels, and what it does to single networks is part of s. It is not assumed
that a network with good initial weights is still ahead after training: an untrained network in the
place of the trained one must not be called learning, and in measurements training kept little of
the initial advantage (`benchmarks/starts.py cifar10 --seeds 6 --trained 8000`: the correlation of
accuracies before and after was 0.30 by the linear probe and -0.16 by k-NN).

s is estimated from only I networks, and each accuracy also varies with the test pictures, by the
variance N = residual variance of the table of networks and pictures, over T. The variance v of the
networks' accuracies, with f = I - 1 degrees of freedom, is (s^2 + N) times a chi-squared number
over f, so that

    likelihood(s) = (s^2 + N)^(-f/2) exp(-f v / (2 (s^2 + N))).

The prior is uniform: every s from 0 to `SPREAD_LIMIT` is equally likely, as Gelman advises for few
groups: "Prior distributions for variance parameters in hierarchical models", Bayesian Analysis
2006, https://doi.org/10.1214/06-BA117A. The gain then has a mixture of normal distributions over s,
weighted by the likelihood, each of variance P + s^2 (1 + 1/I); the interval leaves out 2.5 % of it
on either side. With many networks that is nearly the normal interval for the estimated s; with one
(`--quick`) nothing is known of s, and the interval is as wide as the prior. Classical methods were
tried in the same simulation. With three networks, Student's t needs 4.3 deviations. Adding it to P
(Graybill, Wang; Zou, Donner), Satterthwaite's degrees of freedom, and moderated variances (Smyth
2004) reported 3 to 9 % of untrained networks as learning at some spread from 0 to 2 points. With
three untrained networks no method has both few false alarms and a good chance to detect gains, so
there are eight.

`SPREAD_LIMIT` is a share of sqrt(p (1 - p)), the deviation of one answer at accuracy p: near 100 %
accuracies have less room to differ. Of the limits that were tried it is the smallest that keeps
false alarms near 2.5 % for every spread up to 2 points, with one untrained network and with eight
(`benchmarks/coverage.py`); six small untrained encoders had a spread of 1.0 points on cifar10 by
the linear probe and 0.9 by k-NN (`benchmarks/starts.py`).

*Folds.* Where every picture is tested once, by a probe fitted on the other folds, the probes share
most of their training pictures, so the plain variance of the mean is too small; no estimate of it
is unbiased (Bengio, Grandvalet, "No Unbiased Estimator of the Variance of K-Fold Cross-Validation",
JMLR 2004, https://www.jmlr.org/papers/v5/grandvalet04a.html). P and N are multiplied by `OVERLAP`;
simulated ratios were 1.0 to 1.6 for five folds, the largest with 50 pictures
(`benchmarks/coverage.py folds`). Nadeau, Bengio, "Inference for the Generalization Error", Machine
Learning 2003, https://doi.org/10.1023/A:1024068626366, would take 1 + 5/4.

*A single accuracy* has Wilson's interval (JASA 1927,
https://doi.org/10.1080/01621459.1927.10502953) with an effective number of pictures, n = p (1 - p)
/ variance (Kish's effective sample size, as in Korn, Graubard, Survey Methodology 1998, 24(2)). The
variance is that over pictures and over draws.

Legend: R draws, I untrained networks, T test pictures.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

TAIL = 0.025  # on either side
Z = 1.959964  # leaves TAIL of a normal distribution above it
SPREAD_LIMIT = 0.08  # of sqrt(p (1 - p)): 4 points at an accuracy of 50 %
SPREADS = 100  # steps of the grid over spreads
OVERLAP = 1.5  # variance of a mean over folds beside that of independent pictures
ROUNDING = 1e-9  # differences of shares up to it are none
HALVINGS = 40  # of the bracket about a margin: to 1e-12 of it


@dataclass(frozen=True)
class Gain:
    """A gain in accuracy, and what makes it uncertain.

    Attributes:
        value: The gain itself.
        low: Lower end of its 95 % interval.
        high: Upper end of it.
        pictures: Half width of the interval if only the test pictures varied.
        starts: Half width if only the initial weights varied, as far as their effect is known.
        labels: The part of that which is due to the draws of labels; 0 with one draw.
        won: Share of the pictures that the trained network is right on more often.
        lost: Share of the pictures that the untrained networks are right on more often.
    """

    value: float
    low: float
    high: float
    pictures: float
    starts: float
    labels: float
    won: float
    lost: float

    @classmethod
    def of(cls, trained: Tensor, untrained: Tensor, *, folded: bool = False) -> "Gain":
        """Compare networks picture by picture.

        Args:
            trained: (R, T) whether each answer is right, as 0 or 1.
            untrained: (I, R, T) the same of each untrained network.
            folded: Whether the pictures were tested in folds.
        """
        difference = trained.double().mean(dim=0) - untrained.double().mean(dim=(0, 1))
        found = gains(trained[None], untrained[None], folded=folded)
        return cls(
            *(float(of[0]) for of in found),
            won=float((difference > ROUNDING).double().mean()),
            lost=float((difference < -ROUNDING).double().mean()),
        )


class Gains(NamedTuple):
    """Many gains at once, (B,) each; see `Gain`."""

    value: Tensor
    low: Tensor
    high: Tensor
    pictures: Tensor
    starts: Tensor
    labels: Tensor


def gains(trained: Tensor, untrained: Tensor, *, folded: bool = False) -> Gains:
    """Compare networks in B experiments: (B, R, T), (B, I, R, T) -> the gain of each."""
    trained, untrained = trained.double(), untrained.double()
    overlap = OVERLAP if folded else 1.0
    starts = untrained.shape[1]
    by_draw = trained - untrained.mean(dim=1)  # (B, R, T)
    difference = by_draw.mean(dim=1)  # (B, T)
    centre, variance = _of_pictures(difference)
    variance = overlap * variance
    variances, weights = _spreads(untrained.mean(dim=2), _unit(trained, untrained), overlap)
    variances = variances * (1 + 1 / starts)
    margin = _margin(variances + variance[:, None], weights)
    return Gains(
        difference.mean(dim=1),
        (centre - margin).clamp(min=-1),
        (centre + margin).clamp(max=1),
        Z * variance.sqrt(),
        _margin(variances, weights),
        Z * _of_draws(by_draw).sqrt(),
    )


def accuracy_interval(right: Tensor) -> tuple[float, float]:
    """Find the 95 % interval of an accuracy: (R, T) whether answers are right -> low, high."""
    right = right.double()
    by_picture, share = right.mean(dim=0), float(right.mean())
    count = len(by_picture)
    variance = float(_of_draws(right[None])[0])
    if count > 1:
        variance += float(by_picture.var()) / count
    return wilson(share, share * (1 - share) / variance if variance > 0 else count)


def wilson(share: float, count: float) -> tuple[float, float]:
    """Compute Wilson's 95 % interval of a share of a number of pictures."""
    weight = 1 + Z**2 / count
    middle = (share + Z**2 / (2 * count)) / weight
    half = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2)) / weight
    return max(0.0, middle - half), min(1.0, middle + half)


def _of_pictures(difference: Tensor) -> tuple[Tensor, Tensor]:
    """Give centre and variance P of the mean of differences (B, T), two pictures added: -> (B,)."""
    count = difference.shape[1] + 2
    centre = difference.sum(dim=1) / count
    square = (difference.square().sum(dim=1) + 2) / count
    return centre, (square - centre.square()) / count


def _residual(values: Tensor) -> Tensor:
    """Give the residual variance of two-way tables (B, M, T), M and T at least 2: -> (B,)."""
    rest = values - values.mean(dim=1, keepdim=True) - values.mean(dim=2, keepdim=True)
    rest = rest + values.mean(dim=(1, 2), keepdim=True)
    return rest.square().sum(dim=(1, 2)) / ((values.shape[1] - 1) * (values.shape[2] - 1))


def _of_draws(values: Tensor) -> Tensor:
    """Give the variance of means of (B, R, T) due to draws beyond that of pictures: -> (B,)."""
    draws, pictures = values.shape[1:]
    if draws == 1 or pictures == 1:
        return torch.zeros(len(values), dtype=values.dtype)
    among = values.mean(dim=2).var(dim=1)
    return (among - _residual(values) / pictures).clamp(min=0) / draws


def _unit(trained: Tensor, untrained: Tensor) -> Tensor:
    """Give the deviation of one answer, sqrt(p (1 - p)), above 0 also where all are right: (B,)."""
    pictures = trained.shape[-1]
    share = (trained.mean(dim=(1, 2)) + untrained.mean(dim=(1, 2, 3))) / 2
    share = (share * pictures + 1) / (pictures + 2)
    return (share * (1 - share)).sqrt()


def _spreads(answers: Tensor, unit: Tensor, overlap: float) -> tuple[Tensor, Tensor]:
    """Weight the possible spreads due to initial weights by their likelihood.

    Args:
        answers: (B, I, T) share of right answers.
        unit: (B,) the deviation of one answer.
        overlap: How much the variance of a mean over pictures exceeds the plain one.

    Returns:
        Variances (B, `SPREADS`), and their weights, which sum to 1.
    """
    networks, pictures = answers.shape[1:]
    steps = (torch.arange(SPREADS, dtype=torch.float64) + 0.5) / SPREADS
    variances = (SPREAD_LIMIT * unit[:, None] * steps).square()
    if networks == 1 or pictures == 1:
        return variances, torch.full_like(variances, 1 / SPREADS)
    freedom = networks - 1
    observed = answers.mean(dim=2).var(dim=1)[:, None]
    whole = variances + (overlap * _residual(answers) / pictures)[:, None]
    return variances, torch.softmax(-freedom / 2 * (whole.log() + observed / whole), dim=1)


def _margin(variances: Tensor, weights: Tensor) -> Tensor:
    """Find the number that a mixture of normal distributions exceeds with probability `TAIL`.

    Args:
        variances: (B, M) above 0.
        weights: (B, M), a row sums to 1.

    Returns:
        (B,), by halving a bracket.
    """
    deviations = variances.sqrt()
    high = 2 * deviations.amax(dim=1)  # a normal one alone would leave TAIL at Z of it
    low = torch.zeros_like(high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        beyond = (weights * torch.special.ndtr(-middle[:, None] / deviations)).sum(dim=1)
        low = torch.where(beyond > TAIL, middle, low)
        high = torch.where(beyond > TAIL, high, middle)
    return high
