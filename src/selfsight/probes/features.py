"""Features: the features of samples at each layer of a frozen network, from one pass.

`stream_maps` runs the network and yields the maps of its layers; `stream_features` yields them
pooled to a limited number of features for each layer. Nothing is kept here: the caller stores the
features, or reduces them to sums.

Legend: B batch, C channels, S side in pixels, h w side of a layer's map, F features, N pictures.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.encoders import evaluating
from selfsight.encoders.finite import refuse_non_finite_features

MOST = 2048  # features a layer; its Gram matrix then takes 32 MB in float64


class Labelled(NamedTuple):
    """Features x (N, F) and class numbers y (N,)."""

    x: Tensor
    y: Tensor


class LayeredNetwork(Protocol):
    """A network with named layers, as probes need it: every encoder of selfsight, and `Pixels`."""

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers, input to output."""
        ...

    def layers(self, inputs: Tensor, /) -> dict[str, Tensor]:
        """Map samples (B, ...) to each layer's map (B, C, h, w)."""
        ...

    def to(self, device: torch.device, /) -> object:
        """Move the weights."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """Iterate over the modules, itself first."""
        ...


class Seen(Protocol):
    """Samples that a network is asked about, see `data.samples.Samples`."""

    def seen(self, rows: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Give the samples of `rows` (B,) int64 as a network takes them: -> (B, ...)."""
        ...


class Pixels(nn.Module):
    """A network whose only layer is the picture itself.

    The layer is a column (B, F, 1, 1) rather than a map, so that pooling does not average
    the picture away; a picture of more than `most` numbers is scaled down first.

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

    def layers(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the pictures (B, C, S, S) as their only layer (B, F, 1, 1)."""
        return {"pixels": F.adaptive_avg_pool2d(inputs, self.grid).flatten(1)[..., None, None]}

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
        most: Largest number of features; with 1 the map is pooled to one cell. A layer of more
            than `most` channels still keeps one feature for each channel.
    """
    g = grid(layer.shape[1], min(layer.shape[-2:]), most)
    return F.adaptive_avg_pool2d(layer.float(), g).flatten(1)


@torch.inference_mode()
def _maps(
    network: LayeredNetwork, inputs: Tensor, device: torch.device, precision: str
) -> dict[str, Tensor]:
    """Run one batch of samples (B, ...) as the network takes them: -> each layer's map."""
    if inputs.ndim == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision.startswith("bf16")):
        layers = network.layers(inputs)
    refuse_non_finite_features(layers)
    return layers


def stream_maps(
    network: LayeredNetwork,
    samples: Seen,
    rows: Tensor,
    *,
    batch: int = 512,
    device: torch.device | str = "cpu",
    precision: str = "32",
) -> Iterator[dict[str, Tensor]]:
    """Yield every layer's map (b, C, h, w) for the samples of `rows`, batch by batch, in order.

    Inference mode covers the network alone, never the caller's own code between two batches.

    Args:
        network: The frozen network; moved to `device`, in evaluation mode while this runs.
        samples: What it is asked about.
        rows: (M,) int64, which of them, and in which order.
        batch: Samples at a time.
        device: Where the network runs and the maps stay.
        precision: "32", or "bf16" (any name that begins so) for autocast to bfloat16.

    Raises:
        ValueError: If batch is below 1.
        SelfsightError: If a map holds NaN or infinity.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1 sample, got {batch}")
    device = torch.device(device)
    network.to(device)
    with evaluating(network):
        for chunk in rows.split(batch):
            yield _maps(network, samples.seen(chunk, device), device, precision)


def stream_features(
    network: LayeredNetwork,
    samples: Seen,
    rows: Tensor,
    *,
    most: int = MOST,
    batch: int = 512,
    device: torch.device | str = "cpu",
    precision: str = "32",
) -> Iterator[dict[str, Tensor]]:
    """Yield every layer's features (b, F) float32: its maps, pooled to at most `most` numbers."""
    maps = stream_maps(network, samples, rows, batch=batch, device=device, precision=precision)
    for layers in maps:
        yield {name: pooled(layer, most) for name, layer in layers.items()}
