"""Cards: descriptions of tasks from their docstrings, and of their settings from constructors.

A task's docstring is data: the words Hidden, Predicted and Scored, and the paper below them, are
printed by `selfsight tasks`, in the documentation and in reports.
"""

import importlib
import inspect
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from selfsight.errors import UsageError, unknown_name
from selfsight.system.validation import check_value, check_within
from selfsight.tasks.base import Facts, Task
from selfsight.tasks.mix import Together
from selfsight.tasks.table import TASKS, load_task, row_of

WORDS = ("Hidden", "Predicted", "Scored")
MIX = "mix"  # the owner of the settings that several tasks share
# What a task gets from the run or the data, and what is asked by a flag of its own.
GIVEN = ("self", "encoder", "dim", "size", "shares", "tasks", "mix")
NEVER_KEPT = ("self", "encoder", "dim", "size", "tasks", "mix", "return")  # of them, in a plan
MOST_SETTING = 2**31  # no setting is a greater whole number

# Any facts will do to learn which settings a task derives from them.
SOME_FACTS = Facts(samples=4096, classes=10, channels=3, side=64, batch=64)


def card(name: str) -> dict[str, Any]:
    """Describe one task: its name, title, modality, words, reference, blind cost and settings.

    For "mix" there are only name, title and settings.
    """
    if name == MIX:
        title = (Together.__doc__ or "").splitlines()[0]
        return {"name": MIX, "title": title, "settings": described_settings(MIX)}
    row = row_of(name)
    module = importlib.import_module(row.target.partition(":")[0])
    title, *paragraphs = [" ".join(p.split()) for p in (module.__doc__ or "").split("\n\n")]
    words = _words(paragraphs[0])
    return {
        "name": name,
        "title": title,
        "modality": row.modality,
        **{word.lower(): words[word] for word in WORDS},
        "reference": paragraphs[1],
        "blind": words["Scored"].rpartition("; ")[2] if row.blind else None,
        "settings": described_settings(name),
    }


def cards() -> list[dict[str, Any]]:
    """Describe every task, in the table's order."""
    return [card(name) for name in TASKS]


def _words(paragraph: str) -> dict[str, str]:
    """Cut "Hidden: ... Predicted: ... Scored: ..." into its three answers."""
    pieces = re.split(rf"({'|'.join(WORDS)}): *", paragraph)[1:]
    return {word: text.strip() for word, text in zip(pieces[::2], pieces[1::2], strict=True)}


def settings_of(name: str) -> dict[str, Any]:
    """List a task's settings, or those of "mix", with their defaults; None is derived."""
    parameters = _parameters(_owner(name).__mro__)
    return {key: p.default for key, p in parameters.items() if key not in GIVEN}


def _parameters(kinds: Sequence[type]) -> dict[str, inspect.Parameter]:
    """List what a constructor takes: with `**others` also what that of the class it refines does.

    Args:
        kinds: The class, and then those it refines, as in `__mro__`.
    """
    own = dict(inspect.signature(kinds[0].__init__).parameters)
    further = [key for key, p in own.items() if p.kind is inspect.Parameter.VAR_KEYWORD]
    if not further:
        return own
    return _parameters(kinds[1:]) | {key: p for key, p in own.items() if key not in further}


def _hints(name: str) -> dict[str, Any]:
    """List what each setting of a name may be, as its constructor says."""
    found: dict[str, Any] = {}
    for kind in reversed(_owner(name).__mro__):
        found |= typing.get_type_hints(kind.__init__)
    return {key: found[key] for key in _parameters(_owner(name).__mro__) if key in found}


def described_settings(name: str) -> dict[str, dict[str, Any]]:
    """Give the default and the meaning and range of each setting of a task, or of "mix".

    The default is None if it comes from the data.
    """
    owner = _owner(name)
    meanings: dict[str, str] = {}
    for part in reversed(owner.__mro__):  # a task that refines another keeps its words
        meanings |= arguments_in(part.__doc__ or "")
    derived = owner.derive(SOME_FACTS)
    return {
        key: {"default": None if key in derived else default, "meaning": meanings.get(key, "")}
        for key, default in settings_of(name).items()
    }


def unusual_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of a task's settings, or of those of "mix", what nobody chose and no data decided.

    What is derived from the data is always told, everything else where it is not its default.
    """
    derived, defaults = _owner(name).derive(SOME_FACTS), settings_of(name)
    return {
        key: value
        for key, value in settings.items()
        if key in derived or key not in defaults or value != defaults[key]
    }


def arguments_in(docstring: str) -> dict[str, str]:
    """Read the section "Args:" of a docstring: -> each argument's words, on one line."""
    _, _, section = inspect.cleandoc(docstring).partition("Args:\n")
    found: dict[str, str] = {}
    last = ""
    for line in section.splitlines():
        if not line.startswith(" "):
            break  # the section ends where its indent does
        name, colon, words = line.strip().partition(": ")
        if colon and line.startswith("    ") and not line.startswith("     "):
            last = name
            found[last] = words
        elif found:
            found[last] += f" {line.strip()}"
    return found


def _owner(name: str) -> type[Task]:
    """Find the class whose constructor takes the settings of a task or of "mix"."""
    return Together if name == MIX else load_task(name)


def parsed_settings(tasks: tuple[str, ...], pairs: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Read `TASK.SETTING=VALUE` pairs against the constructors of the tasks, and of their mix.

    Returns:
        The settings by their owner: every task, and "mix" if there are several.

    Raises:
        UsageError: If a pair is malformed, names another task or an unknown setting, or its value
            is not of the setting's kind.
    """
    owners = tasks if len(tasks) == 1 else (*tasks, MIX)
    found: dict[str, dict[str, Any]] = {owner: {} for owner in owners}
    for pair in pairs:
        match = re.fullmatch(r"([^.=]+)\.([^=]+)=(.*)", pair)
        if match is None:
            raise UsageError(f"--set takes TASK.SETTING=VALUE, got {pair!r}")
        owner, setting, text = match.groups()
        if owner == MIX and MIX not in owners:
            raise UsageError(f"--set {pair}: a mix is of several tasks, got {tasks[0]} alone")
        if owner not in owners:
            raise unknown_name("task of this run", owner, owners)
        known = settings_of(owner)
        if setting not in known:
            raise unknown_name(f"setting of {owner}", setting, known)
        found[owner][setting] = _value(text, kinds_of(owner)[setting], pair)
    return found


def kinds_of(name: str) -> dict[str, tuple[Any, ...]]:
    """Give the allowed kinds of each setting of a task, or of "mix": plain types, and words."""
    hints = _hints(name)
    return {key: _kinds(hints[key]) for key in settings_of(name)}


def check_settings(name: str, settings: Any) -> None:
    """Check settings that were read back, of a task or of "mix", against its constructor.

    Raises:
        UsageError: If they are unknown, of another kind, or numbers beyond those of any network.
    """
    hints = _hints(name)
    try:
        check_value(settings, dict, f"the settings of {name}")
        for key, value in cast(dict[str, Any], settings).items():
            if key not in hints or key in NEVER_KEPT:
                raise unknown_name(f"setting of {name}", key, settings_of(name))
            check_value(value, hints[key], f"{name}.{key}")
            if isinstance(value, int):
                check_within(f"{name}.{key}", value, -MOST_SETTING, MOST_SETTING)
    except ValueError as error:
        raise UsageError(f"the run's settings are not of this selfsight: {error}") from error


def _kinds(hint: Any) -> tuple[Any, ...]:
    """List what an annotation allows: plain types, and the words of a `Literal`."""
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return tuple(kind for part in typing.get_args(hint) for kind in _kinds(part))
    return (hint,)


def _value(text: str, kinds: tuple[Any, ...], pair: str) -> Any:
    """Parse text into one of the allowed kinds."""
    for kind in kinds:
        if text == str(kind) and not isinstance(kind, type):
            return kind
        if kind is type(None) and text.lower() == "none":
            return None
        if kind is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind in (int, float, str):
            try:
                value = kind(text)
            except ValueError:
                continue
            if not isinstance(value, float) or math.isfinite(value):
                return value
    names = (
        "none" if kind is type(None) else kind.__name__ if isinstance(kind, type) else str(kind)
        for kind in kinds
    )
    wanted = " or ".join(names)
    raise UsageError(f"--set {pair}: the value must be {wanted}, got {text!r}")
