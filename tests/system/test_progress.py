"""Progress: on a narrow terminal only the text at the end of the bar is cut."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from selfsight.system.progress import Bar

METRICS = "loss 1.234 (blind 1.386) accuracy 0.345 (guess 0.250), 1,234 pictures/s, waiting 0.3%"


def lines_of(width: int, *, done: int, title: str = "training", total: int = 120_000) -> list[str]:
    """Show a bar on a terminal of so many columns: -> the last line of each time it was drawn."""
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=width, color_system=None)
    with Bar(title, total, unit="steps", on=terminal) as bar:
        bar(total // 4, METRICS)
        bar(done, METRICS)
    return [Text.from_ansi(line).plain for line in shown.getvalue().splitlines() if line.strip()]


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("title", ["training", "patch dictionary"])
def test_step_share_and_time_left_stay_whole(width: int, title: str) -> None:
    last = next(
        line for line in reversed(lines_of(width, done=60_000, title=title)) if title in line
    )
    line = last[last.rindex(title) :]

    assert "60,000/120,000" in line
    assert " 50% 0:00:0" in line
    assert " left " in line
    assert len(line.rstrip()) <= width


@pytest.mark.parametrize(("width", "whole"), [(80, False), (200, True)])
def test_only_the_metrics_are_cut(width: int, whole: bool) -> None:
    line = next(line for line in reversed(lines_of(width, done=60_000)) if "training" in line)

    assert (METRICS in line) == whole
    assert "left loss 1.234" in line
    assert ("…" in line) != whole


def test_a_bar_shows_titles_and_texts_as_they_are_written_out() -> None:
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=200, color_system=None)

    with Bar("[red]a\x1b]8;;x\x07[/red]", 2, on=terminal) as bar:
        bar(1, "[bold]\x1b[31m\x9b \u202e")

    assert "[red]a\\x1b]8;;x\\x07[/red]" in shown.getvalue()
    assert "[bold]\\x1b[31m\\u009b \\u202e" in shown.getvalue()
    assert "\x1b]8" not in shown.getvalue()
    assert "\x9b" not in shown.getvalue()


def test_a_finished_bar_says_how_long_it_took() -> None:
    line = next(line for line in reversed(lines_of(80, done=120_000)) if "training" in line)

    assert "120,000/120,000 100% 0:00:00 in all" in line
