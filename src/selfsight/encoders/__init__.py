"""Encoders: networks with named layers, any timm model among them.

`build` makes one, `load` reads one from a run, a file or timm's pretrained weights. Our own
architectures are registered with timm when this package is imported.
"""

from selfsight.encoders.build import (
    DEFAULT,
    EXAMPLES,
    OWN,
    build,
    from_recipe,
    load,
    save,
    usual_size,
)
from selfsight.encoders.encoder import Encoder, Recipe

__all__ = [
    "DEFAULT",
    "EXAMPLES",
    "OWN",
    "Encoder",
    "Recipe",
    "build",
    "from_recipe",
    "load",
    "save",
    "usual_size",
]
