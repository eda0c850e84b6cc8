"""Alike: what one network takes for alike, measured over many queries.

*Frozen* is the network. *Measured* are, over the `LIST` pictures nearest to each query by cosine:
how many stay when the query's colours change (`looks/invariance.py`; two lists drawn blindly share
`LIST` / N), how many are of the query's class (blindly: the class's share of the bank), and how
near they are.
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
from selfsight.looks.neighbours.search import NOBODY, Found, Search
from selfsight.probes.features import Pixels
from selfsight.probes.subject import BATCH, encoded, seen
from selfsight.system.progress import Bar

LIST = 10  # nearest rows that are compared
CLASS_AMONG = (1, 5, 10)  # nearest rows


class Seer(NamedTuple):
    """A network that looks.

    Attributes:
        network: The network.
        size: Side of what it sees, in pixels.
        layer: The layer it is asked for; None for its own pooled features.
        device: Where it computes.
    """

    network: Encoder | Pixels
    size: int
    layer: str | None
    device: str


class Asked(NamedTuple):
    """What is looked for.

    Attributes:
        gallery: Where it stands.
        rows: (Q,) int64, which rows of it.
        owners: (Q,) int64, the picture of the bank each is of, or `NOBODY`.
    """

    gallery: Gallery
    rows: Tensor
    owners: Tensor

    @property
    def labels(self) -> Tensor | None:
        """Give (Q,) int64 class numbers, None when unlabelled."""
        labels = self.gallery.labels
        return None if labels is None else labels[self.rows]


def look(
    name: str, seer: Seer, bank: Gallery, measured: Asked, drawn: Asked, *, count: int
) -> tuple[dict[str, Any], Found]:
    """Ask a network for neighbours.

    Args:
        name: Of the network, for the progress.
        seer: The network.
        bank: What is searched.
        measured: The queries that are measured.
        drawn: The queries of the sheet.
        count: Neighbours of each of these.

    Returns:
        The network's record, and what the sheet shows.
    """
    begun = time.monotonic()
    colour = _coloured(measured, seer.size)
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
                seer.network,
                gallery.images,
                rows,
                size=seer.size,
                layer=seer.layer,
                change=change,
                device=seer.device,
            ):
                parts.append(part)
                done += len(part)
                bar(done)
            return torch.cat(parts)

        everything = features(bank, torch.arange(len(bank)))
        search = Search(everything, bank.owners)
        queries = everything[measured.rows] if measured.gallery is bank else _of(features, measured)
        shown = everything[drawn.rows] if drawn.gallery is bank else _of(features, drawn)
        before = search(queries, LIST, measured.owners)
        owners = measured.owners[colour]
        after = {
            change: search(
                features(measured.gallery, measured.rows[colour], how), LIST, owners
            ).rows
            for change, how in altered.items()
        }
    record = {
        "layer": seer.layer or ("pixels" if isinstance(seer.network, Pixels) else "pooled"),
        "features": everything.shape[1],
        "size": seer.size,
        **_colour(before.rows[colour], after, reason),
        "same_class": _same_class(before.rows, bank.labels, measured.labels),
        "cosine": round(before.cosine.mean().item(), 4),
        "search": search.way,
        "recall": search.recall(queries, LIST, measured.owners),
        "seconds": round(time.monotonic() - begun, 1),
    }
    return record, search(shown, count, drawn.owners)


def class_chance(bank: Gallery, asked: Asked) -> float | None:
    """Say which share of blindly drawn rows has the query's class; None when unlabelled."""
    if bank.labels is None or asked.labels is None:
        return None
    classes = max(len(bank.pictures.classes), int(asked.labels.max()) + 1)
    sizes = bank.labels.bincount(minlength=classes)[asked.labels].float()
    own = torch.tensor([int((bank.owners == owner).sum()) for owner in asked.owners.tolist()])
    own = own.where(asked.owners != NOBODY, 0)
    return round(((sizes - own) / (len(bank) - own)).mean().item(), 4)


def _of(features: Callable[[Gallery, Tensor], Tensor], asked: Asked) -> Tensor:
    return features(asked.gallery, asked.rows)


def _coloured(asked: Asked, size: int) -> Tensor:
    """Tell the queries that have colour: -> (Q,) bool."""
    parts = asked.rows.split(BATCH)
    return torch.cat([is_coloured(seen(asked.gallery.images, rows, size)) for rows in parts])


def _colour(before: Tensor, after: dict[str, Tensor], reason: str | None) -> dict[str, Any]:
    if reason:
        nothing = dict.fromkeys(("grey_kept", "hue_kept", "hue_kept_by_turn"))
        return {**nothing, "coloured_queries": len(before), "colour_unknown": reason}
    measured = colour_record(before, after)
    return {**measured, "coloured_queries": len(before), "colour_unknown": None}


def _same_class(
    found: Tensor, bank_labels: Tensor | None, query_labels: Tensor | None
) -> dict[str, float] | None:
    """Say which share of the nearest rows has its query's class, among the first 1, 5 and 10."""
    if bank_labels is None or query_labels is None:
        return None
    right = (bank_labels[found] == query_labels[:, None]).float()
    among = [n for n in CLASS_AMONG if n <= found.shape[1]]
    return {str(n): round(right[:, :n].mean().item(), 4) for n in among}
