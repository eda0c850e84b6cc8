"""Neighbours: which pictures lie closest to a query, as different networks see it.

A row a query: the query itself, then a block of its nearest pictures for each network, by the
cosine of their pooled features. Where classes are known, a neighbour of the query's own class has a
green frame, another a red one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from selfsight.looks.figure import save_figure

SAME, OTHER, QUERY = "#2a9d3a", "#d1495b", "#222222"
SEEN = 5  # neighbours a block


def nearest(bank: Tensor, queries: Tensor, count: int = SEEN) -> Tensor:
    """Find the pictures closest to each query.

    Args:
        bank: (N, D) features to look among.
        queries: (Q, D) features to look for.
        count: How many, at most N.

    Returns:
        (Q, count) int64 rows of the bank, closest first, by cosine.
    """
    cosine = F.normalize(queries, dim=1) @ F.normalize(bank, dim=1).T
    return cosine.topk(count, dim=1).indices


def draw_neighbours(
    bank: Tensor,
    queries: Tensor,
    found: Mapping[str, Tensor],
    path: Path,
    *,
    bank_labels: Tensor | None = None,
    query_labels: Tensor | None = None,
) -> None:
    """Draw a sheet of neighbours into a .png file.

    Args:
        bank: (N, C, S, S) uint8 pictures looked among.
        queries: (Q, C, S, S) uint8 pictures looked for.
        found: By network: (Q, n) rows of the bank, closest first.
        path: Where it goes.
        bank_labels: (N,) classes, for the frames' colours.
        query_labels: (Q,) classes.
    """
    widths = [1, *(rows.shape[1] for rows in found.values())]
    figure = Figure(figsize=(0.75 * sum(widths) + 1, 0.8 * len(queries) + 0.6), dpi=110)
    columns = _ratios(found)
    grid = figure.add_gridspec(
        len(queries), len(columns), wspace=0.06, hspace=0.06, width_ratios=columns
    )
    for row, query in enumerate(queries):
        axis = figure.add_subplot(grid[row, 0])
        _show(axis, query, QUERY)
        if row == 0:
            axis.set_title("query", fontsize=9)
        column = 1
        for name, rows in found.items():
            column += 1  # a narrow empty column between blocks
            for place, other in enumerate(rows[row].tolist()):
                axis = figure.add_subplot(grid[row, column])
                _show(axis, bank[other], _frame(row, other, bank_labels, query_labels))
                if row == 0 and place == rows.shape[1] // 2:
                    axis.set_title(name, fontsize=9)
                column += 1
    save_figure(figure, path)


def _ratios(found: Mapping[str, Tensor]) -> Sequence[float]:
    """Give the columns' widths: pictures 1, the gaps before each block less."""
    ratios = [1.0]
    for rows in found.values():
        ratios += [0.25] + [1.0] * rows.shape[1]
    return ratios


def _frame(row: int, other: int, bank_labels: Tensor | None, query_labels: Tensor | None) -> str:
    if bank_labels is None or query_labels is None:
        return QUERY
    return SAME if bank_labels[other] == query_labels[row] else OTHER


def _show(axis: Axes, picture: Tensor, frame: str) -> None:
    """Draw one picture (C, S, S) in a frame."""
    pixels = picture.expand(3, -1, -1) if len(picture) == 1 else picture[:3]
    axis.imshow(pixels.permute(1, 2, 0).numpy())
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_color(frame)
        spine.set_linewidth(2)


def shared_class(found: Tensor, bank_labels: Tensor, query_labels: Tensor) -> float:
    """Say which share of all neighbours (Q, n) has its query's class, in [0, 1]."""
    return float((bank_labels[found] == query_labels[:, None]).float().mean())
