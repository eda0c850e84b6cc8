"""Agreement: what a query has in common with the neighbours that a network finds for it.

*Frozen* is the network. *Measured* are, over the `LIST` pictures nearest to each query by cosine:
how many remain when the query's colours change (`invariance.py`; two random lists share
`LIST` / N), how many are of the query's class (of a random list: the class's share of the bank),
and their mean cosine.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from selfsight.encoders import Encoder
from selfsight.looks.neighbours.gallery import Gallery
from selfsight.looks.neighbours.invariance import (
    Change,
    changes,
    colour_record,
    is_coloured,
    why_not,
)
from selfsight.looks.neighbours.queries import QueryRows
from selfsight.looks.neighbours.search import NOBODY, Found, Search
from selfsight.probes.encoding import BATCH, encoded, scaled_to_size
from selfsight.probes.features import Pixels
from selfsight.system.progress import Bar

LIST = 10  # nearest rows that are compared
CLASS_AMONG = (1, 5, 10)  # nearest rows


class FeatureSource(NamedTuple):
    """A network whose features are compared.

    Attributes:
        network: The network.
        size: Side of the network's input, in pixels.
        layer: The layer whose features are compared; None for the network's own pooled features.
        device: Where it computes.
    """

    network: Encoder | Pixels
    size: int
    layer: str | None
    device: str


def find_neighbours(
    name: str,
    source: FeatureSource,
    bank: Gallery,
    measured: QueryRows,
    drawn: QueryRows,
    *,
    count: int,
) -> tuple[dict[str, Any], Found]:
    """Find neighbours by a network's features, and measure how far they agree with the queries.

    Args:
        name: The network's name, for the progress bar.
        source: The network.
        bank: What is searched.
        measured: The queries that are measured.
        drawn: The queries of the sheet.
        count: Neighbours of each query of the sheet.

    Returns:
        The network's record, and what the sheet shows.
    """
    begun = time.monotonic()
    colour = _coloured(measured, source.size)
    reason = why_not(bank.images.shape[1], int(colour.sum()))
    altered = {} if reason else changes()
    asked_anew = [asked for asked in (measured, drawn) if asked.gallery is not bank]
    total = len(bank) + sum(len(a.rows) for a in asked_anew) + len(altered) * int(colour.sum())
    with Bar(name, total, unit=f"{'patches' if bank.cut else 'pictures'}") as bar:
        done = 0

        def features(gallery: Gallery, rows: Tensor, change: Change | None = None) -> Tensor:
            nonlocal done
            parts: list[Tensor] = []
            for part in encoded(
                source.network,
                gallery.images,
                rows,
                size=source.size,
                layer=source.layer,
                change=change,
                device=source.device,
            ):
                parts.append(part)
                done += len(part)
                bar(done)
            return torch.cat(parts)

        everything = features(bank, torch.arange(len(bank)))
        search = Search(everything, bank.owners)
        queries = everything[measured.rows] if measured.gallery is bank else _of(features, measured)
        on_sheet = everything[drawn.rows] if drawn.gallery is bank else _of(features, drawn)
        before = search(queries, LIST, measured.owners)
        owners = measured.owners[colour]
        after = {
            change: search(
                features(measured.gallery, measured.rows[colour], how), LIST, owners
            ).rows
            for change, how in altered.items()
        }
    record = {
        "layer": source.layer or ("pixels" if isinstance(source.network, Pixels) else "pooled"),
        "features": everything.shape[1],
        "size": source.size,
        **_colour(before.rows[colour], after, reason),
        "same_class": _same_class(before.rows, bank.labels, measured.labels),
        "cosine": round(before.cosine.mean().item(), 4),
        "search": search.way,
        "recall": search.recall(queries, LIST, measured.owners),
        "seconds": round(time.monotonic() - begun, 1),
    }
    return record, search(on_sheet, count, drawn.owners)


def class_chance(bank: Gallery, queries: QueryRows) -> float | None:
    """Compute which share of random rows has the query's class; None when unlabelled."""
    if bank.labels is None or queries.labels is None:
        return None
    classes = max(len(bank.pictures.classes), int(queries.labels.max()) + 1)
    sizes = bank.labels.bincount(minlength=classes)[queries.labels].float()
    own = torch.tensor([int((bank.owners == owner).sum()) for owner in queries.owners.tolist()])
    own = own.where(queries.owners != NOBODY, 0)
    return round(((sizes - own) / (len(bank) - own)).mean().item(), 4)


def _of(features: Callable[[Gallery, Tensor], Tensor], queries: QueryRows) -> Tensor:
    return features(queries.gallery, queries.rows)


def _coloured(queries: QueryRows, size: int) -> Tensor:
    """Mark the queries that have colour: -> (Q,) bool."""
    parts = queries.rows.split(BATCH)
    return torch.cat(
        [is_coloured(scaled_to_size(queries.gallery.images, rows, size)) for rows in parts]
    )


def _colour(before: Tensor, after: dict[str, Tensor], reason: str | None) -> dict[str, Any]:
    if reason:
        nothing = dict.fromkeys(("grey_kept", "hue_kept", "hue_kept_by_turn"))
        return {**nothing, "coloured_queries": len(before), "colour_unknown": reason}
    measured = colour_record(before, after)
    return {**measured, "coloured_queries": len(before), "colour_unknown": None}


def _same_class(
    found: Tensor, bank_labels: Tensor | None, query_labels: Tensor | None
) -> dict[str, float] | None:
    """Compute which share of the nearest 1, 5 and 10 rows has the class of its query."""
    if bank_labels is None or query_labels is None:
        return None
    right = (bank_labels[found] == query_labels[:, None]).float()
    among = [n for n in CLASS_AMONG if n <= found.shape[1]]
    return {str(n): round(right[:, :n].mean().item(), 4) for n in among}
