"""Encoder: a timm network with named layers, and the recipe to build it again.

An encoder takes pictures in [0, 1], turns them into its network's input as its recipe says, and
gives one feature vector for each picture or the map of every named layer. The recipe suffices to
build the network again, with timm alone if timm has the architecture.
"""

import copy
import inspect
import math
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Protocol, cast

import timm
import torch
from timm.models import build_model_with_cfg
from torch import Tensor, nn

from selfsight.encoders.base import PICTURES, BaseEncoder, BaseRecipe
from selfsight.encoders.feed import AS_IT_IS, Fed, Feed
from selfsight.encoders.own_architectures import OWN
from selfsight.errors import UsageError
from selfsight.system.validation import check, check_within, shortened

MOST_CHANNELS, MOST_SIDE = 2**16, 2**15  # of pictures; a file of ours with more is damaged
MOST_MEASURE = 2**20  # largest number among a network's arguments
# Keywords that make timm fetch or read weights, or return something other than the network.
REACHING = frozenset(
    {name for name in inspect.signature(timm.create_model).parameters if name != "kwargs"}
    | {name for name in inspect.signature(build_model_with_cfg).parameters if name != "kwargs"}
)
_WORD = re.compile(r"[A-Za-z0-9_]{1,40}")
OVERSHOOT = 1e-3  # error of interpolation beyond [0, 1] that is allowed


@dataclass(frozen=True)
class Recipe(BaseRecipe["Encoder"]):
    """How to build an encoder of pictures again: what `encoder.json` holds.

    Attributes:
        name: The architecture's timm name.
        arguments: Keyword arguments for `timm.create_model`.
        channels: Channels of the pictures it takes.
        size: Side of the pictures it was built for, in pixels.
        mean: Subtracted from pictures in [0, 1], one number for each channel.
        deviation: Divides them afterwards, one number for each channel.
        layers: The named layers, input to output: timm's module names.
        feed: How pictures become the network's input.
    """

    kind: ClassVar[str] = PICTURES

    name: str
    arguments: dict[str, Any]
    channels: int
    size: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    layers: tuple[str, ...] = field(default=())
    feed: Feed = AS_IT_IS

    def to_json(self) -> dict[str, Any]:
        """Give the recipe as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Recipe":
        """Read back what `to_json` gave.

        Raises:
            ValueError: Names the first invalid value.
        """
        check(values, cls)
        check_within("channels", values["channels"], 1, MOST_CHANNELS)
        check_within("size", values["size"], 1, MOST_SIDE)
        check_arguments(values["arguments"])
        lists = ("mean", "deviation", "layers")
        kinds: dict[str, Any] = {k: tuple(values[k]) for k in lists if k in values}
        kinds["feed"] = Feed(**values.get("feed", {}))
        check_statistics(kinds["mean"], kinds["deviation"], values["channels"])
        return cls(**(values | kinds))

    def built(self, *, like: "Encoder | None" = None, pretrained: bool = False) -> "Encoder":
        """Build the encoder; whatever its network's authors raise is let through.

        Raises:
            UsageError: If timm has no such architecture.
            SelfsightError: If timm's weights hold what is no number.
        """
        from selfsight.encoders.build import made  # it registers our own, which are encoders

        return made(self, pretrained=pretrained, measures=None if like is None else like.measures)

    def plain(self) -> "Recipe":
        """Give the recipe without what a task feeds the network."""
        return replace(self, feed=AS_IT_IS)

    def loads_by(self) -> str:
        """Say how timm loads the encoder."""
        own = self.name in OWN.values()
        way = "after `import selfsight.encoders`" if own else "alone, as encoder.json says"
        fed = "" if self.feed == AS_IT_IS else f"; selfsight.load feeds it as it was: {self.feed}"
        return f"with timm {way}{fed}"


class Measures(NamedTuple):
    """The widths and strides of an encoder's features: see the attributes of `Encoder`."""

    dim: int
    channels: dict[str, int]
    strides: dict[str, int]


def check_arguments(arguments: dict[str, Any]) -> None:
    """Refuse keyword arguments for timm that are not plain numbers and words.

    Numbers, truth values, plain words and lists of these can name neither a file, nor a network
    address, nor code to run.

    Raises:
        ValueError: Names the first that is refused.
    """
    for name, value in arguments.items():
        if name in REACHING:
            raise ValueError(f"arguments must not hold {name}, which is for timm's own weights")
        if not _is_measure(value, deep=3):
            raise ValueError(
                f"arguments must be numbers up to {MOST_MEASURE:,}, true, false, words or lists of "
                f"these, got {shortened(name)}: {shortened(value)}"
            )


def _is_measure(value: Any, *, deep: int) -> bool:
    """Tell whether a value is a number, a plain word, None, or a list of these."""
    if isinstance(value, list | tuple):
        several = cast(list[Any], value)
        return (
            deep > 0 and len(several) <= 100 and all(_is_measure(v, deep=deep - 1) for v in several)
        )
    if isinstance(value, str):
        return _WORD.fullmatch(value) is not None
    if isinstance(value, int | float):  # true and false are whole numbers to Python
        return abs(value) <= MOST_MEASURE
    return value is None


def check_statistics(mean: tuple[float, ...], deviation: tuple[float, ...], channels: int) -> None:
    """Refuse an invalid mean or deviation.

    Raises:
        ValueError: If their number is not that of channels, one is not finite, or a deviation is
            not above 0.
    """
    for word, values in (("mean", mean), ("deviation", deviation)):
        if len(values) != channels:
            raise ValueError(
                f"{word} must hold a number for each of the {channels} channels, got {len(values)}"
            )
        wrong = [value for value in values if not math.isfinite(value)]
        if wrong:
            raise ValueError(f"{word} must be finite in every channel, got {wrong[0]}")
    if min(deviation) <= 0:
        raise ValueError(f"deviation must be above 0 in every channel, got {min(deviation)}")


class Encoder(BaseEncoder):
    """A network with readable layers.

    Args:
        model: A timm model without a classifier.
        recipe: How it was built.
        measures: Those of another encoder of the recipe; None to measure.

    Attributes:
        dim: Width D of the pooled features.
        layer_names: The named layers, input to output.
        layer_channels: Channels C of each named layer.
        layer_strides: Input pixels between neighbouring points of each named layer's map.
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, *, measures: Measures | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.layer_names = recipe.layers
        self.checked = False  # whether to check the range of pictures, which synchronises a GPU
        self.look = look_into  # or its compiled form; a function, so that copies use their model
        shape = (1, recipe.channels, 1, 1)
        self.register_buffer("mean", torch.tensor(recipe.mean).view(shape), persistent=False)
        self.register_buffer(
            "deviation", torch.tensor(recipe.deviation).view(shape), persistent=False
        )
        self.measures = self._measured() if measures is None else measures
        self.dim, self.layer_channels, self.layer_strides = self.measures

    recipe: Recipe

    @property
    def body(self) -> nn.Module:
        """The timm model."""
        return self.model

    def forward(self, inputs: Tensor) -> Tensor:
        """Encode pictures (B, C, S, S) in [0, 1]: -> pooled features (B, D)."""
        return self.model(self._fed(inputs))

    def layers(self, inputs: Tensor) -> dict[str, Tensor]:
        """Compute every named layer's map: pictures (B, C, S, S) in [0, 1] -> maps (B, C, h, w)."""
        return self.look(self.model, self.layer_names, self._fed(inputs))

    def fed(self, feed: Feed) -> "Encoder":
        """Make an encoder that shares everything with this one except the feed."""
        twin = copy.copy(self)
        twin.recipe = replace(self.recipe, feed=feed)
        return twin

    def apart(self) -> "Encoder":
        """Make an encoder that shares this one's weights but has its own batch statistics.

        Pictures with different feeds have different batch statistics.
        """
        shared: dict[int, Any] = {id(weight): weight for weight in self.model.parameters()}
        twin = copy.copy(self)
        twin._modules = {"model": copy.deepcopy(self.model, shared)}
        return twin

    def _fed(self, images: Tensor) -> Tensor:
        if not images.is_floating_point():
            raise TypeError(
                f"an encoder takes pictures as floats in [0, 1], got {images.dtype}; divide "
                "pictures of 8 bits by 255, of 16 bits by 65535"
            )
        if self.checked and not (self.training or torch.compiler.is_compiling()):
            check_range(images)
        return self.recipe.feed(images, cast(Tensor, self.mean), cast(Tensor, self.deviation))

    @torch.no_grad()
    def _measured(self) -> Measures:
        """Measure widths and strides on a grey picture: timm's are wrong for other first strides.

        The feed changes no shape and is left out.
        """
        stated = {entry["module"]: entry["reduction"] for entry in _feature_info(self.model)}
        side = self.recipe.size
        grey = torch.full((1, self.recipe.channels, side, side), 0.5)
        self.eval()
        maps = look_into(self.model, self.layer_names, grey)
        channels = {name: m.shape[1] for name, m in maps.items()}
        strides = {name: _stride(side, m.shape[-1], stated[name]) for name, m in maps.items()}
        width = self.model(grey).shape[1]
        self.train()
        return Measures(width, channels, strides)


def check_range(images: Tensor) -> None:
    """Refuse pictures outside [0, 1], such as those in [0, 255] or already standardised.

    Raises:
        UsageError: Names the range found.
    """
    low, high = (float(end) for end in images.detach().aminmax())
    if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):  # NaN is refused too
        raise UsageError(
            f"an encoder takes pictures in [0, 1], got values from {low:.4g} to {high:.4g}; divide "
            "pictures of 8 bits by 255, and leave it to the encoder to standardise them"
        )


def fed(network: nn.Module, feed: Feed) -> nn.Module:
    """Put a feed before a network: an encoder's goes into its recipe, any other gets a `Fed`."""
    return network.fed(feed) if isinstance(network, Encoder) else Fed(network, feed)


class HasParts(Protocol):
    """A network, or an object with the same `modules` method."""

    def modules(self) -> Iterator[nn.Module]:
        """Iterate over the modules, itself first."""
        ...


@contextmanager
def evaluating(network: HasParts) -> Generator[None]:
    """Put every module into evaluation mode, and each back into its former mode afterwards."""
    training = [part for part in network.modules() if part.training]
    try:
        for part in training:
            part.training = False
        yield
    finally:
        for part in training:
            part.training = True


def batch_norms(encoder: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:  # pyright: ignore[reportPrivateUsage] -- torch's own base of all of them
    """Find every batch normalisation, including timm's own classes."""
    return [m for m in encoder.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]  # pyright: ignore[reportPrivateUsage] -- as above


def named_layers(model: nn.Module) -> tuple[str, ...]:
    """Choose the named layers: every stage, or every third block and the last of a transformer.

    Raises:
        UsageError: If parallel branches share a name, as in timm's CoaT and CrossViT.
    """
    entries = _feature_info(model)
    names = tuple(entry["module"] for entry in entries)
    if len(set(names)) < len(names):
        raise UsageError(
            f"an encoder's layers need different names, and {type(model).__name__} lists "
            "parallel branches under one name; try another --encoder"
        )
    if len({entry["reduction"] for entry in entries}) > 1:
        return names
    last = len(names) - 1  # one stride throughout: a transformer
    return tuple(name for i, name in enumerate(names) if i % 3 == 2 or i == last)


def _feature_info(model: nn.Module) -> list[dict[str, Any]]:
    """List the layers that timm can read, in the order of `forward_intermediates`."""
    info = cast(Any, model).feature_info
    return info.info if hasattr(info, "info") else info


def look_into(model: nn.Module, layers: tuple[str, ...], x: Tensor) -> dict[str, Tensor]:
    """Compute the named layers of a timm model: standardised pictures -> maps (B, C, h, w)."""
    maps: list[Tensor] = cast(Any, model).forward_intermediates(
        x, indices=_taps(model, layers), intermediates_only=True, output_fmt="NCHW"
    )
    return dict(zip(layers, maps, strict=True))


def averaged(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Repeat the average of some values for each of several channels."""
    return (sum(values) / len(values),) * channels


def _stride(side: int, steps: int, stated: int) -> int:
    """Give a map's stride: the stated one if it can produce the map, else the measured one.

    If the side is not a multiple of the stride, the map has one point more or less than their
    quotient, and one less again without padding: 224 pixels at AlexNet's stride of 16 give 13.

    >>> _stride(224, 13, 16), _stride(100, 7, 16), _stride(32, 4, 32)
    (16, 16, 8)
    """
    whole = side // stated
    if whole <= steps <= -(-side // stated) or 2 <= steps == whole - 1:
        return stated
    return round(side / steps)


def _taps(model: nn.Module, layers: tuple[str, ...]) -> list[int]:
    """Give the numbers of the named layers for `forward_intermediates`."""
    known = [entry["module"] for entry in _feature_info(model)]
    return [known.index(name) for name in layers]
