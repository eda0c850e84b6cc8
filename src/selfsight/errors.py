"""Errors that the command line shows as one sentence instead of a traceback.

SelfsightError: a fault of the environment (a missing file, a full disk, too little data); exit 1.
Stopped:        stopped by the user, with everything saved; exit 130.
UsageError:     wrong usage (an unknown name, a value outside its range); exit 2.
"""

import difflib
import re
from collections.abc import Iterable


class SelfsightError(Exception):
    """A fault of the environment: what happened, and what to do about it."""


class Stopped(SelfsightError):
    """Stopped by the user, with everything saved; exit 130."""


class UsageError(ValueError):
    """Wrong usage; the message gives the rule, the value got and the remedy."""


# What torch, numpy, C++, CUDA and the loader of libraries say when memory runs out.
NO_MEMORY = (
    "out of memory", "allocate memory", "not enough memory", "insufficient memory", "bad_alloc",
    "alloc_failed", "failed to map segment", "cannot map zero-fill",
)  # fmt: skip
# What they say when no thread can be started, for lack of memory or of allowed processes.
NO_THREAD = ("can't start new thread", "resource temporarily unavailable")
MORE = "End other programs, or raise the limit of memory (ulimit -v)"
QUOTED = 300  # most characters of a library's message
# Flags of a verb whose smaller values need less memory.
SMALLER = ("batch", "size", "limit", "labels", "count")


def out_of_memory(error: BaseException, settings: object = None) -> SelfsightError | None:
    """Turn an error from a lack of memory or threads into a sentence; None for any other error.

    Args:
        error: An error of torch, numpy or Python.
        settings: A verb's settings; its flags that would save memory are named.
    """
    text = str(error).lower()
    if isinstance(error, SelfsightError | ValueError | TypeError):
        return None
    if any(words in text for words in NO_THREAD):
        return SelfsightError(
            "no further thread could be started; what was saved is intact. End other programs, or "
            "raise the limit of processes (ulimit -u) or of memory (ulimit -v)"
        )
    if not isinstance(error, MemoryError) and not any(words in text for words in NO_MEMORY):
        return None
    asked = re.search(r"(tried|unable) to allocate [\d.,]+ \w+", str(error), re.IGNORECASE)
    much = "" if asked is None else f" ({asked[0][:1].lower()}{asked[0][1:]})"
    remedy = MORE if isinstance(error, ImportError) else _needing_less(settings)
    return SelfsightError(f"memory ran out{much}; what was saved is intact. {remedy}")


def _needing_less(settings: object) -> str:
    """Name the flags of these settings that would save memory."""
    if getattr(settings, "resume", None) is not None:
        return (
            "End other programs, since a resumed run keeps its settings; or start a new run from "
            "its weights, with --from and a smaller --batch"
        )
    flags = [f"a smaller --{name}" for name in SMALLER if hasattr(settings, name)]
    if getattr(settings, "storage", "stream") != "stream":
        flags.append("--storage stream")
    if hasattr(settings, "encoder"):
        flags.append("another --encoder")
    elif hasattr(settings, "run"):
        flags += ["a smaller network"] if flags else ["smaller pictures", "a smaller network"]
    if not flags:
        return MORE
    return f"Give {' or '.join(filter(None, [', '.join(flags[:-1]), flags[-1]]))}"


def in_a_line(error: Exception) -> str:
    """Shorten a library's error to its first line, without a final full stop."""
    known = isinstance(error, OSError) and error.strerror
    first = known or (str(error).strip().splitlines() or [""])[0]
    line = first.rstrip(" .:") or type(error).__name__
    return line if len(line) <= QUOTED else f"{line[:QUOTED]}..."


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Build the error for a name that is not in a table, with close matches or the whole table.

    Args:
        kind: What the name should have been, in the singular, such as "task".
        name: What was asked for.
        known: The known names.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names)}"
    return UsageError(f"unknown {kind} {name!r}; {hint}")
