"""Origin: finds the data that a run was trained on, and tells it from other data.

A run records its data's name as given, its place, and its imprint. So `probe runs/a` finds the data
from any folder, and refuses other pictures that lie in its place.
"""

from pathlib import Path
from typing import Any

from selfsight.data.imprint import imprint_of
from selfsight.data.source import Parts
from selfsight.errors import SelfsightError
from selfsight.system.paths import is_name, is_there
from selfsight.training.plan import Plan


def opened_origin(of: Plan, run: Path, remedy: str = "name it as DATA") -> Parts[Any]:
    """Open the data that a run was trained on.

    Args:
        of: The run's plan.
        run: Its directory, for messages.
        remedy: What to do if the data lies elsewhere now, as the end of a sentence.

    Raises:
        SelfsightError: If it is missing, cannot be read, or other data is in its place.
    """
    parts = parts_of(of, run, remedy)
    if of.imprint is not None and imprint_of(parts.train) != of.imprint:
        unit = of.modality.unit
        raise SelfsightError(
            f"the {unit} in {of.data_found} are not those that {run} was trained on: some were "
            f"added, taken away or changed, or others lie there. To ask about the {unit} there "
            f"are, name {of.data_found} as DATA; if the run's own lie elsewhere now, {remedy}"
        )
    return parts


def parts_of(of: Plan, run: Path, remedy: str) -> Parts[Any]:
    """Open the data at the place of a run's data, without comparing it.

    Raises:
        SelfsightError: If nothing is there, or it cannot be read.
    """
    found = of.data_found
    try:
        opener = of.modality.open_called if of.data_place == found and is_name(found) else None
        return (opener or of.modality.open)(found)
    except SelfsightError as error:
        if is_there(found):
            raise
        lay = "" if of.data_place in (None, of.data) else f", which lay at {of.data_place}"
        raise SelfsightError(
            f"{run} was trained on {of.data}{lay}, and that is not there. If it lies elsewhere "
            f"now, {remedy}"
        ) from error
