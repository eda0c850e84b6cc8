"""Reporting: messages to the user about data as it is read."""

from collections.abc import Sequence
from functools import cache

from selfsight.data.samples import Skipped
from selfsight.data.source import Source
from selfsight.system.progress import console


@cache
def say_once(note: str) -> None:
    """Print a note about the data, once however often it is read."""
    console().print(note)


def say_skipped(
    skipped: Sequence[Skipped], count: int, listed_in: str, *, unit: str = "pictures"
) -> None:
    """Print how many samples were skipped, if any, and the first reason."""
    if skipped:
        first = skipped[0]
        console().print(
            f"skipped {len(skipped)} of {count} {unit}, the first: {first.title}: "
            f"{first.reason}; {listed_in} lists them all"
        )


def say_unlabelled(*sources: Source | None) -> None:
    """Print why existing labels are not used, if they cannot be."""
    for source in sources:
        if source is not None and source.unlabelled:
            say_once(f"labels are left out: {source.unlabelled}")
