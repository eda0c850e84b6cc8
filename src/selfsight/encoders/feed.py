"""Feeding: the first step of an encoder, from a picture in [0, 1] to what its network is fed.

A pretext task may hide something of every picture for good: colorization the colours, jigsaw a
tile's brightness and contrast. A network that was trained without it cannot use it later, so the
encoder's recipe says how it is fed, and probes, neighbours and embeddings feed it the same.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.encoders.cielab import lightness
from selfsight.errors import UsageError

Colours = Literal["all", "projected", "lightness", "sobel"]
Over = Literal["channel", "picture"]

GREY_LEVEL = 1 / 255
_HIDING: tuple[Colours, ...] = ("all", "projected", "lightness", "sobel")  # ever more


@dataclass(frozen=True)
class Feed:
    """How pictures are fed to a network.

    Attributes:
        colours: "all"; "projected": without the green-magenta axis, along which lenses spread
            colours; "lightness": CIELAB lightness, the same in every channel; "sobel": gradients of
            the mean of all channels, see `gradients`.
        standardised: Over what each picture, or tile of one, is brought to mean 0 and deviation 1,
            see `standardised`; None for the recipe's mean and deviation instead.
    """

    colours: Colours = "all"
    standardised: Over | None = None

    def __or__(self, other: "Feed") -> "Feed":
        """Hide whatever either hides."""
        hiding = max(_HIDING.index(self.colours), _HIDING.index(other.colours))
        over = {self.standardised, other.standardised}
        joint = "channel" if "channel" in over else self.standardised or other.standardised
        return Feed(_HIDING[hiding], joint)

    def __str__(self) -> str:
        words: dict[Colours, str] = {
            "all": "all colours",
            "projected": "colours without green-magenta",
            "lightness": "lightness alone",
            "sobel": "gradients of grey",
        }
        told = words[self.colours]
        return told if self.standardised is None else f"{told}, standardised by {self.standardised}"

    def __call__(self, pictures: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """Feed pictures (B, C, S, S) in [0, 1]: -> (B, C, S, S), centred and scaled.

        Args:
            pictures: What the network is shown.
            mean: Subtracted from them unless they are standardised by their own.
            deviation: Divides them alike.
        """
        if self.colours == "projected":
            pictures = colors_projected(pictures)
        elif self.colours == "lightness":
            pictures = lightness(pictures).expand_as(pictures)
        elif self.colours == "sobel":
            pictures = gradients(pictures)
        if self.standardised is not None:
            return standardised(pictures, over=self.standardised)
        if self.colours == "sobel":
            return pictures / deviation  # gradients are about 0 as they are
        return (pictures - mean) / deviation


AS_IT_IS = Feed()


class Fed(nn.Module):
    """Any network with a feed before it; an `Encoder` has its own within.

    Args:
        network: Takes what the feed gives.
        feed: What it is fed of pictures (B, C, S, S) in [0, 1].
    """

    def __init__(self, network: nn.Module, feed: Feed) -> None:
        super().__init__()
        self.network = network
        self.feed = feed

    def forward(self, pictures: Tensor) -> Tensor:
        """Encode pictures (B, C, S, S) in [0, 1]: -> features (B, D)."""
        nothing = torch.zeros((), device=pictures.device)
        return self.network(self.feed(pictures, nothing, nothing + 1))


def standardised(
    tiles: Tensor, *, over: Over = "channel", least_deviation: float = GREY_LEVEL
) -> Tensor:
    """Bring every picture, or tile of one, to mean 0 and standard deviation 1.

    Brightness and contrast give away which tiles lie side by side: Noroozi, Favaro, "Unsupervised
    Learning of Visual Representations by Solving Jigsaw Puzzles", ECCV 2016,
    https://arxiv.org/abs/1603.09246, section 3.3.

    Args:
        tiles: (..., C, h, w) float32.
        over: "channel": every channel of a tile by itself. "picture": all channels of it together,
            which keeps their relation; where a channel is but noise, it would else become a signal.
        least_deviation: A flatter tile is divided by this instead: what is left of a plain sky is
            rounding, which is not worth enlarging.

    Returns:
        (..., C, h, w) float32.

    Raises:
        UsageError: If `over` is neither.
    """
    if over not in ("channel", "picture"):
        raise UsageError(f"tiles are standardised over 'channel' or 'picture', got {over!r}")
    over_dims = (-2, -1) if over == "channel" else (-3, -2, -1)
    with torch.autocast(tiles.device.type, enabled=False):
        centred = tiles - tiles.mean(dim=over_dims, keepdim=True)
        deviation = centred.square().mean(dim=over_dims, keepdim=True).sqrt()
        return centred / deviation.clamp(min=least_deviation)


def colors_projected(tiles: Tensor) -> Tensor:
    """Remove the green-magenta axis, along which lenses spread colours.

    With a = (-1, 2, -1) a colour x becomes x - a (a . x) / (a . a): what it holds of a is gone, so
    green no longer differs from the mean of red and blue. Greys stay. Doersch, Gupta, Efros,
    "Unsupervised Visual Representation Learning by Context Prediction", ICCV 2015,
    https://arxiv.org/abs/1505.05192, section 4.2.

    Args:
        tiles: (..., C, h, w) float32 in [0, 1]. Without three channels they come back unchanged:
            only red, green and blue have the axis.

    Returns:
        (..., C, h, w) float32 in [-1/6, 7/6]: clamping would put some of the axis back.
    """
    if tiles.shape[-3] != 3:
        return tiles
    red, green, blue = tiles.unbind(dim=-3)
    along = (2 * green - red - blue) / 6
    return torch.stack([red + along, green - 2 * along, blue + along], dim=-3)


def gradients(tiles: Tensor) -> Tensor:
    """Give how grey changes from left to right and from top to bottom, by Sobel's filters.

    Beyond the border the picture is continued by its outermost pixels.

    Args:
        tiles: (..., C, h, w) float32 in [0, 1]; grey is the mean of the channels.

    Returns:
        (..., C, h, w) float32 in [-2, 2], the change over two pixels, twice; in turn from left to
        right, from top to bottom, and the length of both, in [0, 2.9]. A single channel holds the
        length alone.
    """
    channels = tiles.shape[-3]
    with torch.autocast(tiles.device.type, enabled=False):
        grey = tiles.float().mean(dim=-3).reshape(-1, 1, *tiles.shape[-2:])  # (N, 1, h, w)
        wide = F.pad(grey, (1, 1, 1, 1), mode="replicate")
        # A filter is the difference of two ends one way, added up over three lines the other way.
        across = wide[..., 2:] - wide[..., :-2]  # (N, 1, h + 2, w)
        down = wide[..., 2:, :] - wide[..., :-2, :]  # (N, 1, h, w + 2)
        across = (across[..., :-2, :] + across[..., 2:, :]) / 2 + across[..., 1:-1, :]
        down = (down[..., :-2] + down[..., 2:]) / 2 + down[..., 1:-1]
        # Where nothing changes the root would have no derivative.
        length = (across.square() + down.square()).clamp(min=1e-12).sqrt()
        if channels == 1:
            return length.view(tiles.shape)
        in_turn = (across, down, length)
        return torch.cat([in_turn[c % 3] for c in range(channels)], dim=1).view(tiles.shape)
