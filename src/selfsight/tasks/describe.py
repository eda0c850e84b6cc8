"""What a task says of itself: its card, read from its file, and its settings, from its constructor.

A task's docstring is data: the words Hidden, Predicted and Scored, and the paper below them, are
printed by `selfsight tasks`, in the documentation and in reports.
"""

import importlib
import inspect
import re
import types
import typing
from typing import Any

from selfsight.errors import UsageError, unknown_name
from selfsight.tasks import TASKS, load_task, row_of

WORDS = ("Hidden", "Predicted", "Scored")
GIVEN = ("self", "encoder", "dim", "size")  # what a task gets without being asked


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
    """List a task's settings with their defaults; None is derived from the data."""
    parameters = inspect.signature(load_task(name)).parameters
    return {key: p.default for key, p in parameters.items() if key not in GIVEN}


def parsed_settings(task: str, pairs: tuple[str, ...]) -> dict[str, Any]:
    """Read `TASK.SETTING=VALUE` pairs against the task's constructor.

    Raises:
        UsageError: If a pair is malformed, names another task or an unknown setting, or its value
            is not of the setting's kind.
    """
    known = settings_of(task)
    hints = typing.get_type_hints(load_task(task).__init__)
    found: dict[str, Any] = {}
    for pair in pairs:
        match = re.fullmatch(r"([^.=]+)\.([^=]+)=(.*)", pair)
        if match is None:
            raise UsageError(f"--set takes TASK.SETTING=VALUE, got {pair!r}")
        owner, setting, text = match.groups()
        if owner != task:
            raise unknown_name("task of this run", owner, [task])
        if setting not in known:
            raise unknown_name(f"setting of {task}", setting, known)
        found[setting] = _value(text, hints[setting], pair)
    return found


def _value(text: str, hint: Any, pair: str) -> Any:
    """Turn text into what an annotation allows."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for kind in kinds:
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
        "none" if kind is type(None) else getattr(kind, "__name__", str(kind)) for kind in kinds
    )
    wanted = " or ".join(names)
    raise UsageError(f"--set {pair}: the value must be {wanted}, got {text!r}")
