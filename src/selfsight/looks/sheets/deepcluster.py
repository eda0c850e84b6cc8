"""Clusters: the sheet of tasks that cluster pictures: which of them are in one cluster?

*Frozen* is the network with its head. *Measured* is how evenly held-out pictures fall into the
clusters and, where their classes are known, the purity: the share of pictures whose class is the
most frequent of their cluster. Small clusters are pure by accident, so the purity is
compared with that of clusters of the same sizes that are filled at random.
"""

from typing import Any

import torch
from torch import Tensor

from selfsight.augment.views import centre_view
from selfsight.draws import Draws
from selfsight.looks.held_out import HeldOut
from selfsight.looks.sheet import Cell, Sheet, percent
from selfsight.looks.task_sheet import Question, SetwiseSheet
from selfsight.system.progress import Bar

BATCH = 64  # pictures at a time
ACROSS = 8  # pictures of a cluster on the sheet
DEALS = 20  # random fillings whose purity is averaged
LETTERS = 14  # of a class's name


def find_answers(task: Any, question: Question) -> tuple[Sheet, dict[str, float]]:
    """Assign held-out pictures to clusters by their largest centred squares.

    Args:
        task: Gives the `clusters_of` pictures (B, C, S, S) in [0, 1], with S its `size`, and has a
            weight for each cluster.
        question: The pictures. The sheet shows as many clusters as it has samples, the largest
            first; its seed is that of the random clusters.

    Returns:
        The sheet, and the figures: how many `clusters` there are, how many are `used`, the share of
        the pictures in the `largest`, and where classes are known `purity` and `chance`.
    """
    held, seed, device = question.held, question.seed, question.device
    clusters = clusters_of(task, held, seed=seed, device=device)
    sizes = clusters.bincount()
    figures = {
        "clusters": float(len(task.weights)),
        "used": float((sizes > 0).sum()),
        "largest": float(sizes.max()) / len(clusters),
    }
    labels = held.pictures.labels
    if labels is not None:
        figures["purity"] = purity(clusters, labels)
        figures["chance"] = purity_by_chance(clusters, labels, seed=seed)
    largest = sizes.argsort(descending=True, stable=True)[: question.count]
    drawn = [(clusters == one).nonzero()[:, 0] for one in largest[sizes[largest] > 0].tolist()]
    return Sheet(
        "Clusters: which pictures does it put together?",
        ("",) * min(ACROSS, len(clusters)),
        [_cells(held, rows[:ACROSS], task.size) for rows in drawn],
        headings=[_heading(held, rows) for rows in drawn],
    ), figures


def in_words(_: Any, figures: dict[str, float], among: str) -> str:
    """Say what was measured."""
    empty = figures["clusters"] - figures["used"]
    pure = (
        f" {percent(figures['purity'])} are of the most frequent class of their cluster; in "
        f"clusters of the same sizes filled at random {percent(figures['chance'])} are."
        if "purity" in figures
        else ""
    )
    return (
        f"Of {among}, the largest of {figures['clusters']:,.0f} clusters holds "
        f"{percent(figures['largest'])}, and {empty:,.0f} hold none.{pure} A line shows some "
        "pictures of one cluster, the largest first."
    )


def clusters_of(task: Any, held: HeldOut, *, seed: int, device: str) -> Tensor:
    """Find the cluster of every held-out picture: -> (N,) int64, on the processor."""
    total, found = len(held.pictures), list[Tensor]()
    with Bar("clusters", total) as bar:
        for first in range(0, total, BATCH):
            batch = held.batch(first, first + BATCH, needs=task.needs, seed=seed, device=device)
            squares = centre_view(batch.images, batch.extent, task.size)
            found.append(task.clusters_of(squares).cpu())
            bar(min(first + BATCH, total))
    return torch.cat(found)


def purity(clusters: Tensor, labels: Tensor) -> float:
    """Compute which share of pictures has the most frequent class of their cluster.

    Args:
        clusters: (N,) int64.
        labels: (N,) int64.

    Returns:
        In (0, 1].
    """
    counts = torch.zeros(int(clusters.max()) + 1, int(labels.max()) + 1)
    counts.index_put_((clusters, labels), torch.ones(()), accumulate=True)
    return float(counts.amax(dim=1).sum()) / len(labels)


def purity_by_chance(clusters: Tensor, labels: Tensor, *, seed: int) -> float:
    """Average the purity of the same clusters over `DEALS` random orders of the labels."""
    every = torch.arange(len(labels))
    orders = (Draws(seed, deal, every).order("looks/deal") for deal in range(DEALS))
    return sum(purity(clusters, labels[order]) for order in orders) / DEALS


def _cells(held: HeldOut, rows: Tensor, size: int) -> list[Cell]:
    """Draw pictures of a cluster, with their classes where these are known."""
    images, extent, _ = held.pictures.taken(rows)
    labels = held.pictures.labels
    names = [""] * len(rows) if labels is None else [_name(held, k) for k in labels[rows].tolist()]
    squares = centre_view(images, extent, size)
    return [Cell(square, name) for square, name in zip(squares, names, strict=True)]


def _heading(held: HeldOut, rows: Tensor) -> str:
    """Say how many pictures a cluster has, and which class is the most frequent."""
    count = f"{len(rows):,} picture{'' if len(rows) == 1 else 's'}"
    if held.pictures.labels is None:
        return count
    classes = held.pictures.labels[rows].bincount()
    most = int(classes.argmax())
    return f"{count}\n{percent(int(classes[most]) / len(rows))} of class {_name(held, most)}"


def _name(held: HeldOut, number: int) -> str:
    classes = held.pictures.classes
    name = classes[number] if number < len(classes) else f"{number}"
    return name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}\u2026"


SHEET = SetwiseSheet(find_answers, in_words)
