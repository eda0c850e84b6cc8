"""Channels: adapting a trained encoder to pictures with another number of channels.

timm's rule for its pretrained weights is used for ours too (`timm.models.adapt_input_conv`). For
one channel, the first convolution's filters are summed over the channels; otherwise they are
repeated in turn and scaled. So the sum over all channels, and with it the answer to a grey picture,
stays the same, exactly so if the new number is one or a multiple of the old.
"""

import contextlib
import dataclasses

import torch
from timm.models import adapt_input_conv
from torch import Tensor

from selfsight.encoders.build import from_recipe
from selfsight.encoders.encoder import Encoder, Recipe, averaged
from selfsight.errors import UsageError


def adapted(encoder: Encoder, channels: int) -> Encoder:
    """Adapt an encoder to pictures with another number of channels.

    Args:
        encoder: A trained encoder; it is not changed.
        channels: Channels of the pictures it will see, 1 or more.

    Returns:
        The encoder itself if it has this number already, else a new one in the same mode, whose
        mean and deviation in every channel are the averages of the old ones.

    Raises:
        UsageError: If the first layer's weights cannot be adapted.
    """
    old = encoder.recipe
    if channels == old.channels:
        return encoder
    with torch.random.fork_rng(devices=[]):
        new = from_recipe(_for_channels(old, channels))
    shapes = {key: value.shape for key, value in new.model.state_dict().items()}
    state = {
        key: value if value.shape == shapes[key] else _carried(value, shapes[key], old, channels)
        for key, value in encoder.model.state_dict().items()
    }
    new.model.load_state_dict(state, strict=True)
    device = next(encoder.parameters()).device
    return new.to(device).train(encoder.training)


def _for_channels(recipe: Recipe, channels: int) -> Recipe:
    return dataclasses.replace(
        recipe,
        arguments=recipe.arguments | {"in_chans": channels},
        channels=channels,
        mean=averaged(recipe.mean, channels),
        deviation=averaged(recipe.deviation, channels),
    )


def _carried(weight: Tensor, shape: torch.Size, recipe: Recipe, channels: int) -> Tensor:
    """Adapt filters (K, C, h, w) to another C: -> of shape `shape`."""
    with contextlib.suppress(NotImplementedError, ValueError, AssertionError):
        new = adapt_input_conv(channels, weight, base_chans=recipe.channels)
        if new.shape == shape:
            return new
    raise UsageError(
        f"the first layer of {recipe.name!r} cannot be adapted from {recipe.channels} to "
        f"{channels} channels; give pictures of {recipe.channels}, or train from the start"
    )
