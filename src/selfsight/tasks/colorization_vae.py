"""Colorization, several ways: guess what colours a grey picture may have, each way in one piece.

Hidden:     a and b, the two axes of CIELAB that colour a grey picture.
Predicted:  from the lightness alone, a mixture of codes, and colours from lightness and a code.
Scored:     squared error of the colours through their own code, through the closest of the mixture
            and through none, how far the closest is from it, and the code's divergence from a
            normal distribution.

Deshpande, Lu, Yeh, Chong, Forsyth, "Learning Diverse Image Colorization", CVPR 2017,
https://arxiv.org/abs/1612.01958, sections 3 and 4.

A variational autoencoder encodes the field of colours; a mixture density network predicts codes
from the grey picture, and only its closest component is trained towards the code, so that
components may differ. The divergence's weight rises from 0, so that the code is not abandoned
before it becomes useful.

Departures: the paper trains the two networks one after the other, the second on fixed features of
the grey picture from Zhang's colorization. Here everything is trained at once, in such a way that
the encoder has to learn:

- Colours are also predicted without a code, from the zero around which codes are distributed,
  because the code of the true colours says so much that little is left to learn. (Training a
  conditional autoencoder with and without its code is the hybrid objective of Sohn, Lee, Yan,
  "Learning Structured Output Representation using Deep Conditional Generative Models", NeurIPS
  2015, section 4.2.) The colours from the closest component's code are trained as well, since the
  mixture provides the codes in the end.
- The mixture gets no gradient into its target codes, as in the paper, and none into the features it
  reads. Its gradient, towards whichever component was the closest, varied so much that the encoder
  learned less the stronger it was.
- Rare colours weigh no more than others, unless `rebalanced` says so: with such weights the encoder
  learned nothing in the first few hundred steps, and less in the first thousand.

The field is as coarse as colorization's, the loss is a squared error without gradient term or
principal components, and the components are wider.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from selfsight.augment.colorless import (
    STRIDE,
    at_network_size,
    colour_encoder,
    colours_of,
    colours_on_grid,
    has_colour,
    with_lightness,
    without_colour,
)
from selfsight.augment.views import random_view
from selfsight.data.pictures.batch import Images
from selfsight.draws import Draws
from selfsight.encoders import evaluating
from selfsight.encoders.cielab import lightness
from selfsight.layers.color_bins import ColorBins
from selfsight.layers.color_codes import Coder, Painter, closest_cost
from selfsight.layers.color_codes import divergence as divergence_of
from selfsight.layers.color_scale import ColorScale
from selfsight.layers.decoder import WIDTH, Decoder
from selfsight.tasks.base import Needs, Score
from selfsight.tasks.cropping import Cropping

RATE = 0.1  # of the networks without batch normalisation, over the plan's: they bear less
RAMP = 0.5  # share of the training in which the divergence's weight rises
MIXED = 0.1  # weight of a nat of the mixture, which its own network alone feels
HIDDEN = 256  # features that the mixture is read from
MEASURED = 4  # pictures of a batch that are coloured several ways for the metrics
WAYS = 8


class Withheld(NamedTuple):
    """What the grey pictures do not show: a and b (B, 2, s, s), and noise (B, Z) for the codes."""

    ab: Tensor
    noise: Tensor


class Guess(NamedTuple):
    """What is predicted from greys alone.

    Attributes:
        features: (B, W, s, s) that colours are read from once a code is added.
        likely: (B, M) logits of the mixture's components.
        means: (B, M, Z) their codes.
    """

    features: Tensor
    likely: Tensor
    means: Tensor


class ColorizationVAE(Cropping):
    """Predict several ways in which a picture may be coloured.

    Args:
        encoder: An `Encoder` of 3 channels, whose layers are read; it is fed lightness alone.
        dim: Width of its pooled features, which are not used: its maps are read.
        size: Side S of the crop that is coloured, in pixels.
        latent: Numbers Z of a code, at least 1.
        components: Codes M that are guessed for a picture, at least 1.
        deviation: Standard deviation of every component, above 0. Useful codes are about 1 apart.
        divergence: Final weight of a nat of divergence, at least 0. The squared error is in units
            of the colours' variance.
        rebalanced: How much more rare colours weigh, at least 0 (all pixels weigh the same) and
            below 1. In the paper they weigh more: colours are more saturated then, and less is
            learned.
        least_scale: Least share of the picture's area that a crop keeps, in (0, 1].
        width: Channels of the decoder and of the network that codes colours, at least 2.
    """

    needs = Needs(batch=Images, least_side=16)
    blind = None  # its loss has parts that no constant guess gives a meaning to

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        *,
        size: int,
        latent: int = 32,
        components: int = 8,
        deviation: float = 0.5,
        divergence: float = 0.01,
        rebalanced: float = 0.0,
        least_scale: float = 0.5,
        width: int = WIDTH,
    ) -> None:
        _check(latent, components, deviation, divergence)
        fed = colour_encoder(encoder, "colorization-vae")
        super().__init__(fed, size=size, least_scale=least_scale)
        self.bins = ColorBins(rebalanced=rebalanced)
        self.scale = ColorScale()
        self.decoder = Decoder(self.encoder, 2, stride=STRIDE, width=width)
        self.coder = Coder(latent, width)
        self.painter = Painter(latent, width)
        self.last = self.encoder.layer_names[-1]
        self.hidden = nn.Sequential(
            nn.Conv2d(self.encoder.layer_channels[self.last], HIDDEN, 1, bias=False),
            nn.BatchNorm2d(HIDDEN),
            nn.ReLU(inplace=True),
        )
        self.mixture = nn.Linear(HIDDEN, components * (1 + latent))
        self.latent, self.components = latent, components
        self.deviation, self.divergence = deviation, divergence
        self.share: Tensor  # of the data's pictures that have colour
        self.register_buffer("share", torch.ones(()))
        self.risen: Tensor  # the divergence's weight at this step
        self.register_buffer("risen", torch.tensor(divergence), persistent=False)

    @torch.no_grad()
    def look_at(self, batch: Images) -> None:
        """Count the colours of the data, for their weights and their scale.

        Raises:
            UsageError: If no picture has any colour.
        """
        ab, share = colours_of(batch, self.size, "colorization-vae")
        self.share.copy_(share)
        self.bins.look_at(ab)
        self.scale.look_at(ab)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Train the parts without batch normalisation at a lower rate."""
        parts = (self.coder.code, self.painter, self.decoder.answer, self.mixture)
        return [{"params": [p for part in parts for p in part.parameters()], "rate": RATE}]

    def before_step(self, step: int, steps: int) -> None:
        """Raise the divergence's weight over the first half of the training."""
        self.risen.fill_(self.divergence * min(1.0, step / (RAMP * steps)))

    def hide(self, batch: Images) -> tuple[Tensor, Withheld]:
        """Crop, then take the colours: -> greys (B, 3, S, S), and what they do not show."""
        crops = random_view(batch, self.size, scale=(self.least_scale, 1.0))
        noise = batch.draws.normal("colorization-vae/code", self.latent)
        return without_colour(crops), Withheld(colours_on_grid(crops), noise)

    def predict(self, greys: Tensor) -> Guess:
        """Guess from lightness alone: (B, 3, h, w) -> features, and a mixture of codes."""
        maps = self.encoder.layers(greys)
        height, width = greys.shape[-2:]
        # The encoder does not move for the mixture.
        mixture = self.mixture(self.hidden(maps[self.last].detach()).mean(dim=(2, 3)))
        mixture = mixture.unflatten(1, (self.components, 1 + self.latent))
        features = self.decoder.features(maps, (height, width))
        return Guess(features, mixture[..., 0], mixture[..., 1:])

    def score(self, guess: Guess, withheld: Withheld) -> Score:
        """Compare with the colours; metrics are of the batch's first pictures, in units of a and b.

        `own_error` is the mean distance of the colours through their own code from the true ones;
        `best_of` that of the best of several ways without it, `variance` what these differ by.
        """
        field = withheld.ab.permute(0, 2, 3, 1)
        mean, log_variance = self.coder(self.scale.scaled(field).permute(0, 3, 1, 2))
        code = mean + (log_variance / 2).exp() * withheld.noise
        apart, closest = closest_cost(mean.detach(), guess.likely, guess.means, self.deviation)
        fields = [
            self._painted(guess.features, one).permute(0, 2, 3, 1)
            for one in (code, closest, torch.zeros_like(code))
        ]
        errors = torch.stack([self.scale.costs(one, field) for one in fields]).sum(dim=0)
        errors = (self.bins.rarity(field) * errors).mean(dim=(1, 2))
        costs = errors + MIXED * apart + self.risen * divergence_of(mean, log_variance)
        loss = (costs * has_colour(withheld.ab)).mean() / self.share
        return Score(loss, self._measured(guess, withheld.ab, fields[0].detach()))

    def forward(self, batch: Images) -> Score:
        greys, withheld = self.hide(batch)
        return self.score(self.predict(greys), withheld)

    @torch.inference_mode()
    def ways(self, pictures: Tensor, count: int, *, seed: int = 0) -> Tensor:
        """Colour pictures of any size in several ways, with every network in evaluation mode.

        The mixture's components come first, the most probable before the others; what is asked
        beyond them is drawn from the mixture.

        Args:
            pictures: (B, 3 or 1, H, W) sRGB in [0, 1]; what colours they have is not looked at.
            count: Ways, at least 1.
            seed: Of what is drawn.

        Returns:
            (B, count, 3, H, W) sRGB in [0, 1].
        """
        seen = at_network_size(without_colour(pictures), self.encoder, self.size)
        draws = Draws(seed, 0, torch.arange(len(pictures), device=pictures.device))
        with evaluating(self):
            guess = self.predict(seen)
            found = self._ways(guess, self._codes(guess, count, draws))  # (B, count, 2, s, s)
        levels = lightness(pictures).repeat_interleave(count, dim=0)
        return with_lightness(found.flatten(0, 1), levels).unflatten(0, (-1, count))

    @torch.inference_mode()
    def diversity(self, batch: Images, count: int = WAYS) -> dict[str, float]:
        """Measure, in evaluation mode, how good and how different several ways to colour are.

        Args:
            batch: Pictures, best held out; they are cropped as in training.
            count: Ways, at least 1.

        Returns:
            In units of a and b: `error`, the mean distance from the true colours of the most
            probable way; `best_of`, of each picture's best way; `variance`, the mean squared
            distance of the ways from their mean.
        """
        greys, withheld = self.hide(batch)
        with evaluating(self):
            guess = self.predict(greys)
            found = self._ways(guess, self._codes(guess, count, batch.draws))
        errors = _errors(found, withheld.ab)
        measured = {
            "error": errors[:, 0].mean(),
            "best_of": errors.amin(dim=1).mean(),
            "variance": _variance(found),
        }
        return {name: value.item() for name, value in measured.items()}

    def _painted(self, features: Tensor, code: Tensor) -> Tensor:
        """Read colours from features and a code: -> (B, 2, s, s), on the scale."""
        return self.decoder.answer(self.painter(features, code)).float()

    def _codes(self, guess: Guess, count: int, draws: Draws) -> Tensor:
        """Choose codes of the mixture: -> (B, count, Z)."""
        means = guess.means.float()
        order = guess.likely.argsort(dim=1, descending=True)
        ranked = means.gather(1, order[..., None].expand_as(means))
        more = count - self.components
        if more <= 0:
            return ranked[:, :count]
        reached = guess.likely.float().softmax(dim=1).cumsum(dim=1)[:, None]  # (B, 1, M)
        drawn = draws.uniform("ways/component", more)[..., None]
        chosen = (drawn > reached).sum(dim=2).clamp(max=self.components - 1)
        noise = draws.normal("ways/code", more * self.latent).unflatten(1, (more, -1))
        middles = means.gather(1, chosen[..., None].expand(-1, -1, self.latent))
        return torch.cat([ranked, middles + self.deviation * noise], dim=1)

    def _ways(self, guess: Guess, codes: Tensor) -> Tensor:
        """Paint with every code (B, k, Z): -> a and b (B, k, 2, s, s)."""
        count = codes.shape[1]
        features = guess.features.repeat_interleave(count, dim=0)
        painted = self._painted(features, codes.flatten(0, 1)).permute(0, 2, 3, 1)
        return self.scale.decoded(painted).permute(0, 3, 1, 2).unflatten(0, (-1, count))

    @torch.no_grad()
    def _measured(self, guess: Guess, ab: Tensor, painted: Tensor) -> dict[str, Tensor]:
        """Colour the first pictures several ways, by the components alone."""
        few = Guess(*(part[:MEASURED].detach() for part in guess))
        found = self._ways(few, few.means[:, :WAYS].float())
        through = self.scale.decoded(painted[:MEASURED]).permute(0, 3, 1, 2)
        return {
            "own_error": _errors(through[:, None], ab[:MEASURED]).mean(),
            "best_of": _errors(found, ab[:MEASURED]).amin(dim=1).mean(),
            "variance": _variance(found),
        }


def _errors(ways: Tensor, ab: Tensor) -> Tensor:
    """Give mean distances of fields (B, k, 2, s, s) from the true ones (B, 2, s, s): -> (B, k)."""
    return (ways - ab[:, None]).norm(dim=2).mean(dim=(2, 3))


def _variance(ways: Tensor) -> Tensor:
    """Give the mean squared distance of k fields (B, k, 2, s, s) from their mean."""
    return (ways - ways.mean(dim=1, keepdim=True)).square().sum(dim=2).mean()


def _check(latent: int, components: int, deviation: float, divergence: float) -> None:
    """Refuse settings outside their ranges; written so that NaN is refused too."""
    if latent < 1:
        raise ValueError(f"latent must be at least 1, got {latent}")
    if components < 1:
        raise ValueError(f"components must be at least 1, got {components}")
    if not 0 < deviation < math.inf:
        raise ValueError(f"deviation must be above 0, got {deviation}")
    if not 0 <= divergence < math.inf:
        raise ValueError(f"divergence must be at least 0, got {divergence}")
