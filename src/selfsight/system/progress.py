"""Progress: how far long work is and how long it will take, shown on standard error.

A terminal shows a moving bar; a log gets a line now and then and stays readable. On a narrow
terminal only the text at the bar's end, mostly metrics, is cut: the counts, the percentage and the
time left are always shown in full.
"""

import time
from types import TracebackType
from typing import IO, Any, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from selfsight.system.escaping import printable
from selfsight.system.streams import SafeStream

SECONDS_BETWEEN_LINES = 20.0
BAR_SHARE, LONGEST_BAR = 1 / 8, 24  # of the terminal's width, and in characters


class _Plain(Console):
    """A console for sentences and tables that hold any names.

    Unprintable characters are escaped, and nothing in a name is taken for a style, a link or an
    emoji. What cannot be written, for instance to a closed terminal, is dropped.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    @property
    def file(self) -> IO[str]:
        """The stream to write to, wrapped so that writing never fails."""
        return cast(IO[str], SafeStream(super().file))

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; the terminal wraps sentences, and tables are fitted to its width."""
        options.setdefault("soft_wrap", all(isinstance(one, str) for one in objects))
        super().print(*objects, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Turn a string to be printed, alone or in a table, into printable text."""
        return super().render_str(printable(text), **options)


def console() -> Console:
    """Give the console for everything but results: standard error."""
    return _Plain(stderr=True)


def answers() -> Console:
    """Give the console for a verb's answer, sentences and tables: standard output."""
    return _Plain()


class Bar:
    """The progress of one piece of long work, as a context.

    Args:
        title: What is being done.
        total: How many units there are.
        unit: What a unit is, in the plural.
        on: Where to show it; standard error by default.
    """

    def __init__(
        self, title: str, total: int, *, unit: str = "pictures", on: Console | None = None
    ) -> None:
        self.title, self.total, self.unit = printable(title), total, unit
        self.console = on or console()
        self._live = self.console.is_terminal
        self._bar = _progress(self.console, live=self._live)
        self._start = self._spoken = time.monotonic()
        self._first = 0

    def __enter__(self) -> "Bar":
        self._task = self._bar.add_task(self.title, total=self.total, side="left", text="")
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def begin_at(self, done: int) -> None:
        """Set how much was done before, so that the rate counts only what is done now."""
        self._first = done
        self._bar.update(self._task, completed=done)

    def __call__(self, done: int, text: str = "", *, total: int | None = None) -> None:
        """Show how many units are done, a text about them, and a new total if it changed."""
        if total is not None and total != self.total:
            self.total = total
            self._bar.update(self._task, total=total)
        if self._live:
            side = "left" if done < self.total else "in all"
            text = printable(text) or self._pace(done)
            self._bar.update(self._task, completed=done, side=side, text=text)
            return
        now = time.monotonic()
        if done >= self.total or now - self._spoken >= SECONDS_BETWEEN_LINES:
            self._spoken = now
            self.console.print(f"{self.title}: {self._line(done, now)} {text}".rstrip())

    def _line(self, done: int, now: float) -> str:
        left = (self.total - done) / self._rate(done, now)
        return f"{done:,}/{self.total:,} {self.unit}, {self._pace(done)}, {duration(left)} left"

    def _rate(self, done: int, now: float) -> float:
        return max(done - self._first, 1) / max(now - self._start, 1e-9)

    def _pace(self, done: int) -> str:
        rate = self._rate(done, time.monotonic())
        return f"{rate:,.0f} a second" if rate >= 10 else f"{rate:.2g} a second"


def _progress(on: Console, *, live: bool) -> Progress:
    """Lay the bar out: the text at the end takes the remaining width and is cut first."""
    rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")

    def words(form: str, column: Column | None = None) -> TextColumn:
        return TextColumn(form, markup=False, table_column=column or Column(no_wrap=True))

    return Progress(
        words("{task.description}"),
        BarColumn(bar_width=min(LONGEST_BAR, int(BAR_SHARE * on.width))),
        words("{task.completed:,.0f}/{task.total:,.0f}"),
        words("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(elapsed_when_finished=True, table_column=Column(no_wrap=True)),
        words("{task.fields[side]}"),
        words("{task.fields[text]}", rest),
        console=on,
        expand=True,
        disable=not live,
    )


def duration(seconds: float) -> str:
    """Write a duration as a person would.

    >>> duration(12.3), duration(75), duration(7260)
    ('12 s', '1 min 15 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
