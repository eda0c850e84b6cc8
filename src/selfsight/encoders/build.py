"""Building encoders by timm's names or ours."""

import dataclasses
from typing import Any

import timm

from selfsight.encoders import alexnet, patch_dictionary, small, small_stem
from selfsight.encoders.base import BaseRecipe, E
from selfsight.encoders.bounds import at_most
from selfsight.encoders.encoder import (
    Encoder,
    Measures,
    Recipe,
    averaged,
    check_statistics,
    named_layers,
)
from selfsight.encoders.finite import refuse_non_finite
from selfsight.encoders.own_architectures import OWN
from selfsight.encoders.sizes import fits, nearest_sizes, patch_side, size_arguments, size_step
from selfsight.errors import SelfsightError, UsageError, in_a_line, out_of_memory, unknown_name
from selfsight.system.validation import shortened

REGISTERED = (alexnet, patch_dictionary, small, small_stem)  # with timm, by being imported
DEFAULT = "small"
EXAMPLES = {
    DEFAULT: "the default for small pictures on a processor",
    "resnet18": "the default on a GPU and past 128 px",
    "resnet50": "what most papers report",
    "resnet18_small": "for pictures of 32 to 64 px on a GPU; also resnet34_small, resnet50_small",
    "alexnet": "what the first papers report, with batch normalisation; 63 px or more",
    "convnext_atto": "a small modern convolutional network",
    "vit_tiny_patch16_224": "a small transformer",
}


def usual_size(name: str) -> int:
    """Give the side, in pixels, of the pictures that timm's weights of a name were trained on."""
    entry = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    return entry.input_size[-1] if entry is not None else 224


def usual_channels(name: str) -> int:
    """Give the channels of the pictures that timm's weights of a name were trained on."""
    entry = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    return entry.input_size[0] if entry is not None else 3


def build(
    name: str = DEFAULT,
    *,
    size: int,
    channels: int = 3,
    pretrained: bool = False,
    arguments: dict[str, Any] | None = None,
    mean: tuple[float, ...] | None = None,
    deviation: tuple[float, ...] | None = None,
) -> Encoder:
    """Build an encoder from a timm name, with fresh weights from torch's generator.

    Args:
        name: "small" or another of ours, or any timm model's name.
        size: Side of the pictures it will see, in pixels.
        channels: Channels of those pictures.
        pretrained: Fetch timm's weights, adapt the first convolution to the channels, and
            standardise pictures as these weights require.
        arguments: Further keyword arguments for `timm.create_model`.
        mean: Subtracted from pictures in [0, 1], one number for each channel. None takes that of
            the pretrained weights (averaged for another number of channels), else 0.5.
        deviation: Divides them afterwards, each above 0. None likewise, else 0.25.

    Raises:
        UsageError: If timm has no such model or no weights for it, or it cannot be built at this
            size.
        ValueError: If the number of means or deviations is not that of channels.
        SelfsightError: If the pretrained weights cannot be fetched.
    """
    name = OWN.get(name, name)
    if not timm.is_model(name):
        raise unknown_name("encoder", name, {*OWN, *timm.list_models()})
    if pretrained and not _has_weights(name):
        raise UsageError(
            f"timm has no pretrained weights for {name!r}; start from random ones with "
            "--encoder, or from another timm model"
        )
    arguments = {**(arguments or {}), "num_classes": 0, "in_chans": channels}
    arguments |= size_arguments(name, size)
    usual = _usual_statistics(name, channels, pretrained=pretrained)
    mean, deviation = mean or usual[0], deviation or usual[1]
    check_statistics(mean, deviation, channels)
    recipe = Recipe(name, arguments, channels, size, mean, deviation)
    encoder = _assembled(recipe, pretrained=pretrained)
    if size % patch_side(encoder.model):  # timm would silently ignore the rim
        raise _wrong_size(recipe)
    return encoder


def _has_weights(name: str) -> bool:
    entry = timm.get_pretrained_cfg(name)
    return entry is not None and bool(entry.has_weights)


def _usual_statistics(
    name: str, channels: int, *, pretrained: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Give the default mean and deviation."""
    entry = timm.get_pretrained_cfg(name)
    if not pretrained or entry is None:
        return (0.5,) * channels, (0.25,) * channels
    mean, deviation = tuple(entry.mean), tuple(entry.std)
    if channels != len(mean):
        mean, deviation = averaged(mean, channels), averaged(deviation, channels)
    return mean, deviation


def from_recipe(recipe: BaseRecipe[E], *, pretrained: bool = False) -> E:
    """Build an encoder again, with fresh weights from torch's generator or timm's own.

    Raises:
        UsageError: If it cannot be built.
        SelfsightError: If it would be larger than any network, or timm's weights cannot be fetched.
    """
    with at_most():
        return _assembled(recipe, pretrained=pretrained)


def _assembled(recipe: BaseRecipe[E], *, pretrained: bool) -> E:
    try:
        return recipe.built(pretrained=pretrained)
    except (UsageError, SelfsightError):
        raise
    except OSError as error:
        raise _cannot_fetch(recipe.name, error) from error
    except Exception as error:  # timm's networks raise many kinds of errors
        if out_of_memory(error) or not isinstance(recipe, Recipe):
            raise
        if not fits(recipe.name, recipe.arguments, recipe.size):
            raise _wrong_size(recipe, error) from error
        if pretrained:
            raise _cannot_fetch(recipe.name, error) from error
        raise UsageError(
            f"encoder {recipe.name!r} cannot be built with {recipe.arguments}: "
            f"{in_a_line(error)}; try another --encoder"
        ) from error


def _wrong_size(recipe: Recipe, error: Exception | None = None) -> UsageError:
    step = size_step(recipe.name)
    if recipe.size % step:
        reason = f"the side must be a multiple of its patches' {step} px"
    elif isinstance(error, ValueError):  # a readable message, not one about shapes
        reason = in_a_line(error)
    else:
        reason = "its layers do not fit together at this side"
    sides = nearest_sizes(recipe.name, recipe.arguments, recipe.size)
    remedy = "give --size " + " or ".join(map(str, sides)) if sides else "try another --encoder"
    return UsageError(
        f"encoder {recipe.name!r} cannot be built for {recipe.channels} x {recipe.size} x "
        f"{recipe.size} pictures: {reason}; {remedy}"
    )


def made(recipe: Recipe, *, pretrained: bool = False, measures: Measures | None = None) -> Encoder:
    """Build an encoder; errors of the network's code are passed on.

    Args:
        recipe: What to build.
        pretrained: With timm's weights.
        measures: Those of another encoder of the recipe; None to measure.

    Raises:
        UsageError: If timm has no such architecture. Names like "hf-hub:..." are refused, since
            timm would fetch them.
        SelfsightError: If timm's weights hold NaN or infinity.
    """
    if ":" in recipe.name or not timm.is_model(recipe.name):
        raise UsageError(f"this timm has no architecture {shortened(recipe.name)}")
    model = timm.create_model(recipe.name, pretrained=pretrained, **recipe.arguments)
    if pretrained:
        refuse_non_finite(model.state_dict(), f"timm's weights for {recipe.name!r}")
    layers = recipe.layers or named_layers(model)
    return Encoder(model, dataclasses.replace(recipe, layers=layers), measures=measures)


def _cannot_fetch(name: str, error: Exception) -> SelfsightError:
    return SelfsightError(
        f"timm's weights for {name!r} could not be fetched ({type(error).__name__}); "
        "they come from the network: connect, or start without them"
    )
