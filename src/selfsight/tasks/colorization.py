"""Colorization: take the colours out of a picture, then ask which they were.

Hidden:     a and b, the two axes of CIELAB that colour a grey picture.
Predicted:  a distribution over colour bins at every fourth pixel, from the lightness alone.
Scored:     cross-entropy, rare colours weighing more; a blind guess costs the colours' entropy.

Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016, https://arxiv.org/abs/1603.08511,
section 2.

The truth is the a and b of the picture reduced to the answer's grid. Pictures without colour are
left out of the loss, which is divided by the share of coloured pictures in the data, not in the
batch, so that the loss of two processes is that of one. `objective="regression"` predicts a and b
themselves, as in the paper's comparison: the squared error, over the variance of the data's
colours, is least at the mean of all likely colours, which is close to grey. The network, a decoder
on the maps of several layers, is ours.
"""

from typing import Literal, cast

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
from selfsight.encoders import evaluating
from selfsight.encoders.cielab import lightness
from selfsight.layers.color_bins import ColorBins
from selfsight.layers.color_scale import ColorScale
from selfsight.layers.decoder import WIDTH, Decoder
from selfsight.tasks.base import Needs, Score
from selfsight.tasks.cropping import Cropping

MEASURED = 8  # pictures of a batch whose colours are decoded for the metrics


class Colorization(Cropping):
    """Predict the colours of a picture from its lightness.

    Args:
        encoder: An `Encoder` of 3 channels, whose layers are read; it is fed lightness alone.
        dim: Width of its pooled features, which are not used: the answer is read from its maps.
        size: Side S of the crop that is coloured, in pixels.
        objective: "classes", or "regression" to predict a and b as two numbers.
        neighbours: For classes: bins that a true colour is spread over, at least 1.
        rebalanced: For classes: how much more rare colours weigh, at least 0 (all pixels weigh the
            same) and below 1.
        temperature: For classes: temperature of decoding, at least 0.001. 1 gives the mean of the
            distribution, which is greyish; lower values give more saturated colours.
        least_scale: Least share of the picture's area that a crop keeps, in (0, 1].
        width: Channels of the decoder, at least 1.
    """

    needs = Needs(batch=Images, least_side=16)

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        *,
        size: int,
        objective: Literal["classes", "regression"] = "classes",
        neighbours: int = 5,
        rebalanced: float = 0.5,
        temperature: float = 0.38,
        least_scale: float = 0.5,
        width: int = WIDTH,
    ) -> None:
        if objective not in ("classes", "regression"):
            raise ValueError(f"objective must be 'classes' or 'regression', got {objective!r}")
        fed = colour_encoder(encoder, "colorization")
        super().__init__(fed, size=size, least_scale=least_scale)
        bins = ColorBins(neighbours=neighbours, rebalanced=rebalanced, temperature=temperature)
        self.colors = bins if objective == "classes" else ColorScale()
        self.decoder = Decoder(self.encoder, self.colors.channels, stride=STRIDE, width=width)
        self.share: Tensor  # of the data's pictures that have colour
        self.register_buffer("share", torch.ones(()))

    @property
    def blind(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride] -- it follows the data
        """Cost of the best constant guess on the pictures that `look_at` has seen."""
        return self.colors.blind

    @torch.no_grad()
    def look_at(self, batch: Images) -> None:
        """Count the colours of the data, and begin with the best constant guess.

        Raises:
            UsageError: If no picture has any colour.
        """
        ab, share = colours_of(batch, self.size, "colorization")
        self.share.copy_(share)
        cast(Tensor, self.decoder.answer.bias).copy_(self.colors.look_at(ab))

    def hide(self, batch: Images) -> tuple[Tensor, Tensor]:
        """Crop, then take the colours: -> greys (B, 3, S, S), a and b (B, 2, s, s).

        The grid's side s is S / 4, rounded up.
        """
        crops = random_view(batch, self.size, scale=(self.least_scale, 1.0))
        return without_colour(crops), colours_on_grid(crops)

    def predict(self, greys: Tensor) -> Tensor:
        """Guess colours from lightness: (B, 3, h, w) -> (B, channels, s, s), logits of the bins."""
        height, width = greys.shape[-2:]
        return self.decoder(self.encoder.layers(greys), (height, width))

    def score(self, predicted: Tensor, ab: Tensor) -> Score:
        """Compare the guesses with the colours; metrics are of the batch's first pictures.

        `error` is the mean distance of the decoded from the true colour, in units of a and b;
        `saturation` is the decoded colours' mean distance from grey, over that of the true ones.
        """
        costs = self.colors.costs(predicted.permute(0, 2, 3, 1), ab.permute(0, 2, 3, 1))
        loss = (costs.mean(dim=(1, 2)) * has_colour(ab)).mean() / self.share
        return Score(loss, self._measured(predicted[:MEASURED], ab[:MEASURED]))

    def forward(self, batch: Images) -> Score:
        greys, ab = self.hide(batch)
        return self.score(self.predict(greys), ab)

    @torch.inference_mode()
    def colours(self, pictures: Tensor, *, temperature: float | None = None) -> Tensor:
        """Colour pictures of any size in evaluation mode, keeping their lightness.

        Args:
            pictures: (B, 3 or 1, H, W) sRGB in [0, 1]; their own colours are ignored.
            temperature: Of decoding classes, at least 0.001; None for the task's own.

        Returns:
            (B, 3, H, W) sRGB in [0, 1].

        Raises:
            ValueError: If the temperature is lower.
        """
        seen = at_network_size(without_colour(pictures), self.encoder, self.size)
        with evaluating(self):
            return with_lightness(
                self._decoded(self.predict(seen), temperature), lightness(pictures)
            )

    def _decoded(self, predicted: Tensor, temperature: float | None = None) -> Tensor:
        """Decode answers: (B, channels, s, s) -> a and b (B, 2, s, s)."""
        answer = predicted.permute(0, 2, 3, 1)
        if isinstance(self.colors, ColorBins):
            return self.colors.decoded(answer, temperature).permute(0, 3, 1, 2)
        return self.colors.decoded(answer).permute(0, 3, 1, 2)

    @torch.no_grad()
    def _measured(self, predicted: Tensor, ab: Tensor) -> dict[str, Tensor]:
        decoded = self._decoded(predicted)
        error = (decoded - ab).norm(dim=1).mean()
        saturation = decoded.norm(dim=1).mean() / ab.norm(dim=1).mean().clamp(min=1.0)
        return {"error": error, "saturation": saturation}
