"""Encoders: networks with named layers, any timm model among them.

`build` makes one, `load` reads one from a run, a file or timm's pretrained weights. Our own
architectures are registered with timm when this package is imported.
"""

from selfsight.encoders.base import BaseEncoder, BaseRecipe, recipe_of
from selfsight.encoders.build import (
    DEFAULT,
    EXAMPLES,
    build,
    from_recipe,
    usual_channels,
    usual_size,
)
from selfsight.encoders.channels import adapted
from selfsight.encoders.encoder import Encoder, Recipe, evaluating, fed
from selfsight.encoders.feed import Feed
from selfsight.encoders.own_architectures import OWN
from selfsight.encoders.saved import load, save
from selfsight.encoders.sizes import fitting_size, size_step

__all__ = [
    "DEFAULT",
    "EXAMPLES",
    "OWN",
    "BaseEncoder",
    "BaseRecipe",
    "Encoder",
    "Feed",
    "Recipe",
    "adapted",
    "build",
    "evaluating",
    "fed",
    "fitting_size",
    "from_recipe",
    "load",
    "recipe_of",
    "save",
    "size_step",
    "usual_channels",
    "usual_size",
]
