"""selfsight: learn to see from pictures nobody labelled, and show what was learned.

>>> import selfsight
>>> sorted(selfsight.__all__)  # doctest: +ELLIPSIS
['Run', 'SelfsightError', ...]
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfsight.commands.apply import apply
    from selfsight.commands.demo import demo
    from selfsight.commands.embed import embed
    from selfsight.commands.look import look
    from selfsight.commands.neighbours import neighbours
    from selfsight.commands.pretrain import pretrain
    from selfsight.commands.probe import probe
    from selfsight.errors import SelfsightError, UsageError
    from selfsight.training.run import Run, load

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
    "Run": "selfsight.training.run",
    "SelfsightError": "selfsight.errors",
    "UsageError": "selfsight.errors",
    "apply": "selfsight.commands.apply",
    "demo": "selfsight.commands.demo",
    "embed": "selfsight.commands.embed",
    "load": "selfsight.training.run",
    "look": "selfsight.commands.look",
    "neighbours": "selfsight.commands.neighbours",
    "pretrain": "selfsight.commands.pretrain",
    "probe": "selfsight.commands.probe",
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
