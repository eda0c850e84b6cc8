"""What a task says of itself: its card, read from its file, and its settings, from its constructor.

A task's docstring is data: the words Hidden, Predicted and Scored, and the paper below them, are
printed by `selfsight tasks`, in the documentation and in reports.
"""

import importlib
import inspect
import re
import types
import typing
from typing import TYPE_CHECKING, Any, Literal

from selfsight.errors import UsageError, unknown_name
from selfsight.parts.together import Together
from selfsight.tasks import TASKS, load_task, row_of

if TYPE_CHECKING:
    from torch import nn

WORDS = ("Hidden", "Predicted", "Scored")
MIX = "mix"  # the owner of the settings that several tasks share
# What a task gets from the run or the data, and what is asked by a flag of its own.
GIVEN = ("self", "encoder", "dim", "size", "shares", "tasks", "mix")


def card(name: str) -> dict[str, Any]:
    """Describe one task: its name, title, modality, words, reference, blind cost and settings."""
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
        "settings": settings_of(name),
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
    parameters = inspect.signature(_owner(name)).parameters
    return {key: p.default for key, p in parameters.items() if key not in GIVEN}


def _owner(name: str) -> "type[nn.Module]":
    """Find the class whose constructor takes the settings of a name."""
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
        hints = typing.get_type_hints(_owner(owner).__init__)
        found[owner][setting] = _value(text, hints[setting], pair)
    return found


def _kinds(hint: Any) -> tuple[Any, ...]:
    """Spell out what an annotation allows: plain types, and the words of a `Literal`."""
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return tuple(kind for part in typing.get_args(hint) for kind in _kinds(part))
    return (hint,)


def _value(text: str, hint: Any, pair: str) -> Any:
    """Turn text into what an annotation allows."""
    kinds = _kinds(hint)
    for kind in kinds:
        if text == str(kind) and not isinstance(kind, type):
            return kind
        if kind is type(None) and text.lower() == "none":
            return None
        if kind is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind in (int, float, str):
            try:
                return kind(text)
            except ValueError:
                continue
    names = (
        "none" if kind is type(None) else kind.__name__ if isinstance(kind, type) else str(kind)
        for kind in kinds
    )
    wanted = " or ".join(names)
    raise UsageError(f"--set {pair}: the value must be {wanted}, got {text!r}")
