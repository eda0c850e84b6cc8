"""Skipping: pictures that cannot be read are listed; when there are many, reading stops.

Then the data is not what the user thinks it is, and a sentence with the first reasons says more
than a run that learned from the rest.
"""

from typing import NamedTuple

from selfsight.data.pictures.files.decode import LEAST_SIDE, TooSmall
from selfsight.data.source import Unreadable
from selfsight.errors import SelfsightError

MOST_SKIPPED = 0.1  # share of unreadable pictures past which reading fails
LISTED = 10  # unreadable pictures that a message names


class Failure(NamedTuple):
    """A picture that could not be read, by its title, and why."""

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
    """Say that nothing could be read, and why."""
    if all(isinstance(reason, TooSmall) for _, reason in failed):
        return (
            f"no usable picture in {name}: all {len(failed)} looked at have a side under "
            f"{LEAST_SIDE} pixels. Give larger pictures."
        )
    return f"no readable picture in {name}: give other files, or repair these.\n{_listed(failed)}"


def _listed(failed: list[Failure]) -> str:
    """List the first unreadable pictures with their reasons, a line each."""
    lines = [f"  {title}: {reason}" for title, reason in failed[:LISTED]]
    rest = len(failed) - LISTED
    return "\n".join([*lines, f"  and {rest} more"] if rest > 0 else lines)
