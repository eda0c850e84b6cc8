"""Encoding: features of pictures by a frozen network, one vector for each picture."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.data.pictures.canvases import Canvases
from selfsight.data.pictures.scaling import as_float
from selfsight.encoders import Encoder, evaluating
from selfsight.encoders.finite import refuse_non_finite_features
from selfsight.errors import UsageError, unknown_name
from selfsight.probes.features import LayeredNetwork, Pixels, pooled

BATCH = 256  # pictures


def check_layer(encoder: Encoder, layer: str | None) -> None:
    """Refuse a layer that the encoder does not name.

    Raises:
        UsageError: With the layers there are, all of them.
    """
    if layer is not None and layer not in encoder.layer_names:
        error = unknown_name("layer", layer, encoder.layer_names)
        raise UsageError(f"{error}; its layers: {', '.join(encoder.layer_names)}")


def encoded(
    network: Encoder | Pixels,
    images: Tensor | Canvases,
    rows: Tensor,
    *,
    size: int,
    layer: str | None = None,
    change: Callable[[Tensor], Tensor] | None = None,
    device: str = "cpu",
    batch: int = BATCH,
) -> Iterator[Tensor]:
    """Yield features of pictures by a frozen network, one vector for each, batch by batch.

    Args:
        network: The network; moved to `device`.
        images: Stored pictures, whole numbers or floats in [0, 1].
        rows: (M,) int64, which pictures, and in which order.
        size: Side S of the network's input, in pixels; pictures of another size are scaled by an
            antialiased bilinear filter.
        layer: A named layer, averaged over its map; None for the network's own pooled features.
        change: Applied to the pictures (B, C, S, S) in [0, 1] before the network sees them.
        device: Where to compute.
        batch: Pictures at a time.

    Yields:
        (B, D) float32 on the processor.

    Raises:
        SelfsightError: If a feature is NaN or infinite.
    """
    network.to(device)
    with evaluating(network):
        for chunk in rows.split(batch):
            pictures = scaled_to_size(images, chunk, size, device=device)
            yield _features_of(network, change(pictures) if change else pictures, layer)


@torch.inference_mode()
def _features_of(network: Encoder | Pixels, pictures: Tensor, layer: str | None) -> Tensor:
    """Run one batch (B, C, S, S): -> (B, D) float32 on the processor."""
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    if layer is None:
        features = network(pictures).float()
    else:
        layered: LayeredNetwork = network
        features = pooled(layered.layers(pictures)[layer], most=1)
    refuse_non_finite_features({layer or "pooled": features})
    return features.cpu()


def scaled_to_size(
    images: Tensor | Canvases, rows: Tensor, size: int, *, device: str = "cpu"
) -> Tensor:
    """Scale stored pictures to a network's size: -> (B, C, size, size) float32 in [0, 1]."""
    pictures = as_float(images[rows].to(device))
    if pictures.shape[-1] == size:
        return pictures
    scaled = F.interpolate(pictures, size=(size, size), mode="bilinear", antialias=True)
    return scaled.clamp(0, 1)
