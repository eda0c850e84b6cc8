"""Search: finds the rows of a bank of features that are closest to a query, by cosine.

Up to `EXACT_UP_TO` rows every cosine is computed, piece by piece, so that memory stays bounded.
With more rows, faiss divides the bank into cells and searches some of them (an inverted file:
Jegou, Douze, Schmid, "Product Quantization for Nearest Neighbor Search", TPAMI 2011,
https://doi.org/10.1109/TPAMI.2010.57, section IV; here without quantisation), and `recall` says
which share of the exact answer that finds.

A row may have an owner, the picture it was cut from or the picture itself. An answer never has the
same owner as its query.

Legend: N rows of the bank, Q queries, D features, n answers.
"""

import importlib
import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.draws import Draws
from selfsight.errors import SelfsightError

EXACT_UP_TO = 100_000  # rows
QUERIES_AT_ONCE, ROWS_AT_ONCE = 256, 16_384  # 16 MB of cosines
RECALL_QUERIES = 200
CELLS_LOOKED_AT = 32
ROWS_A_CELL_TRAINS_ON = 64
NOBODY = -1  # the owner of a query that is not in the bank


class Found(NamedTuple):
    """The closest rows.

    Attributes:
        rows: (Q, n) int64 rows of the bank, closest first.
        cosine: (Q, n) float32 in [-1, 1].
    """

    rows: Tensor
    cosine: Tensor


class Search:
    """A bank that answers queries.

    Args:
        bank: (N, D) features.
        owners: (N,) int64, the owner of each row; by default none has one.
        exact_up_to: With more rows than this, faiss is used.

    Raises:
        SelfsightError: If faiss is needed and not installed.
    """

    def __init__(
        self, bank: Tensor, owners: Tensor | None = None, *, exact_up_to: int = EXACT_UP_TO
    ) -> None:
        self._bank = F.normalize(bank.float(), dim=1)
        self._owners = torch.full((len(bank),), NOBODY) if owners is None else owners
        self._most_owned = _most_owned(owners)
        self._index = _inverted_file(self._bank) if len(bank) > exact_up_to else None

    @property
    def way(self) -> str:
        """How it searches, for records."""
        return "exact" if self._index is None else "faiss IndexIVFFlat"

    def __call__(self, queries: Tensor, count: int, owners: Tensor | None = None) -> Found:
        """Find the closest rows.

        Args:
            queries: (Q, D) features.
            count: How many, at least 1; lowered to the number that every query has.
            owners: (Q,) int64, the owner of each query; by default none has one.
        """
        unit = F.normalize(queries.float(), dim=1)
        whose = torch.full((len(queries),), NOBODY) if owners is None else owners
        count = min(count, self.least_answers(whose))
        if self._index is None:
            return self._exactly(unit, count, whose)
        return self._approximately(unit, count, whose)

    def least_answers(self, owners: Tensor) -> int:
        """Count the rows that every query (Q,) of these owners can be answered with."""
        own = (owners != NOBODY).any()
        return len(self._bank) - (self._most_owned if own else 0)

    def recall(self, queries: Tensor, count: int, owners: Tensor | None = None) -> float | None:
        """Compute which share of the exact answers is found; None for exact search."""
        if self._index is None:
            return None
        some = Draws(0, 0, torch.arange(len(queries))).order("recall")[:RECALL_QUERIES]
        whose = torch.full((len(queries),), NOBODY) if owners is None else owners
        unit, whose = F.normalize(queries[some].float(), dim=1), whose[some]
        count = min(count, self.least_answers(whose))
        exact, found = (
            self._exactly(unit, count, whose),
            self._approximately(unit, count, whose),
        )
        return round(share_kept(exact.rows, found.rows).mean().item(), 4)

    def _exactly(self, unit: Tensor, count: int, whose: Tensor) -> Found:
        parts = zip(unit.split(QUERIES_AT_ONCE), whose.split(QUERIES_AT_ONCE), strict=True)
        answers = [self._all_rows(queries, count, owners) for queries, owners in parts]
        return Found(*(torch.cat(part) for part in zip(*answers, strict=True)))

    def _all_rows(self, unit: Tensor, count: int, whose: Tensor) -> Found:
        """Compare with the whole bank, keeping the best rows."""
        rows = torch.zeros(len(unit), 0, dtype=torch.int64)
        best = torch.zeros(len(unit), 0)
        for start in range(0, len(self._bank), ROWS_AT_ONCE):
            piece = slice(start, start + ROWS_AT_ONCE)
            cosine = unit @ self._bank[piece].T  # (Q, rows of the piece)
            cosine[_same(whose, self._owners[None, piece])] = -math.inf
            own = torch.arange(start, start + cosine.shape[1]).expand_as(cosine)
            best, rows = torch.cat([best, cosine], dim=1), torch.cat([rows, own], dim=1)
            best, order = best.topk(min(count, best.shape[1]), dim=1)
            rows = rows.gather(1, order)
        return Found(rows, best.clamp(-1, 1))

    def _approximately(self, unit: Tensor, count: int, whose: Tensor) -> Found:
        """Search with faiss for enough rows that those of the query's owner can be removed."""
        index: Any = self._index
        wanted = count + (self._most_owned if (whose != NOBODY).any() else 0)
        cosine, rows = (torch.from_numpy(part) for part in index.search(unit.numpy(), wanted))
        left_out = (rows < 0) | _same(whose, self._owners[rows.clamp(min=0)])
        cosine, order = cosine.masked_fill(left_out, -math.inf).topk(count, dim=1)
        rows = rows.gather(1, order)
        short = cosine[:, -1].isinf().nonzero()[:, 0]  # the cells looked at held too few
        if len(short):
            exact = self._exactly(unit[short], count, whose[short])
            rows[short], cosine[short] = exact.rows, exact.cosine
        return Found(rows, cosine.clamp(-1, 1))


def share_kept(before: Tensor, after: Tensor) -> Tensor:
    """Compute which share of each list of rows is also in the other, in any order.

    Args:
        before: (Q, n) rows, each at most once in its list.
        after: (Q, m) rows.

    Returns:
        (Q,) float32 in [0, 1].
    """
    return (before[:, :, None] == after[:, None, :]).any(dim=2).float().mean(dim=1)


def _same(whose: Tensor, owners: Tensor) -> Tensor:
    """Mark answers (Q or 1, n) that have the same owner as their query (Q,)."""
    return (whose[:, None] == owners) & (whose[:, None] != NOBODY)


def _most_owned(owners: Tensor | None) -> int:
    """Count the rows of the owner that has the most."""
    return (
        0 if owners is None or not len(owners) else int(owners.unique(return_counts=True)[1].max())
    )


def require_faiss(count: int) -> Any:
    """Load faiss, which searches large numbers of rows.

    Raises:
        SelfsightError: If it is not installed.
    """
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise SelfsightError(
            f"searching {count:,} rows, more than {EXACT_UP_TO:,}, needs faiss: "
            "pip install faiss-cpu, or take fewer pictures with --limit"
        ) from error


def _inverted_file(unit: Tensor) -> Any:
    """Divide unit vectors (N, D) into about 4 sqrt(N) cells, as faiss advises."""
    faiss = require_faiss(len(unit))
    cells = max(1, min(round(4 * math.sqrt(len(unit))), len(unit) // ROWS_A_CELL_TRAINS_ON))
    flat = faiss.IndexFlatIP(unit.shape[1])
    index = faiss.IndexIVFFlat(flat, unit.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    order = Draws(0, 0, torch.arange(len(unit))).order("cells")
    index.train(unit[order[: cells * ROWS_A_CELL_TRAINS_ON]].numpy())
    index.add(unit.numpy())
    index.nprobe = min(cells, CELLS_LOOKED_AT)
    return index
