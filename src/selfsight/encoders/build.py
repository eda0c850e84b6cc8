"""Building, saving and loading encoders.

A saved encoder is two files: `encoder.safetensors`, the timm model's own state, and `encoder.json`,
the recipe. Nothing in them is executed.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from safetensors import SafetensorError

from selfsight.atomic import ANOTHER, write_bytes, write_json
from selfsight.encoders import alexnet, patch_dictionary, small, small_stem
from selfsight.encoders.encoder import Encoder, Recipe, averaged, named_layers
from selfsight.encoders.own import OWN
from selfsight.encoders.sizes import (
    fits,
    nearest_sizes,
    patch_side,
    size_arguments,
    size_step,
)
from selfsight.errors import SelfsightError, UsageError, out_of_memory, unknown_name

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
_REACHING = frozenset({"pretrained", "pretrained_cfg", "checkpoint_path", "cache_dir"})
# What reading and building raise on files whose content is not what `save` wrote.
_DAMAGE = (
    SafetensorError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    AssertionError,
    IndexError,
    ArithmeticError,
    RuntimeError,
)


def usual_size(name: str) -> int:
    """Tell the side of the pictures that timm's weights of this name were trained on, in pixels."""
    entry = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    return entry.input_size[-1] if entry is not None else 224


def usual_channels(name: str) -> int:
    """Tell the channels of the pictures that timm's weights of this name were trained on."""
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
        pretrained: Fetch timm's weights, the first convolution adapted to the channels, and
            standardise as they want it.
        arguments: Further keyword arguments for `timm.create_model`.
        mean: Subtracted from pictures in [0, 1], a number a channel; None for that of the
            pretrained weights (their average if the channels are not their own), else 0.5.
        deviation: Divides them afterwards, each above 0; None alike, else 0.25.

    Raises:
        UsageError: If timm has no such model, no weights for it where they were asked for, or it
            cannot be built at this size.
        ValueError: If there are not as many means or deviations as channels.
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
    _refuse_statistics(mean, deviation, channels)
    recipe = Recipe(name, arguments, channels, size, mean, deviation)
    encoder = _assembled(recipe, pretrained=pretrained)
    if size % patch_side(encoder.model):  # timm would leave the rim out without a word
        raise _wrong_size(recipe)
    return encoder


def _has_weights(name: str) -> bool:
    entry = timm.get_pretrained_cfg(name)
    return entry is not None and bool(entry.has_weights)


def _usual_statistics(
    name: str, channels: int, *, pretrained: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Give the mean and deviation that are used where none are asked for."""
    entry = timm.get_pretrained_cfg(name)
    if not pretrained or entry is None:
        return (0.5,) * channels, (0.25,) * channels
    mean, deviation = tuple(entry.mean), tuple(entry.std)
    if channels != len(mean):
        mean, deviation = averaged(mean, channels), averaged(deviation, channels)
    return mean, deviation


def _refuse_statistics(
    mean: tuple[float, ...], deviation: tuple[float, ...], channels: int
) -> None:
    for word, values in (("mean", mean), ("deviation", deviation)):
        if len(values) != channels:
            raise ValueError(
                f"{word} must hold a number for each of the {channels} channels, got {len(values)}"
            )
    if min(deviation) <= 0:
        raise ValueError(f"deviation must be above 0 in every channel, got {min(deviation)}")


def from_recipe(recipe: Recipe, *, pretrained: bool = False) -> Encoder:
    """Build an encoder again, with fresh weights from torch's generator or timm's own."""
    return _assembled(recipe, pretrained=pretrained)


def _assembled(recipe: Recipe, *, pretrained: bool) -> Encoder:
    try:
        return _made(recipe, pretrained=pretrained)
    except UsageError:
        raise
    except OSError as error:
        raise _cannot_fetch(recipe.name, error) from error
    except Exception as error:  # networks of many authors refuse in as many ways
        if out_of_memory(error):
            raise
        if not fits(recipe.name, recipe.arguments, recipe.size):
            raise _wrong_size(recipe, error) from error
        if pretrained:
            raise _cannot_fetch(recipe.name, error) from error
        raise UsageError(
            f"encoder {recipe.name!r} cannot be built with {recipe.arguments}: "
            f"{_first_line(error)}; try another --encoder"
        ) from error


def _wrong_size(recipe: Recipe, error: Exception | None = None) -> UsageError:
    step = size_step(recipe.name)
    if recipe.size % step:
        reason = f"the side must be a multiple of its patches' {step} px"
    elif isinstance(error, ValueError):  # a sentence of ours or timm's, not a clash of shapes
        reason = _first_line(error)
    else:
        reason = "its layers do not fit together at this side"
    sides = nearest_sizes(recipe.name, recipe.arguments, recipe.size)
    remedy = "give --size " + " or ".join(map(str, sides)) if sides else "try another --encoder"
    return UsageError(
        f"encoder {recipe.name!r} cannot be built for {recipe.channels} x {recipe.size} x "
        f"{recipe.size} pictures: {reason}; {remedy}"
    )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(" .:")


def _made(recipe: Recipe, *, pretrained: bool = False) -> Encoder:
    model = timm.create_model(recipe.name, pretrained=pretrained, **recipe.arguments)
    layers = recipe.layers or named_layers(model)
    return Encoder(model, dataclasses.replace(recipe, layers=layers))


def _cannot_fetch(name: str, error: Exception) -> SelfsightError:
    return SelfsightError(
        f"timm's weights for {name!r} could not be fetched ({type(error).__name__}); "
        "they come from the network: connect, or start without them"
    )


def save(encoder: Encoder, folder: Path, *, stem: str = "encoder", another: str = ANOTHER) -> None:
    """Write `stem`.safetensors and `stem`.json, each beside its place and then renamed.

    Raises:
        SelfsightError: If one cannot be written; `another` is what to do then, see `atomic`.
    """
    state = {key: value.cpu().contiguous() for key, value in encoder.model.state_dict().items()}
    write_bytes(folder / f"{stem}.safetensors", safetensors.torch.save(state), another=another)
    write_json(folder / f"{stem}.json", encoder.recipe.to_json(), another=another)


def load(folder: Path, *, stem: str = "encoder") -> Encoder:
    """Read an encoder that `save` wrote.

    Raises:
        SelfsightError: If the files are missing or damaged.
    """
    files = [folder / f"{stem}.json", folder / f"{stem}.safetensors"]
    missing = [file.name for file in files if not file.exists()]
    if missing:
        raise SelfsightError(
            f"{folder} holds no encoder: {missing[0]} is missing; "
            "a run writes it when it first saves"
        )
    try:
        recipe = Recipe.from_json(json.loads(files[0].read_bytes()))
        _refuse_what_reaches_out(recipe)
        state = safetensors.torch.load(files[1].read_bytes())  # its own opening takes UTF-8 alone
        with torch.random.fork_rng(devices=[]):
            encoder = _made(recipe)
        encoder.model.load_state_dict(state, strict=True)
    except OSError as error:
        raise SelfsightError(
            f"the encoder in {folder} could not be read: {error.strerror or error}"
        ) from error
    except _DAMAGE as error:
        if out_of_memory(error):
            raise
        raise SelfsightError(
            f"the encoder in {folder} is damaged: {_first_line(error)}; copy both files anew"
        ) from error
    return encoder.eval()


def _refuse_what_reaches_out(recipe: Recipe) -> None:
    """Keep a recipe from somebody else off the network and off other files.

    timm would fetch a name like "hf-hub:..." and read the file that `checkpoint_path` names.
    """
    if not timm.is_model(recipe.name) or ":" in recipe.name:
        raise ValueError(f"this timm has no architecture {recipe.name!r}")
    reaching = sorted(_REACHING & recipe.arguments.keys())
    if reaching:
        raise ValueError(f"a recipe must not say {' or '.join(reaching)}")
