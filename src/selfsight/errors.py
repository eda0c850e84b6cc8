"""What the command line shows as one sentence instead of a traceback.

SelfsightError: the environment's fault (a missing file, a full disk, data too small); exit 1.
Stopped:        the user's wish, everything saved; exit 130.
UsageError:     asked wrongly (an unknown name, a value outside its range); exit 2.
"""

import difflib
import re
from collections.abc import Iterable


class SelfsightError(Exception):
    """A fault of the environment: what happened, and what to do about it."""


class Stopped(SelfsightError):
    """Stopped by the user, everything saved; exit 130."""


class UsageError(ValueError):
    """A question that cannot be answered as asked: the rule, the value got, the remedy."""


# What torch, numpy and C++ say where memory ran out; torch's own errors are RuntimeErrors.
NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")
# The flags of a verb that need less memory when they are smaller.
SMALLER = ("batch", "size", "limit", "count")


def out_of_memory(error: BaseException, settings: object = None) -> SelfsightError | None:
    """Turn the error of memory that ran out into a sentence; None for any other error.

    Args:
        error: Of torch on a GPU or a processor, of numpy, or Python's own.
        settings: What was asked; its flags that need memory are named.
    """
    text = str(error)
    is_one = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError)
        and any(words in text.lower() for words in NO_MEMORY)
    )
    if not is_one:
        return None
    flags = [f"a smaller --{name}" for name in SMALLER if hasattr(settings, name)]
    remedies = flags or ["smaller pictures"]
    remedies.append("another --encoder" if hasattr(settings, "encoder") else "a smaller network")
    asked = re.search(r"(tried|unable) to allocate [\d.,]+ \w+", text, re.IGNORECASE)
    much = "" if asked is None else f" ({asked[0][:1].lower()}{asked[0][1:]})"
    return SelfsightError(
        f"memory ran out{much}; what was saved is intact. Give {', '.join(remedies[:-1])} or "
        f"{remedies[-1]}"
    )


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
