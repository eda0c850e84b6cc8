"""Sheet: samples side by side, each a few pictures with a note, and what was measured below them.

A right answer has a solid green frame and a tick, a wrong one a dashed red frame and a cross, so
that they can be distinguished without colours.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from selfsight.looks.figure import save_figure
from selfsight.looks.screen import screen_pixels

RIGHT, WRONG, PLAIN, QUIET = "#1f8a34", "#c8323f", "#b5b5b5", "#555555"
TICK, CROSS = "\u2713", "\u2717"
SIDE, GAP, BETWEEN = 1.3, 0.12, 0.38  # inches: a picture, beside it, between samples in a line
LINE = 0.135  # inches a line of a note takes
COLUMNS = 10  # pictures in a line; as many samples stand side by side as these have room for
DOTS = 120  # an inch
LETTERS_AN_INCH = 15  # of the caption


class Cell(NamedTuple):
    """One picture of a sample.

    Attributes:
        picture: (C, h, w) as stored, or float in [0, 1].
        note: Written below it; may have several lines.
        right: Whether it is a right answer; None for a picture that is no answer.
    """

    picture: Tensor
    note: str = ""
    right: bool | None = None


@dataclass(frozen=True)
class Sheet:
    """What a sheet holds.

    Attributes:
        title: What was asked.
        columns: What stands in each column of a sample, such as "question" and "truth".
        samples: For each sample its cells, at most one for each column.
        headings: Text left of each sample; with headings, each sample is on a separate line.
        side: Width of a picture, in inches.
    """

    title: str
    columns: Sequence[str]
    samples: Sequence[Sequence[Cell]]
    headings: Sequence[str] = ()
    side: float = SIDE


def draw_sheet(sheet: Sheet, path: Path, *, caption: str = "") -> None:
    """Draw a sheet into a .png file.

    Args:
        sheet: What is drawn.
        path: Where it goes.
        caption: Text below it.
    """
    columns, side = len(sheet.columns), sheet.side
    lines = -(-len(sheet.samples) // _in_a_line(sheet))
    across = -(-len(sheet.samples) // lines)
    tall = max(_tallness(cell.picture) for cells in sheet.samples for cell in cells) * side
    step = tall + LINE * max(_lines(c.note) for cells in sheet.samples for c in cells) + GAP
    block = columns * (side + GAP) + (BETWEEN if columns > 1 else 0)
    width, height = columns * (side + GAP) - GAP + (across - 1) * block, lines * step
    figure = Figure(figsize=(width, height), dpi=DOTS)
    for number, cells in enumerate(sheet.samples):
        line, place = divmod(number, across)
        if sheet.headings:
            top = 1 - line * step / height
            _name(figure, sheet.headings[number], (place * block - 0.08) / width, top)
        for column, cell in enumerate(cells):
            left = place * block + column * (side + GAP)
            bottom = height - line * step - tall
            axis = figure.add_axes(
                (left / width, bottom / height, side / width, tall / height), anchor="N"
            )
            _draw(axis, cell, side)
            if line == 0:
                _head(figure, sheet.columns[column], (left + side / 2) / width, 1 + 0.06 / height)
    above = 0.16 + LINE * 1.25 * max(_lines(name) for name in sheet.columns)
    figure.text(0, 1 + above / height, sheet.title, va="bottom", fontsize=12, weight="bold")
    if caption:
        wrapped = textwrap.fill(caption, max(40, round(width * LETTERS_AN_INCH)))
        figure.text(0, -0.1 / height, wrapped, va="top", fontsize=9, color=QUIET)
    save_figure(figure, path)


def answered(words: str, *, right: bool) -> str:
    """Put a tick or a cross before an answer."""
    return f"{TICK if right else CROSS} {words}"


def percent(share: float) -> str:
    """Write a share in [0, 1] in per cent, with a decimal where it is small.

    >>> percent(0.917), percent(0.125), percent(0.1)
    ('92 %', '12.5 %', '10 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.2 else f"{100 * share:.1f} %".replace(".0 ", " ")


def _in_a_line(sheet: Sheet) -> int:
    """Tell how many samples fit side by side."""
    return 1 if sheet.headings else max(1, COLUMNS // len(sheet.columns))


def _tallness(picture: Tensor) -> float:
    """Compute a picture's height as a multiple of its width."""
    return picture.shape[-2] / picture.shape[-1]


def _lines(text: str) -> int:
    return len(text.splitlines())


def _draw(axis: Axes, cell: Cell, side: float) -> None:
    """Draw one picture in its frame, with its note below."""
    axis.imshow(screen_pixels(cell.picture.cpu()), interpolation=_interpolation(cell.picture, side))
    axis.set_xticks([])
    axis.set_yticks([])
    colour = PLAIN if cell.right is None else RIGHT if cell.right else WRONG
    for spine in axis.spines.values():
        spine.set_color(colour)
        spine.set_linewidth(0.8 if cell.right is None else 2.2)
        spine.set_linestyle((0, (3, 2)) if cell.right is False else "-")
    axis.annotate(
        cell.note,
        (0.5, 0),
        (0, -3),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=7,
        color=QUIET if cell.right is None else colour,
    )


def _interpolation(picture: Tensor, side: float) -> str:
    """Show the pixels of small pictures as they are, and shrink large ones smoothly."""
    return "nearest" if max(picture.shape[-2:]) <= side * DOTS else "antialiased"


def _head(figure: Figure, text: str, x: float, y: float) -> None:
    figure.text(x, y, text, ha="center", va="bottom", fontsize=8.5)


def _name(figure: Figure, text: str, x: float, y: float) -> None:
    figure.text(x, y, text, ha="right", va="top", fontsize=8.5)
