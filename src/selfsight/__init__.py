"""selfsight: learn to see from pictures nobody labelled, and show what was learned.

>>> import selfsight
>>> sorted(selfsight.__all__)  # doctest: +ELLIPSIS
['Run', 'SelfsightError', ...]
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfsight.applying import apply
    from selfsight.embedding import embed
    from selfsight.errors import SelfsightError, UsageError
    from selfsight.looking import look
    from selfsight.neighbouring import neighbours
    from selfsight.pretraining import pretrain
    from selfsight.probing import probe
    from selfsight.run import Run, load
    from selfsight.studies.demo import demo

__all__ = [
    "Run",
    "SelfsightError",
    "UsageError",
    "apply",
    "demo",
    "embed",
    "load",
    "look",
    "neighbours",
    "pretrain",
    "probe",
]

_HOMES = {
    "Run": "selfsight.run",
    "SelfsightError": "selfsight.errors",
    "UsageError": "selfsight.errors",
    "apply": "selfsight.applying",
    "demo": "selfsight.studies.demo",
    "embed": "selfsight.embedding",
    "load": "selfsight.run",
    "look": "selfsight.looking",
    "neighbours": "selfsight.neighbouring",
    "pretrain": "selfsight.pretraining",
    "probe": "selfsight.probing",
}


def __getattr__(name: str) -> Any:
    """Load a public name on its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'selfsight' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
