"""Colour bins: a and b of CIELAB as classes, so that two likely colours need not become their mean.

A colour is spread over its nearest bins by a Gaussian of their distances. Most of a picture is
nearly grey, so pixels are weighted by the rarity of their colour; an answer is decoded as the mean
of a sharpened distribution. Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016,
https://arxiv.org/abs/1603.08511, sections 2.1 to 2.3.

Bins are the squares, STEP wide, that contain some colour of sRGB: 261, which cover all 8-bit
colours. The paper keeps 313 as in gamut, some of which no screen can show.

Colours lie along the last dimension here: (..., 2) a and b, (..., Q) bins.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.encoders.cielab import lab

STEP = 10.0  # distance between neighbouring bins, in a and b
SPREAD = 5.0  # standard deviation of the Gaussian that spreads a colour over bins
REACH = 110  # largest |a| or |b| that a screen shows
SIDE = 2 * REACH + 1  # whole numbers from -REACH to REACH
LEAST_TEMPERATURE = 1e-3  # in place of 0: below it, logits would overflow
UNSEEN = 0.01  # share of the first guess reserved for colours that were not seen


@functools.cache
def bins_on_screen() -> Tensor:
    """Find the bins that contain some colour of a screen: -> (Q, 2) their centres."""
    levels = torch.arange(0, 256, 3, dtype=torch.float64, device="cpu") / 255
    face = torch.cartesian_prod(levels, levels)  # (n, 2)
    # Colours of equal a and b lie on a line, which leaves the colour cube through its faces. So
    # the faces contain every a and b that exists.
    faces = [
        torch.cat([face[:, :k], torch.full_like(face[:, :1], end), face[:, k:]], dim=1)
        for k in range(3)
        for end in (0.0, 1.0)
    ]
    ab = lab(torch.cat(faces).T[None, :, :, None])[0, 1:, :, 0].T
    return (ab / STEP).round().long().unique(dim=0) * STEP


@functools.cache
def spread_of_colours(count: int) -> tuple[Tensor, Tensor]:
    """Spread every whole a and b over its nearest bins.

    Returns:
        Numbers of the bins, nearest first, and their shares, which sum to 1; each (SIDE^2, count).
    """
    axis = torch.arange(-REACH, REACH + 1, dtype=torch.float32, device="cpu")
    distances = torch.cdist(torch.cartesian_prod(axis, axis), bins_on_screen())
    nearest, numbers = distances.topk(count, largest=False)
    return numbers, (nearest.square() / (-2 * SPREAD**2)).softmax(dim=-1)


class ColorBins(nn.Module):
    """Colours as classes: soft targets, weights by rarity, and decoding back to a and b.

    Args:
        neighbours: Bins that a colour is spread over, from 1 to Q.
        rebalanced: How much more rare colours weigh, at least 0 and below 1. A pixel's weight is
            the inverse of a mixture: this share of the prior, the rest equal probabilities. 0 sets
            all weights to 1. The paper's lambda is 1 - rebalanced.
        temperature: Of decoding, at least `LEAST_TEMPERATURE`, which practically gives the mode of
            the distribution; 1 gives its mean.

    Attributes:
        channels: Number of bins Q.
        blind: Cost of the best constant guess, in nats.

    Raises:
        ValueError: If an argument is outside its range.
    """

    def __init__(
        self, *, neighbours: int = 5, rebalanced: float = 0.5, temperature: float = 0.38
    ) -> None:
        super().__init__()
        middles = bins_on_screen().clone()
        self.channels = len(middles)
        if not 1 <= neighbours <= self.channels:
            raise ValueError(f"neighbours must be from 1 to {self.channels}, got {neighbours}")
        if not 0 <= rebalanced < 1:
            raise ValueError(f"rebalanced must be at least 0 and below 1, got {rebalanced}")
        _check_temperature(temperature)
        self.rebalanced = rebalanced
        self.temperature = temperature
        self.middles: Tensor
        self.register_buffer("middles", middles, persistent=False)
        numbers, shares = spread_of_colours(neighbours)
        self.numbers: Tensor
        self.register_buffer("numbers", numbers.clone(), persistent=False)
        self.shares: Tensor
        self.register_buffer("shares", shares.clone(), persistent=False)
        self.weights: Tensor
        self.register_buffer("weights", torch.ones(self.channels))
        self.guess: Tensor
        self.register_buffer("guess", torch.full((self.channels,), 1 / self.channels))
        self.cost: Tensor
        self.register_buffer("cost", torch.tensor(math.log(self.channels)))

    @property
    def blind(self) -> float:
        """Cost of the best constant guess, in nats; log Q until `look_at` has seen colours."""
        return self.cost.item()

    def rows(self, ab: Tensor) -> Tensor:
        """Find the table rows of colours (..., 2), rounded to whole a and b: -> (...)."""
        whole = (ab + REACH).clamp(0, 2 * REACH).round()
        return (whole[..., 0] * SIDE + whole[..., 1]).long()

    @torch.no_grad()
    def look_at(self, ab: Tensor) -> Tensor:
        """Count colours (n, 2), weight them by their rarity, and find the best constant guess.

        The prior is smooth because every colour is spread over several bins. With weights w that
        average 1, r = mean of w times the spread colour is a distribution. Guessing z everywhere
        costs -sum r log z, and r itself is the best guess; a small share of the guess goes to
        colours that were not seen.

        Returns:
            (Q,) logits of that guess, for the bias of the predicting layer.
        """
        rows = self.rows(ab)
        numbers, shares = self.numbers[rows], self.shares[rows]  # (n, K)
        nearest = numbers[:, 0]
        prior = self._counted(numbers, shares)
        weights = 1 / (self.rebalanced * prior + (1 - self.rebalanced) / self.channels)
        self.weights.copy_(weights / weights[nearest].mean())
        drawn = self._counted(numbers, shares * self.weights[nearest, None])
        self.guess.copy_((1 - UNSEEN) * drawn + UNSEEN / self.channels)
        self.cost.copy_(-(drawn * self.guess.log()).sum())
        return self.guess.log()

    def costs(self, logits: Tensor, ab: Tensor) -> Tensor:
        """Compare logits (..., Q) with colours (..., 2): -> (...) weighted cross-entropy, nats."""
        rows = self.rows(ab)
        numbers = F.embedding(rows, self.numbers)  # (..., K)
        found = logits.float().log_softmax(dim=-1).gather(-1, numbers)
        missed = -(F.embedding(rows, self.shares) * found).sum(dim=-1)
        return self.weights[numbers[..., 0]] * missed

    def rarity(self, ab: Tensor) -> Tensor:
        """Give the weights of colours (..., 2) by their rarity: -> (...), 1 on average."""
        return self.weights[self.numbers[self.rows(ab), 0]]

    def decoded(self, logits: Tensor, temperature: float | None = None) -> Tensor:
        """Decode logits by the annealed mean: (..., Q) -> (..., 2) a and b.

        Raises:
            ValueError: If the temperature is below `LEAST_TEMPERATURE`.
        """
        temperature = self.temperature if temperature is None else temperature
        _check_temperature(temperature)
        with torch.autocast(logits.device.type, enabled=False):
            return (logits.float() / temperature).softmax(dim=-1) @ self.middles

    def _counted(self, numbers: Tensor, shares: Tensor) -> Tensor:
        """Average shares (n, K) of bins over n colours: -> (Q,)."""
        counted = torch.zeros(self.channels, device=shares.device)
        return counted.index_add_(0, numbers.flatten(), shares.flatten()) / len(shares)


def _check_temperature(temperature: float) -> None:
    """Refuse a temperature too small to divide by; written so that NaN is refused too."""
    if not LEAST_TEMPERATURE <= temperature < math.inf:
        raise ValueError(f"temperature must be at least {LEAST_TEMPERATURE:g}, got {temperature}")
