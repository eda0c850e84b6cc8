"""Write docs/tasks.md, which says of every task what `selfsight tasks` says of it.

Run: python docs/tasks.py
"""

from pathlib import Path
from typing import Any

from selfsight.tasks.cards import WORDS, cards
from selfsight.tasks.table import TASKS

WAYS = {"trained": "trained by gradients", "fitted": "fitted in closed form"}
PAGE = Path(__file__).with_name("tasks.md")
HEAD = """# Tasks

What every task hides, predicts and scores, and its settings, for `--set TASK.SETTING=VALUE`.
`python docs/tasks.py` wrote this page from the files of the tasks; `selfsight tasks` prints the
same.
"""


def page() -> str:
    """Write the whole page."""
    return "\n".join([HEAD, *map(section, cards())])


def section(card: dict[str, Any]) -> str:
    """Write what is said of one task."""
    row = TASKS[card["name"]]
    settings = "".join(
        f"| `{name}` | {_default(one['default'])} | {_cell(one['meaning'])} |\n"
        for name, one in card["settings"].items()
    )
    table = f"\n| setting | default | meaning |\n|---|---|---|\n{settings}" if settings else ""
    words = "".join(f"- **{word}**: {card[word.lower()]}\n" for word in WORDS)
    return (
        f"## `{card['name']}`\n{card['title']}\n\n{words}- **Learns from**: {row.modality}, "
        f"{WAYS[row.way]}\n- **Reference**: {card['reference']}\n{table}"
    )


def _default(value: Any) -> str:
    """Write a setting's default."""
    if value is None:
        return "from the data"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`" if value != "" else "none"


def _cell(text: str) -> str:
    """Write text so that it does not end a cell of a table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
