"""What the command line shows as one sentence instead of a traceback.

SelfsightError: the environment's fault (a missing file, a full disk, data too small); exit 1.
Stopped:        the user's wish, everything saved; exit 130.
UsageError:     asked wrongly (an unknown name, a value outside its range); exit 2.
"""

import difflib
from collections.abc import Iterable


class SelfsightError(Exception):
    """A fault of the environment: what happened, and what to do about it."""


class Stopped(SelfsightError):
    """Stopped by the user, everything saved; exit 130."""


class UsageError(ValueError):
    """A question that cannot be answered as asked: the rule, the value got, the remedy."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Build the error for a name that is not in a table, with close matches or the whole table.

    Args:
        kind: What the name should have been, in the singular, such as "task".
        name: What was asked for.
        known: The names there are.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names)}"
    return UsageError(f"unknown {kind} {name!r}; {hint}")
