"""Relative position: show two patches of a picture, then ask where the second lies from the first.

Hidden:     on which of eight sides of a patch its neighbour lies: above, right, below, ...
Predicted:  the side, from the features of both patches.
Scored:     cross-entropy over the eight sides; a blind guess costs log 8 = 2.079 nats.

Doersch, Gupta, Efros, "Unsupervised Visual Representation Learning by Context Prediction", ICCV
2015, https://arxiv.org/abs/1505.05192, sections 3 and 4.

Nine patches are cut out of a crop, jittered around the places of a 3 x 3 grid, and encoded once.
Their features form pairs: every patch with each of its neighbours, 40 ordered pairs in a picture.
All pairs go through the same head, so only the patches themselves show their side. Straight sides
have six pairs each, diagonal ones four; pairs are weighted so that each side counts an eighth.

Against shortcuts: the gap between patches, half a patch give or take twice the jitter, which makes
0.35 to 0.65 patches as in the paper (48 pixels, and 7 of jitter, where patches have 96);
standardised patches; no colour along the axis on which lenses spread colours (the paper's
projection; "dropped" is its other cure, a single channel); and some patches are made coarse, so
that how pixelated they are tells nothing. The zeros around every patch that convolutions see are
the same for all of them and say nothing of its place. Pictures are mirrored before they are cut.

We depart from the paper in the head, which is smaller, and in standardising over all channels of a
patch together, within the encoder, so that probes see what was trained. On pictures of 32 px, with
patches of 7, there is little to hold on to.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.augment.shortcut_cures import colors_dropped, resampled
from selfsight.augment.tile_grid import cut_tiles
from selfsight.augment.views import random_view
from selfsight.data.pictures.batch import Images
from selfsight.encoders import Encoder, Feed, fed
from selfsight.tasks.base import Needs, Score
from selfsight.tasks.cropping import Cropping

GRID = 3
GAP, JITTER = 1 / 2, 7 / 96  # of a patch's side: the paper's
PATCHES = GRID * GRID
SIDES = tuple((d, a) for d in (-1, 0, 1) for a in (-1, 0, 1) if (d, a) != (0, 0))
Colours = Literal["projected", "dropped", "lightness", "all"]


def neighbouring_pairs() -> tuple[Tensor, Tensor]:
    """List the ordered pairs of neighbours in the grid: -> patches (Q, 2), sides (Q,), int64.

    Side s of a pair means that the second patch lies SIDES[s] (down, across) of the first.
    """
    pairs: list[tuple[int, int]] = []
    sides: list[int] = []
    for first in range(PATCHES):
        for side, (down, across) in enumerate(SIDES):
            row, column = first // GRID + down, first % GRID + across
            if 0 <= row < GRID and 0 <= column < GRID:
                pairs.append((first, row * GRID + column))
                sides.append(side)
    return torch.tensor(pairs), torch.tensor(sides)


class Layout(NamedTuple):
    """Where patches lie in a crop, all in pixels.

    Attributes:
        side: Of a patch.
        gap: Between neighbours that lie alike in the play that they have.
        play: From a patch's first place to its last, down and across.
    """

    side: int
    gap: int
    play: int


def layout_of(size: int, gap: float, jitter: float) -> Layout:
    """Find the largest patches that fit a crop of a side, with gaps and play in whole pixels.

    Args:
        size: Side S of the crops, in pixels.
        gap: As a share of a patch's side, on the average.
        jitter: Half of the play, likewise.

    Raises:
        ValueError: If a share is outside its range, or not even patches of one pixel fit.

    >>> layout_of(400, GAP, JITTER), layout_of(112, GAP, JITTER)
    (Layout(side=96, gap=48, play=14), Layout(side=26, gap=13, play=4))
    """
    if not 0 <= gap < math.inf:
        raise ValueError(f"gap must be at least 0 and finite, got {gap}")
    if not 0 <= jitter <= gap / 2:
        raise ValueError(f"jitter must be from 0 to half the gap, {gap / 2:g}, got {jitter}")
    for side in range(size // GRID, 0, -1):
        between = math.floor(gap * side + 0.5)
        found = Layout(side, between, min(round(2 * jitter * side), between))
        if GRID * side + (GRID - 1) * found.gap + found.play <= size:
            return found
    raise ValueError(f"crops must have {GRID} pixels or more for {GRID} patches, got {size}")


class RelativePosition(Cropping):
    """Predict on which side of a patch its neighbour lies.

    Args:
        encoder: Maps patches (B, C, p, p) in [0, 1] to features (B, D).
        dim: Width D of those features.
        size: Side S of the crop that patches are cut out of, in pixels.
        gap: Between neighbouring patches, on the average, as a share of a patch's side, at least 0.
            Wider ones hide better how lines go on, and leave smaller patches.
        jitter: How far a patch lies from its place in the grid at most, down and across, as a share
            of its side, from 0 to half the gap.
        colours: What is shown of colours: "projected", without the green-magenta axis; "dropped",
            one random channel and noise for the others; "lightness", of pictures of 1 or 3
            channels; or "all".
        standardised: Whether every patch is brought to mean 0 and deviation 1 over its channels.
        coarse: Share of patches that are shrunk to fewer pixels and enlarged again, in [0, 1].
        least_scale: Least share of the picture's area that a crop keeps, in (0, 1].
        hidden_width: Features of a pair, at least 1.
    """

    needs = Needs(batch=Images, least_side=24, wanted_side=112)  # patches of 5 to 26 px
    pairs: Tensor
    sides: Tensor
    weights: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        *,
        size: int,
        gap: float = GAP,
        jitter: float = JITTER,
        colours: Colours = "projected",
        standardised: bool = True,
        coarse: float = 1 / 3,
        least_scale: float = 0.5,
        hidden_width: int = 256,
    ) -> None:
        _check(colours, coarse, hidden_width)
        _check_channels(encoder, colours)
        shown = "all" if colours == "dropped" else colours  # dropped by draws, in `hide`
        feed = Feed(shown, "picture" if standardised else None)
        super().__init__(fed(encoder, feed), size=size, least_scale=least_scale)
        self.layout = layout_of(size, gap, jitter)
        self.colours, self.coarse = colours, coarse
        pairs, sides = neighbouring_pairs()
        self.register_buffer("pairs", pairs, persistent=False)
        self.register_buffer("sides", sides, persistent=False)
        weights = 1 / (len(SIDES) * sides.bincount()[sides])  # they sum to 1
        self.register_buffer("weights", weights, persistent=False)
        # A linear layer on two patches side by side is a sum of two layers, one for each place:
        # nine patches go through both, not forty pairs through one.
        self.first = nn.Linear(dim, hidden_width, bias=False)
        self.second = nn.Linear(dim, hidden_width, bias=False)
        self.joint = nn.Sequential(
            nn.BatchNorm1d(hidden_width), nn.ReLU(inplace=True), nn.Linear(hidden_width, len(SIDES))
        )
        self.blind = math.log(len(SIDES))
        self.chance = 1 / len(SIDES)

    @classmethod
    def encoder_side(cls, size: int, settings: Mapping[str, Any]) -> int:
        """Tell the side of a patch."""
        return layout_of(size, settings["gap"], settings["jitter"]).side

    def hide(self, batch: Images) -> tuple[Tensor, Tensor]:
        """Crop and cut: -> patches (9 B, C, p, p), sides of their pairs (B, Q)."""
        scale = (self.least_scale, 1.0)
        crops = random_view(batch, self.size, scale=scale, ratio=(1.0, 1.0))
        side, between, play = self.layout
        name = "relative-position/patches"
        patches = cut_tiles(crops, batch, GRID, side, pitch=side + between, play=play, name=name)
        if self.coarse:
            name = "relative-position/coarse"
            patches = resampled(patches, batch, share=self.coarse, name=name)
        if self.colours == "dropped":
            patches = colors_dropped(patches, batch, name="relative-position/colours")
        return patches.flatten(0, 1), self.sides.expand(len(crops), -1)

    def predict(self, patches: Tensor) -> Tensor:
        """Guess the side of every pair: patches (9 B, C, p, p) -> logits (B, Q, 8)."""
        features = self.encoder(patches)
        first = self.first(features).unflatten(0, (-1, PATCHES))  # (B, 9, hidden)
        second = self.second(features).unflatten(0, (-1, PATCHES))
        pairs = first.index_select(1, self.pairs[:, 0]) + second.index_select(1, self.pairs[:, 1])
        return self.joint(pairs.flatten(0, 1)).unflatten(0, (len(pairs), -1))

    def score(self, logits: Tensor, sides: Tensor) -> Score:
        """Compare the guesses with the sides; loss in nats, accuracy in [0, 1].

        Both are means over the eight sides.
        """
        costs = F.cross_entropy(logits.float().flatten(0, 1), sides.flatten(), reduction="none")
        right = (logits.argmax(dim=2) == sides).float()  # (B, Q)
        # No matrix products: autocast would round them.
        loss = (costs.view_as(right).mean(dim=0) * self.weights).sum()
        return Score(loss, {"accuracy": (right.mean(dim=0) * self.weights).sum()})

    def forward(self, batch: Images) -> Score:
        patches, sides = self.hide(batch)
        return self.score(self.predict(patches), sides)


def _check(colours: str, coarse: float, width: int) -> None:
    """Refuse settings outside their ranges; written so that NaN is refused too."""
    if colours not in get_args(Colours):
        raise ValueError(f"colours must be one of {', '.join(get_args(Colours))}, got {colours!r}")
    if not 0 <= coarse <= 1:
        raise ValueError(f"coarse must be a share of the patches, from 0 to 1, got {coarse}")
    if width < 1:
        raise ValueError(f"hidden_width must be at least 1, got {width}")


def _check_channels(encoder: nn.Module, colours: str) -> None:
    """Refuse to look for lightness where there are neither greys nor colours."""
    if colours != "lightness" or not isinstance(encoder, Encoder):
        return
    if encoder.recipe.channels not in (1, 3):
        raise ValueError(
            "relative-position shows lightness of pictures of 1 or 3 channels alone, got "
            f"{encoder.recipe.channels}; choose other colours"
        )
