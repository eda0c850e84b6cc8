"""The modalities by their names; nothing is loaded until one is asked for."""

from functools import cache
from typing import TYPE_CHECKING, Any

from selfsight.errors import UsageError
from selfsight.system.loading import object_at
from selfsight.tasks.table import row_of

if TYPE_CHECKING:
    from selfsight.modalities.base import Modality

# Name to "module:Class".
MODALITIES: dict[str, str] = {"pictures": "selfsight.modalities.pictures:OfPictures"}


def modality_of(tasks: tuple[str, ...]) -> "Modality[Any, Any, Any, Any]":
    """Give the modality that tasks learn from.

    Raises:
        UsageError: If they learn from different ones, which no encoder takes both of.
    """
    names = {row_of(task).modality: task for task in reversed(tasks)}
    if len(names) > 1:
        told = " and ".join(f"{task} from {name}" for name, task in sorted(names.items()))
        raise UsageError(f"tasks that share an encoder learn from the same; {told}")
    (name,) = names
    return modality_called(name)


@cache
def modality_called(name: str) -> "Modality[Any, Any, Any, Any]":
    """Give the modality of a name; there is one object of each."""
    return object_at(MODALITIES[name])()
