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

from selfsight.atomic import write_bytes, write_json
from selfsight.encoders import small
from selfsight.encoders.encoder import Encoder, Recipe, named_layers
from selfsight.errors import SelfsightError, UsageError, unknown_name

DEFAULT = "small"
OWN = {DEFAULT: small.NAME}  # our names for what is registered with timm under longer ones
EXAMPLES = {
    DEFAULT: "the default for small pictures on a processor",
    "resnet18": "the default on a GPU and past 128 px",
    "resnet50": "what most papers report",
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


def build(
    name: str = DEFAULT,
    *,
    size: int,
    channels: int = 3,
    pretrained: bool = False,
    arguments: dict[str, Any] | None = None,
) -> Encoder:
    """Build an encoder from a timm name, with fresh weights from torch's generator.

    Args:
        name: "small", or any timm model's name.
        size: Side of the pictures it will see, in pixels.
        channels: Channels of those pictures.
        pretrained: Fetch timm's weights, and standardise as they want it.
        arguments: Further keyword arguments for `timm.create_model`.

    Raises:
        UsageError: If timm has no such model, or it cannot be built at this size.
        SelfsightError: If the pretrained weights cannot be fetched.
    """
    arguments = dict(arguments or {})
    name = OWN.get(name, name)
    if not timm.is_model(name):
        raise unknown_name("encoder", name, [*OWN, *timm.list_models()])
    arguments |= {"num_classes": 0, "in_chans": channels}
    entry = timm.get_pretrained_cfg(name)
    if entry is not None and entry.fixed_input_size:
        arguments["img_size"] = size
    mean, deviation = (0.5,) * channels, (0.25,) * channels
    if pretrained and entry is not None and channels == 3:
        mean, deviation = tuple(entry.mean), tuple(entry.std)
    recipe = Recipe(name, arguments, channels, size, mean, deviation)
    return _assembled(recipe, pretrained=pretrained)


def from_recipe(recipe: Recipe, *, pretrained: bool = False) -> Encoder:
    """Build an encoder again, with fresh weights from torch's generator or timm's own."""
    return _assembled(recipe, pretrained=pretrained)


def _assembled(recipe: Recipe, *, pretrained: bool) -> Encoder:
    try:
        return _made(recipe, pretrained=pretrained)
    except (AssertionError, TypeError, RuntimeError, AttributeError, ValueError) as error:
        if pretrained:
            raise _cannot_fetch(recipe.name, error) from error
        raise UsageError(
            f"encoder {recipe.name!r} cannot be built for {recipe.channels} x {recipe.size} x "
            f"{recipe.size} pictures: {error}; try another --size or --encoder"
        ) from error
    except OSError as error:
        raise _cannot_fetch(recipe.name, error) from error


def _made(recipe: Recipe, *, pretrained: bool = False) -> Encoder:
    model = timm.create_model(recipe.name, pretrained=pretrained, **recipe.arguments)
    layers = recipe.layers or named_layers(model)
    return Encoder(model, dataclasses.replace(recipe, layers=layers))


def _cannot_fetch(name: str, error: Exception) -> SelfsightError:
    return SelfsightError(
        f"timm's weights for {name!r} could not be fetched ({type(error).__name__}); "
        "they come from the network: connect, or start without them"
    )


def save(encoder: Encoder, folder: Path, *, stem: str = "encoder") -> None:
    """Write `stem`.safetensors and `stem`.json, each beside its place and then renamed."""
    state = {key: value.cpu().contiguous() for key, value in encoder.model.state_dict().items()}
    write_bytes(folder / f"{stem}.safetensors", safetensors.torch.save(state))
    write_json(folder / f"{stem}.json", encoder.recipe.to_json())


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
        state = safetensors.torch.load_file(files[1])
        with torch.random.fork_rng(devices=[]):
            encoder = _made(recipe)
        encoder.model.load_state_dict(state, strict=True)
    except OSError as error:
        raise SelfsightError(
            f"the encoder in {folder} could not be read: {error.strerror or error}"
        ) from error
    except _DAMAGE as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise SelfsightError(
            f"the encoder in {folder} is damaged: {first.rstrip(':')}; copy both files anew"
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
