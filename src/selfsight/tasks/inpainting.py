"""Inpainting: cut holes into a picture, then paint in what was there.

Hidden:     the colours of the pixels in a hole, which one flat colour replaces.
Predicted:  those colours, by a decoder on the encoder's maps of the rest.
Scored:     error in the hole, over that of the data's mean colour; a blind guess costs 1.

Pathak, Krahenbuhl, Donahue, Darrell, Efros, "Context Encoders: Feature Learning by Inpainting",
CVPR 2016, https://arxiv.org/abs/1604.07379, section 3.

The paper does not scale its error. Here it is divided by the cost of the data's mean colour, which
is measured on some pictures, so that it has the same size on dark and bright, flat and contrasty
pictures, squared or not. The encoder's maps are read by a decoder of ours, not through a layer of
thousands of numbers.

With `overlap`, a rim of visible pixels around the hole is predicted too, with ten times the weight,
so that the painting continues its surroundings. In the paper the rim is the visible edge of the
hidden square; around the hole it is possible for every shape.

With `adversarial`, a critic that sees only the insides of holes learns to tell painted from true
ones, and the decoder learns to deceive it. As in the paper, it does not see the surroundings: the
seam would give everything away. The error is normalised by the rim's weights, so that it keeps its
size, and so is the adversarial loss: the balance between the hole's error and the critic is the
same with a rim as without one.
"""

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.augment.filling import fill_holes
from selfsight.augment.holes import Kind, check_holes, grown, holes_in
from selfsight.augment.views import random_view
from selfsight.data.pictures.batch import Images
from selfsight.draws import Draws
from selfsight.encoders import Encoder, evaluating
from selfsight.layers.critic import Critic, judged
from selfsight.layers.decoder import WIDTH, Decoder
from selfsight.tasks.base import Needs, Score
from selfsight.tasks.cropping import Cropping

RIM = 10.0  # weight of a visible pixel of the rim, where one in the hole has 1
USUAL_MEAN, USUAL_DEVIATION = 0.5, 0.25  # of pictures, until the data has been looked at
LEAST_DEVIATION, LEAST_COST = 1e-3, 1e-6  # for data of but one colour
HOLES = 1000  # drawn to tell what they weigh beside their rims
AT_A_TIME = 100  # pictures of those that are looked at
CRITIC_RATE = 0.1  # of the painter's: the paper's rates are 2e-4 and 2e-3


class Withheld(NamedTuple):
    """What a picture with a hole does not show.

    Attributes:
        truth: (B, C, S, S), the whole picture.
        hole: (B, 1, S, S) float32, 1 in the hole and 0 elsewhere.
        weight: (B, 1, S, S) float32, how much a pixel counts: 1 in the hole, more on the rim.
    """

    truth: Tensor
    hole: Tensor
    weight: Tensor


class Inpainting(Cropping):
    """Predict what holes in a picture hide.

    Args:
        encoder: An `Encoder`, whose layers are read.
        dim: Width of its pooled features, which are not used: the answer is read from its maps.
        size: Side S of the crop that gets the hole, in pixels.
        holes: "centre", "blocks" or "free", see `selfsight.augment.holes`.
        share: Of the crop's area that is hidden, in (0, 1).
        blocks: How many blocks a hole of that kind has, at least 1. In short trainings on CIFAR-10,
            one of a quarter of the area learned more than four of as much together, six of half of
            it, or the central square: far from what is visible, neighbours tell less.
        overlap: Width of the visible rim that is predicted too, in pixels, from 0 for none.
        norm: "l2" or "l1" error. The paper has the first; asked which one features were learned
            with, its author has named either.
        adversarial: Weight of the adversarial loss, in [0, 1); the error gets the rest. 0 leaves
            the critic out, as the paper does to learn features; it has 0.001 to paint.
        least_scale: Least share of the picture's area that a crop keeps, in (0, 1]. In one
            such training, 0.4 learned more than 0.2.
        stride: Pixels a step of the decoder's grid, at least 1; layers finer than it are not read.
        width: Channels of the decoder, at least 1.
    """

    needs = Needs(batch=Images, least_side=16)
    mean: Tensor
    deviation: Tensor
    cost: Tensor
    fill: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        *,
        size: int,
        holes: Kind = "blocks",
        share: float = 0.25,
        blocks: int = 1,
        overlap: int = 0,
        norm: Literal["l2", "l1"] = "l2",
        adversarial: float = 0.0,
        least_scale: float = 0.4,
        stride: int = 4,
        width: int = WIDTH,
    ) -> None:
        _check(encoder, norm, overlap, adversarial, stride)
        check_holes(holes, share, blocks)
        super().__init__(encoder, size=size, least_scale=least_scale)
        channels = self.encoder.recipe.channels
        self.holes: Kind = holes
        self.share, self.blocks, self.overlap = share, blocks, overlap
        self.norm = norm
        self.adversarial = adversarial
        self.decoder = Decoder(self.encoder, channels * stride**2, stride=stride, width=width)
        self.critic = Critic(channels, size) if adversarial else None
        self.register_buffer("mean", torch.full((channels, 1, 1), USUAL_MEAN))
        self.register_buffer("deviation", torch.full((channels, 1, 1), USUAL_DEVIATION))
        # The mean distance from the mean, of a normal distribution, is sqrt(2 / pi) deviations.
        distance = USUAL_DEVIATION * math.sqrt(2 / math.pi)
        usual = USUAL_DEVIATION**2 if norm == "l2" else distance
        self.register_buffer("cost", torch.tensor(usual))
        # What the network is fed of it is 0, as if nothing were there.
        fill = torch.tensor(self.encoder.recipe.mean)[:, None, None]
        self.register_buffer("fill", fill, persistent=False)

    @property
    def blind(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride] -- holes are drawn for it
        """Cost of the mean colour and of an undecided critic.

        With a rim and a critic, the weight of holes is averaged over holes drawn for this purpose.
        """
        if not self.adversarial:
            return 1.0
        share = 1.0
        if self.overlap:
            hole, weight = self._holes(Images.of(torch.zeros(HOLES, 1, 1, 1)))
            share = float(_hidden_share(hole, weight).mean())
        return 1.0 - self.adversarial + (1 + self.adversarial * share) * math.log(2)

    @torch.no_grad()
    def look_at(self, batch: Images) -> None:
        """Measure on some pictures the mean and the spread of the colours that holes hide.

        Holes seldom reach a picture's border, where more pictures are all white or all black, so
        the colours of whole pictures would spread more.
        """
        count = len(batch.images)
        mean = torch.zeros_like(self.mean)
        for share, hidden in self._in_parts(batch):
            mean += share / count * _over(hidden.truth, hidden.hole)[:, None, None]
        squared, absolute = torch.zeros(2, len(mean), device=mean.device)
        for share, hidden in self._in_parts(batch):  # again: all crops at once may fill the memory
            error = hidden.truth - mean
            squared += share / count * _over(error.square(), hidden.hole)
            absolute += share / count * _over(error.abs(), hidden.hole)
        cost = squared if self.norm == "l2" else absolute
        self.mean.copy_(mean)
        self.deviation.copy_(squared.sqrt().clamp(min=LEAST_DEVIATION)[:, None, None])
        self.cost.copy_(cost.mean().clamp(min=LEAST_COST))

    def _in_parts(self, batch: Images) -> Iterator[tuple[int, Withheld]]:
        """Cut holes into pictures, some at a time: -> how many, and what is hidden of them."""
        for rows in torch.arange(len(batch.images)).split(AT_A_TIME):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            draws = Draws(batch.draws.seed, batch.draws.epoch, batch.draws.index[part])
            few = Images(batch.images[part], batch.extent[part], batch.index[part], draws)
            yield len(rows), self.hide(few)[1]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Train the critic at a lower rate than the decoder."""
        if self.critic is None:
            return []
        return [{"params": list(self.critic.parameters()), "rate": CRITIC_RATE}]

    def hide(self, batch: Images) -> tuple[Tensor, Withheld]:
        """Crop, then cut a hole: -> pictures (B, C, S, S), what they do not show."""
        crops = random_view(batch, self.size, scale=(self.least_scale, 1.0))
        hole, weight = self._holes(batch)
        # At weight 1 `lerp` gives its end exactly: nothing of what is hidden is left.
        return torch.lerp(crops, self.fill, hole), Withheld(crops, hole, weight)

    def _holes(self, batch: Images) -> tuple[Tensor, Tensor]:
        """Draw holes, and how much pixels count: each (B, 1, S, S) float32."""
        mask = holes_in(batch, self.size, kind=self.holes, share=self.share, blocks=self.blocks)
        hole = mask.float()
        if not self.overlap:
            return hole, hole
        return hole, hole + RIM * (grown(mask, self.overlap).float() - hole)

    def predict(self, pictures: Tensor) -> Tensor:
        """Paint whole pictures from what is visible: (B, C, S, S) -> (B, C, S, S)."""
        size = pictures.shape[-1]
        answer = self.decoder(self.encoder.layers(pictures), size)
        answer = F.pixel_shuffle(answer.float(), self.decoder.stride)[..., :size, :size]
        return self.mean + self.deviation * answer  # an answer of 0 is the mean colour

    def score(self, predicted: Tensor, withheld: Withheld) -> Score:
        """Compare what was painted with what was hidden, a sample at a time.

        Metrics are the mean absolute error in the hole, in [0, 1]; the ratio of signal to noise
        there, `psnr`, in decibels; with a critic also the share of holes it tells rightly, which is
        0.5 when it cannot.
        """
        error = predicted.float() - withheld.truth
        squared, absolute = (e.mean(dim=1, keepdim=True) for e in (error.square(), error.abs()))
        cost = squared if self.norm == "l2" else absolute
        loss = _over(cost, withheld.weight).mean() / self.cost
        noise = _over(squared.detach(), withheld.hole).mean().clamp(min=LEAST_COST)
        metrics = {
            "error": _over(absolute.detach(), withheld.hole).mean(),
            "psnr": -10 * noise.log10(),
        }
        if self.critic is not None:
            # Outside the hole both show the mean colour: the critic sees the insides alone.
            real = withheld.hole * (withheld.truth - self.mean) / self.deviation
            made = withheld.hole * (predicted.float() - self.mean) / self.deviation
            share = _hidden_share(withheld.hole, withheld.weight)
            said = judged(self.critic, real, made, weight=share)
            loss = (1 - self.adversarial) * loss + self.adversarial * said.maker + said.critic
            metrics["critic"] = said.accuracy
        return Score(loss, metrics)

    def forward(self, batch: Images) -> Score:
        pictures, withheld = self.hide(batch)
        return self.score(self.predict(pictures), withheld)

    @torch.inference_mode()
    def filled(self, pictures: Tensor, hole: Tensor) -> Tensor:
        """Paint the holes of pictures at their own size, with every network in evaluation mode.

        Args:
            pictures: (B, C, H, W) float32 in [0, 1], with anything in their holes.
            hole: (B, 1, H, W) bool, True where to paint. Holes that lie apart are painted each by
                itself.

        Returns:
            (B, C, H, W) float32 in [0, 1]; pixels outside the holes are those given, bit by bit.

        Raises:
            ValueError: If there is not one mask for each picture, of its size.
        """
        count, _, height, width = pictures.shape
        if hole.dtype != torch.bool or hole.shape != (count, 1, height, width):
            wanted = (count, 1, height, width)
            raise ValueError(
                f"holes must be bool of shape {wanted}, got {hole.dtype} of {tuple(hole.shape)}"
            )
        with evaluating(self):
            result = [
                fill_holes(
                    picture,
                    mask[0],
                    self.predict,
                    size=self.size,
                    share=self.share,
                    color=self.fill,
                )
                for picture, mask in zip(pictures, hole, strict=True)
            ]
        return torch.stack(result)


def _hidden_share(hole: Tensor, weight: Tensor) -> Tensor:
    """Give the share of the weights (B, 1, S, S) inside the holes: -> (B,), 1 without a rim."""
    return hole.sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3))


def _over(values: Tensor, weight: Tensor) -> Tensor:
    """Average (B, C, S, S) by weight within each sample, then over the samples: -> (C,)."""
    return ((values * weight).sum(dim=(2, 3)) / weight.sum(dim=(2, 3))).mean(dim=0)


def _check(
    encoder: nn.Module,
    norm: str,
    overlap: int,
    adversarial: float,
    stride: int,
) -> None:
    """Refuse what the task cannot use; written so that NaN is refused too."""
    if not isinstance(encoder, Encoder):
        kind = type(encoder).__name__
        raise TypeError(f"inpainting needs an Encoder with named layers, got {kind}")
    if norm not in ("l2", "l1"):
        raise ValueError(f"norm must be 'l2' or 'l1', got {norm!r}")
    if overlap < 0:
        raise ValueError(f"overlap must be at least 0 pixels, got {overlap}")
    if not 0 <= adversarial < 1:
        raise ValueError(f"adversarial must be at least 0 and below 1, got {adversarial}")
    if stride < 1:
        raise ValueError(f"stride must be at least 1 pixel, got {stride}")
