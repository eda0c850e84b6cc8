"""Partners: the sheet of tasks that tell pictures apart: which view is of the same picture?

*Frozen* is the network with its head. *Measured* is for which share of views the most similar of
other views, one of every picture of a batch, is the one of the same picture; of B pictures a blind
guess finds 1 / B. The queue or bank of the training plays no part: it has no entries of held-out
pictures, so the task's own loss and metrics have no meaning for them.

PIRL is asked for puzzles instead: it embeds pictures and their shuffled tiles in one space.
Exemplar has no embedding of its own, and its classes are the training's pictures: its pooled
features are compared.

Legend: B pictures of a batch, D width of an embedding, s and t sides in pixels.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.augment.augmentation import augmented
from selfsight.data.pictures.batch import Images
from selfsight.errors import SelfsightError
from selfsight.looks.held_out import HeldOut
from selfsight.looks.mosaic import laid
from selfsight.looks.sheet import Cell, Sheet, answered, percent
from selfsight.system.progress import Bar
from selfsight.tasks.exemplar import Exemplar
from selfsight.tasks.pirl import PIRL

BATCH = 64  # pictures a partner is looked for among
SEEN = 3  # views found, on the sheet
PLACES = ("nearest", "second", "third")
VERSIONS = ("view", "other")  # of an exemplar


class Pairs(NamedTuple):
    """Two views of some pictures, and how similar they are.

    Attributes:
        first: (B, C, s, s) in [0, 1].
        second: (B, C, t, t) in [0, 1], the first ones' partners in their order.
        cosine: (B, B) in [-1, 1], of every first view with every second one.
    """

    first: Tensor
    second: Tensor
    cosine: Tensor


def of_views(task: Any, batch: Images) -> Pairs:
    """Compare the two `views` that a task makes of every picture, by its `embed`."""
    first, second = task.views(batch)
    embedded = task.embed(torch.cat([first, second])).float()
    return Pairs(first, second, (embedded[: len(first)] @ embedded[len(first) :].T).cpu())


def of_puzzles(task: PIRL, batch: Images) -> Pairs:
    """Compare a view and a puzzle of every picture; the puzzles' tiles are drawn apart."""
    views, puzzles = task.views(batch)[0], task.puzzles(batch)
    cosine = task.embed(views).float() @ task.embed_puzzles(puzzles).float().T
    side, extent = task.side, task.side * task.grid  # beyond it a puzzle is black
    cells = puzzles[..., :extent, :extent].unfold(2, side, side).unfold(3, side, side)
    tiles = cells.permute(0, 2, 3, 1, 4, 5).flatten(1, 2)  # (B, N, C, t, t)
    return Pairs(views, torch.stack([laid(one, task.grid) for one in tiles]), cosine.cpu())


def of_exemplars(task: Exemplar, batch: Images) -> Pairs:
    """Compare two versions of every picture by the features that its classifier is told."""
    first, second = (augmented(batch, task.size, task.recipe, name=name) for name in VERSIONS)
    features = F.normalize(task.encoder(torch.cat([first, second])).float(), dim=1)
    return Pairs(first, second, (features[: len(first)] @ features[len(first) :].T).cpu())


def asked(
    task: Any, held: HeldOut, *, count: int, seed: int, device: str
) -> tuple[Sheet, dict[str, float]]:
    """Look for the partners of held-out pictures' views.

    Args:
        task: What tells pictures apart: by `views` of a batch, two of (B, C, S, S), and `embed`,
            which gives (B, D) of length 1 for either.
        held: The pictures.
        count: Views on the sheet.
        seed: Of the views.
        device: Where to compute.

    Returns:
        The sheet, and the figures: share `found`, `chance`, how many they are found `among`, and
        the mean cosine of `partners` and of `others`.

    Raises:
        SelfsightError: If there is one picture alone.
    """
    total = len(held.pictures)
    among = min(BATCH, total)
    if among < 2:
        raise SelfsightError(
            "views are told apart among several pictures, and there is 1; give DATA with more"
        )
    samples: list[list[Cell]] = []
    found = partners = others = 0.0
    for last, new in _batches(total, among):
        batch = held.batch(last - among, last, needs=task.needs, seed=seed, device=device)
        compared = _pairs(task, cast(Images, batch))
        own, sums = compared.cosine.diagonal(), compared.cosine.sum(dim=1)
        found += float((places(compared.cosine) == 1)[-new:].sum())
        partners += float(own[-new:].sum())
        others += float((sums - own)[-new:].sum()) / (among - 1)
        wanted = min(new, count - len(samples))
        samples += [_sample(compared, among - new + row) for row in range(wanted)]
    columns = ("a view", *PLACES[: min(SEEN, among)], "its partner")
    title = f"Partners: which of {among} {_other(task)}s is of the same picture?"
    return Sheet(title, columns, samples), {
        "found": found / total,
        "chance": 1 / among,
        "among": among,
        "partners": partners / total,
        "others": others / total,
    }


def said(task: Any, figures: dict[str, float], among: str) -> str:
    """Say what was measured."""
    other = "puzzle" if isinstance(task, PIRL) else "other view"
    return (
        f"On {among}, {percent(figures['found'])} of the views find the {other} of their picture "
        f"as the nearest among those of {figures['among']:.0f}; a blind guess finds "
        f"{percent(figures['chance'])}. The cosine is {figures['partners']:.2f} between partners, "
        f"and {figures['others']:.2f} between those of different pictures."
    )


def places(cosine: Tensor) -> Tensor:
    """Count at which place every partner is found, from 1 for the nearest: (B, B) -> (B,) int64.

    As similar is as good as nearer: a network to which all views are the same finds no partner.
    """
    return (cosine >= cosine.diagonal()[:, None]).sum(dim=1)


def _pairs(task: Any, batch: Images) -> Pairs:
    if isinstance(task, PIRL):
        return of_puzzles(task, batch)
    return of_exemplars(task, batch) if isinstance(task, Exemplar) else of_views(task, batch)


def _other(task: Any) -> str:
    return "puzzle" if isinstance(task, PIRL) else "view"


def _batches(total: int, among: int) -> Iterator[tuple[int, int]]:
    """Go through pictures: -> where each batch ends, and how many at its end are new in it.

    All batches are of one size, so that one chance holds for all; the last is filled up with
    pictures that were asked already.
    """
    with Bar("partners", total) as bar:
        for first in range(0, total, among):
            last = min(first + among, total)
            yield last, last - first
            bar(last)


def _sample(compared: Pairs, row: int) -> list[Cell]:
    """Draw a view, the nearest few of the others, and its partner."""
    first, second, cosine = compared.first[row], compared.second, compared.cosine[row]
    near = cosine.topk(min(SEEN, len(cosine))).indices.tolist()
    place = int(places(compared.cosine)[row])
    answers = [
        _answer(second[one], float(cosine[one]), right=one == row, first=one == near[0])
        for one in near
    ]
    truth = f"{float(cosine[row]):.2f}, place {place} of {len(cosine)}"
    return [Cell(first), *answers, Cell(second[row], truth)]


def _answer(view: Tensor, cosine: float, *, right: bool, first: bool) -> Cell:
    """Draw a view that was found: the nearest is the answer, the others are marked where right."""
    if not (first or right):
        return Cell(view, f"{cosine:.2f}")
    return Cell(view, answered(f"{cosine:.2f}", right=right), right)
