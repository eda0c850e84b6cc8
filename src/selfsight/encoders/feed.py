"""Feed: the first step of an encoder, from a picture in [0, 1] to its network's input.

A pretext task may hide a part of every picture for good: colorization hides colours, jigsaw a
tile's brightness and contrast. A network trained without them cannot use them later, so the
encoder's recipe records the feed, and probes, neighbours and embeddings apply the same one.
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
_HIDING: tuple[Colours, ...] = ("all", "projected", "lightness", "sobel")  # each hides more


@dataclass(frozen=True)
class Feed:
    """How pictures become a network's input.

    Attributes:
        colours: "all"; "projected": without the green-magenta axis, along which lenses spread
            colours; "lightness": CIELAB lightness, the same in every channel; "sobel": gradients of
            the mean of all channels, see `gradients`.
        standardised: Over what each picture or tile is scaled to mean 0 and standard deviation 1,
            see `standardised`; None uses the recipe's mean and deviation instead.
    """

    colours: Colours = "all"
    standardised: Over | None = None

    def __or__(self, other: "Feed") -> "Feed":
        """Combine two feeds: hide what either of them hides."""
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
        """Apply the feed to pictures (B, C, S, S) in [0, 1]: -> (B, C, S, S), centred and scaled.

        Args:
            pictures: The network's pictures.
            mean: Subtracted, unless they are standardised by their own mean.
            deviation: Divides them, unless they are standardised by their own deviation.
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
            return pictures / deviation  # gradients are centred on 0 already
        return (pictures - mean) / deviation


AS_IT_IS = Feed()


class Fed(nn.Module):
    """Any network preceded by a feed; an `Encoder` contains its own feed.

    Args:
        network: Takes the output of the feed.
        feed: Applied to pictures (B, C, S, S) in [0, 1].
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
    """Scale every picture or tile to mean 0 and standard deviation 1.

    Brightness and contrast would reveal which tiles lie side by side: Noroozi, Favaro,
    "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles", ECCV 2016,
    https://arxiv.org/abs/1603.09246, section 3.3.

    Args:
        tiles: (..., C, h, w) float32.
        over: "channel": every channel of a tile separately. "picture": all channels of a tile
            together, which keeps their relation; a channel of mere noise is then not amplified.
        least_deviation: Tiles with a smaller deviation are divided by this instead, since a flat
            tile, such as plain sky, varies only by rounding.

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

    With a = (-1, 2, -1) a colour x becomes x - a (a . x) / (a . a): its component along a is
    removed, so green equals the mean of red and blue. Greys stay the same. Doersch, Gupta, Efros,
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
    """Compute the gradients of grey from left to right and from top to bottom by Sobel filters.

    At the border the outermost pixels are repeated.

    Args:
        tiles: (..., C, h, w) float32 in [0, 1]; grey is the mean of the channels.

    Returns:
        (..., C, h, w) float32. Channels hold in turn the gradient from left to right, the one from
        top to bottom, each twice the change over two pixels, in [-2, 2], and the length of both, in
        [0, 2.9]. A single channel holds only the length.
    """
    channels = tiles.shape[-3]
    with torch.autocast(tiles.device.type, enabled=False):
        grey = tiles.float().mean(dim=-3).reshape(-1, 1, *tiles.shape[-2:])  # (N, 1, h, w)
        wide = F.pad(grey, (1, 1, 1, 1), mode="replicate")
        # A Sobel filter is a difference along one axis, summed over three lines of the other.
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
