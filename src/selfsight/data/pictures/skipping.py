"""Skipping: unreadable pictures are skipped and listed; if there are many, reading stops.

With many unreadable pictures the data is not what the user expects, and a message with the first
reasons helps more than a run that learned from the rest.
"""

from typing import NamedTuple

from selfsight.data.pictures.files.decode import LEAST_SIDE, TooSmall
from selfsight.data.source import Unreadable
from selfsight.errors import SelfsightError

MOST_SKIPPED = 0.1  # greatest share of unreadable pictures; with more, reading fails
LISTED = 10  # most unreadable pictures that a message names


class Failure(NamedTuple):
    """The title of a picture that could not be read, and why."""

    title: str
    reason: Unreadable


def judge(name: str, failed: list[Failure], count: int) -> None:
    """Stop when too many of `count` pictures could not be read.

    Raises:
        SelfsightError: If none could be read, or more than a tenth could not.
    """
    if len(failed) == count:
        raise SelfsightError(none_readable(name, failed))
    if len(failed) > MOST_SKIPPED * count:
        raise SelfsightError(
            f"{len(failed)} of {count} pictures in {name} cannot be read, and at most "
            f"{MOST_SKIPPED:.0%} may be skipped. Repair or remove them:\n{_listed(failed)}"
        )


def none_readable(name: str, failed: list[Failure]) -> str:
    """Word the error that nothing could be read, and why."""
    if all(isinstance(reason, TooSmall) for _, reason in failed):
        return (
            f"no usable picture in {name}: all {len(failed)} examined have a side under "
            f"{LEAST_SIDE} pixels. Give larger pictures."
        )
    return f"no readable picture in {name}: give other files, or repair these.\n{_listed(failed)}"


def _listed(failed: list[Failure]) -> str:
    """List the first unreadable pictures with their reasons, a line each."""
    lines = [f"  {title}: {reason}" for title, reason in failed[:LISTED]]
    rest = len(failed) - LISTED
    return "\n".join([*lines, f"  and {rest} more"] if rest > 0 else lines)
