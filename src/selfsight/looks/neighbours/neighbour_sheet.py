"""Neighbour sheet: queries and their nearest pictures by the features of several networks.

Each line shows a query, then for each network a block of the nearest pictures by the cosine of
their features. Where classes are known, neighbours of the query's class have a green frame, others
a red one.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from torch import Tensor

from selfsight.looks.figure import save_figure
from selfsight.looks.neighbours.search import Search
from selfsight.looks.screen import screen_pixels

SAME, OTHER, QUERY, QUIET = "#2a9d3a", "#d1495b", "#222222", "#666666"
SEEN = 5  # neighbours a block
GAP = 0.3  # pictures, before each block
CELL = 0.82  # inches a picture takes
DOTS = 120  # an inch
LETTERS = 19  # of a query's name
CAPTION_LETTERS_AN_INCH = 18


def nearest(bank: Tensor, queries: Tensor, count: int = SEEN) -> Tensor:
    """Find the pictures closest to each query.

    Args:
        bank: (N, D) features to look among.
        queries: (Q, D) features to look for.
        count: How many, at most N.

    Returns:
        (Q, count) int64 rows of the bank, closest first, by cosine.
    """
    return Search(bank)(queries, count).rows


def draw_neighbours(
    bank: Tensor | Mapping[int, Tensor],
    queries: Tensor | Sequence[Tensor],
    found: Mapping[str, Tensor],
    path: Path,
    *,
    bank_labels: Tensor | None = None,
    query_labels: Tensor | None = None,
    cosine: Mapping[str, Tensor] | None = None,
    query_names: Sequence[str] = (),
    caption: str = "",
) -> None:
    """Draw a sheet of neighbours into a .png file.

    Args:
        bank: The pictures that were searched, by row: (C, h, w) each, as stored.
        queries: The Q query pictures, (C, h, w) each, as stored.
        found: By network: (Q, n) rows of the bank, closest first.
        path: Where it goes.
        bank_labels: (N,) classes, for the frames' colours.
        query_labels: (Q,) classes.
        cosine: By network: (Q, n) in [-1, 1], written under the pictures.
        query_names: Q names, written under the queries; long lines are cut at the beginning.
        caption: Text below the sheet.
    """
    columns = _ratios(found)
    rows = len(queries)
    noted = bool(query_names) or cosine is not None
    height, width = rows * CELL * (1.3 if noted else 1.06), CELL * sum(columns)
    figure = Figure(figsize=(width, height), dpi=DOTS)
    grid = figure.add_gridspec(
        rows,
        len(columns),
        left=0,
        right=1,
        bottom=0,
        top=1,
        wspace=0.06,
        hspace=0.36 if noted else 0.08,
        width_ratios=columns,
    )
    _draw_queries(figure, grid, queries, query_names)
    column = 1
    for name, answers in found.items():
        column += 1  # a narrow empty column between blocks
        numbers = cosine[name] if cosine else None
        for row, others in enumerate(answers.tolist()):
            for place, other in enumerate(others):
                axis = figure.add_subplot(grid[row, column + place])
                _show(axis, bank[other], _frame(row, other, bank_labels, query_labels))
                if numbers is not None:
                    _note(axis, f"{numbers[row, place]:.2f}")
        _title(figure, grid, column, answers.shape[1], name)
        column += answers.shape[1]
    if caption:
        _caption(figure, caption, width, height)
    save_figure(figure, path)


def _ratios(found: Mapping[str, Tensor]) -> Sequence[float]:
    """Give the widths of the columns: 1 for pictures, less for the gap before each block."""
    ratios = [1.0]
    for rows in found.values():
        ratios += [GAP] + [1.0] * rows.shape[1]
    return ratios


def _draw_queries(
    figure: Figure, grid: GridSpec, queries: Tensor | Sequence[Tensor], names: Sequence[str]
) -> None:
    for row, query in enumerate(queries):
        axis = figure.add_subplot(grid[row, 0])
        _show(axis, query, QUERY)
        if names:
            _note(axis, "\n".join(map(_shortened, names[row].splitlines())))
    _title(figure, grid, 0, 1, "query")


def _shortened(line: str) -> str:
    return line if len(line) <= LETTERS else f"…{line[1 - LETTERS :]}"


def _title(figure: Figure, grid: GridSpec, first: int, count: int, name: str) -> None:
    """Write a block's name above the middle of its columns."""
    left = grid[0, first].get_position(figure)
    right = grid[0, first + count - 1].get_position(figure)
    above = 0.08 / figure.get_figheight()
    figure.text(
        (left.x0 + right.x1) / 2, left.y1 + above, name, ha="center", va="bottom", fontsize=10
    )


def _caption(figure: Figure, caption: str, width: float, height: float) -> None:
    """Write the caption below the sheet, in lines as long as the sheet is wide."""
    lines = textwrap.wrap(caption, max(40, round(width * CAPTION_LETTERS_AN_INCH)))
    figure.text(0, -0.28 / height, "\n".join(lines), va="top", fontsize=7.5, color=QUIET)


def _frame(row: int, other: int, bank_labels: Tensor | None, query_labels: Tensor | None) -> str:
    if bank_labels is None or query_labels is None:
        return QUERY
    return SAME if bank_labels[other] == query_labels[row] else OTHER


def _show(axis: Axes, picture: Tensor, frame: str) -> None:
    """Draw one picture (C, h, w) in a frame."""
    axis.imshow(screen_pixels(picture), interpolation="nearest")
    axis.set_anchor("S")  # its note stands right below it
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_color(frame)
        spine.set_linewidth(2)


def _note(axis: Axes, text: str) -> None:
    """Write something small below a picture."""
    axis.annotate(
        text,
        (0.5, 0),
        (0, -3),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=5.5,
        color=QUIET,
    )


def shared_class(found: Tensor, bank_labels: Tensor, query_labels: Tensor) -> float:
    """Say which share of all neighbours (Q, n) has its query's class, in [0, 1]."""
    return float((bank_labels[found] == query_labels[:, None]).float().mean())
