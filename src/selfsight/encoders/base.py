"""What every encoder is, whatever it encodes: a network with named layers, and how to build it.

`KINDS` names the recipes that `encoder.json` may hold, one for each kind of encoder.
"""

import importlib
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from torch import Tensor, nn

from selfsight.errors import unknown_name

KIND = "kind"  # the key that says which recipe it is; those of pictures lack it
PICTURES = "pictures"
# Kind of recipe to "module:Class".
KINDS: dict[str, str] = {PICTURES: "selfsight.encoders.encoder:Recipe"}

Input = Tensor  # what an encoder takes: (B, ...) of its modality


class BaseEncoder(nn.Module, ABC):
    """A network that can be frozen, probed, saved and built again.

    Attributes:
        recipe: How it was built.
        dim: Width D of the pooled features.
        layer_names: The named layers, input to output.
        checked: Whether it refuses samples that are not as it takes them, where it can.
    """

    recipe: Any  # a `BaseRecipe`, of the kind that builds this kind of encoder
    dim: int
    layer_names: tuple[str, ...]
    checked: bool = False

    @property
    def body(self) -> nn.Module:
        """The part that is trained, and whose weights are saved."""
        return self

    @abstractmethod
    def forward(self, inputs: Input) -> Tensor:
        """Encode samples (B, ...): -> pooled features (B, D)."""

    @abstractmethod
    def layers(self, inputs: Input) -> dict[str, Tensor]:
        """Look into every named layer: samples (B, ...) -> maps (B, C, h, w)."""

    def apart(self) -> Self:
        """Give an encoder of the same weights, with batch statistics of its own, if it has any."""
        return self


E = TypeVar("E", bound=BaseEncoder)


class BaseRecipe(ABC, Generic[E]):
    """How to build an encoder again: what `encoder.json` holds.

    Attributes:
        kind: Its key in `KINDS`.
        name: The architecture's name.
    """

    kind: ClassVar[str]
    name: str

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Give the recipe as plain values; all but those of pictures hold their `KIND`."""

    @classmethod
    @abstractmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read back what `to_json` gave.

        Raises:
            ValueError: With the first value that no recipe has.
        """

    @abstractmethod
    def built(self, *, like: E | None = None, pretrained: bool = False) -> E:
        """Build the encoder with fresh weights from torch's generator.

        Args:
            like: An encoder of this recipe whose measures can be taken over, if there is one.
            pretrained: With its author's own weights, where it has such.

        Raises:
            UsageError: If it cannot be built.
        """

    def plain(self) -> Self:
        """Give the recipe without what a task adds to it."""
        return self

    def loads_by(self) -> str:
        """Say how another program loads its two files."""
        return f"with selfsight.load, as a {self.name}"


def recipe_of(values: dict[str, Any]) -> BaseRecipe[Any]:
    """Read a recipe of any kind.

    Raises:
        ValueError: With the first value that no recipe has.
    """
    kind = values.get(KIND, PICTURES)
    if kind not in KINDS:
        raise unknown_name("kind of encoder", str(kind), KINDS)
    module, _, name = KINDS[kind].partition(":")
    recipe = cast(type[BaseRecipe[Any]], getattr(importlib.import_module(module), name))
    return recipe.from_json(values)
