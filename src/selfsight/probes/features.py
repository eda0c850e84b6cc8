"""Features: what each layer of a frozen network says about pictures, from one pass.

`stream_maps` runs the network and yields its layers as they are; `stream_features` yields them
pooled to at most so many numbers a layer. Nothing is kept: the caller folds or stores.

Legend: B batch, C channels, S side in pixels, h w side of a layer's map, F features, N pictures.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.augment.views import as_float
from selfsight.encoders import evaluating
from selfsight.encoders.finite import refuse_non_finite_features

if TYPE_CHECKING:
    from selfsight.data.pictures.canvases import Canvases

MOST = 2048  # features a layer; its Gram matrix then takes 32 MB in float64


class Labelled(NamedTuple):
    """Features x (N, F) and class numbers y (N,)."""

    x: Tensor
    y: Tensor


class LayeredNetwork(Protocol):
    """What a probe asks of an encoder; every encoder of selfsight is one, and so is `Pixels`."""

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers, input to output."""
        ...

    def layers(self, images: Tensor) -> dict[str, Tensor]:
        """Map images (B, C, S, S) in [0, 1] to each layer's map (B, C, h, w)."""
        ...

    def to(self, device: torch.device, /) -> object:
        """Move the weights."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """Go through the parts, itself first."""
        ...


class Pixels(nn.Module):
    """The network that does nothing: its one layer is the picture.

    The layer is a column (B, F, 1, 1) rather than a map, so that no pooling averages the picture
    away; a picture of more than `most` numbers is made smaller first.

    Args:
        channels: Colour channels C of the pictures.
        side: Side S of the pictures, in pixels.
        most: Numbers F that a picture may have, at least C.
    """

    layer_names = ("pixels",)

    def __init__(self, channels: int, side: int, *, most: int = MOST) -> None:
        super().__init__()
        self.grid = grid(channels, side, most)
        self.dim = channels * self.grid**2

    def layers(self, images: Tensor) -> dict[str, Tensor]:
        """Return the pictures (B, C, S, S) as their only layer (B, F, 1, 1)."""
        return {"pixels": F.adaptive_avg_pool2d(images, self.grid).flatten(1)[..., None, None]}

    def forward(self, images: Tensor) -> Tensor:
        """Flatten pictures (B, C, S, S) to features (B, F)."""
        return self.layers(images)["pixels"].flatten(1)


def grid(channels: int, side: int, most: int) -> int:
    """Find the largest g with channels * g * g <= most and g <= side, at least 1."""
    return max(1, min(side, math.isqrt(most // channels)))


def pooled(layer: Tensor, most: int = MOST) -> Tensor:
    """Average a map over a g x g grid, as fine as `most` allows: (B, C, h, w) -> (B, C * g * g).

    Args:
        layer: A layer's map.
        most: Numbers a picture may have; with 1 the map is pooled to one cell. A layer of more
            than `most` channels still keeps one number a channel.
    """
    g = grid(layer.shape[1], min(layer.shape[-2:]), most)
    return F.adaptive_avg_pool2d(layer.float(), g).flatten(1)


@torch.inference_mode()
def _maps(
    network: LayeredNetwork, images: Tensor, device: torch.device, precision: str
) -> dict[str, Tensor]:
    """Run one batch of stored pictures: (B, C, S, S) -> each layer's map, all of it numbers."""
    pictures = as_float(images.to(device, non_blocking=True)).float()
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision.startswith("bf16")):
        layers = network.layers(pictures)
    refuse_non_finite_features(layers)
    return layers


def stream_maps(
    network: LayeredNetwork,
    images: "Tensor | Canvases",
    rows: Tensor,
    *,
    batch: int = 512,
    device: torch.device | str = "cpu",
    precision: str = "32",
) -> Iterator[dict[str, Tensor]]:
    """Yield every layer's map (b, C, h, w) for the pictures of `rows`, batch by batch, in order.

    Inference mode covers the network alone, never the caller's own code between two batches.

    Args:
        network: The frozen network; moved to `device`, in evaluation mode while this runs.
        images: (N, C, S, S) as stored, of 8 or 16 bits, or float in [0, 1].
        rows: (M,) int64, which pictures, and in which order.
        batch: Pictures at a time.
        device: Where the network runs and the maps stay.
        precision: "32", or "bf16" (any name that begins so) for autocast to bfloat16.

    Raises:
        ValueError: If batch is below 1.
        SelfsightError: If a map holds NaN or infinity.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1 picture, got {batch}")
    device = torch.device(device)
    network.to(device)
    with evaluating(network):
        for chunk in rows.split(batch):
            yield _maps(network, images[chunk], device, precision)


def stream_features(
    network: LayeredNetwork,
    images: "Tensor | Canvases",
    rows: Tensor,
    *,
    most: int = MOST,
    batch: int = 512,
    device: torch.device | str = "cpu",
    precision: str = "32",
) -> Iterator[dict[str, Tensor]]:
    """Yield every layer's features (b, F) float32, as `stream_maps` pooled to at most `most`."""
    maps = stream_maps(network, images, rows, batch=batch, device=device, precision=precision)
    for layers in maps:
        yield {name: pooled(layer, most) for name, layer in layers.items()}
