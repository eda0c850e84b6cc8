"""Loading on use: what tables name as "module:OBJECT", so that reading them loads nothing."""

import importlib
from functools import cache
from typing import Any


@cache
def object_at(place: str) -> Any:
    """Load what a table names as "module:OBJECT"."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
