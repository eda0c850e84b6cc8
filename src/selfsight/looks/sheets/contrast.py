"""Contrast: the sheet of tasks that tell pictures apart: which view is of the same picture?

*Frozen* is the network with its head. *Measured* is the share of views for which the most similar
of the other views, one of each picture of a batch, is of the same picture; of B pictures a blind
guess finds 1 / B. The training's queue or memory bank is not used: it has no entries of held-out
pictures, so the task's own loss and metrics have no meaning for these.

Legend: B pictures of a batch, D width of an embedding, s and t sides in pixels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from selfsight.data.pictures.batch import Images
from selfsight.errors import SelfsightError
from selfsight.looks.sheet import Cell, Sheet, answered, percent
from selfsight.looks.task_sheet import Figures, Question, TaskSheet
from selfsight.system.progress import Bar

BATCH = 64  # pictures a partner is looked for among
SEEN = 3  # views found, on the sheet
PLACES = ("nearest", "second", "third")


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


@dataclass(frozen=True)
class PartnerSheet(TaskSheet):
    """The sheet of a task that tells pictures apart.

    Attributes:
        pairs: Makes two views of every picture and compares them: task and batch -> pairs.
        views: What the partners are, in words.
        partner: One of them, in words.
    """

    pairs: Callable[[Any, Images], Pairs] = of_views
    views: str = "views"
    partner: str = "other view"

    def ask(self, name: str, task: Any, question: Question) -> tuple[Sheet, Figures]:
        """Look for the partners of held-out pictures' views.

        Returns:
            The sheet, and the figures: share `found`, `chance`, how many they are found `among`,
            and the mean cosine of `partners` and of `others`.

        Raises:
            SelfsightError: If there is only one picture.
        """
        held, seed, device = question.held, question.seed, question.device
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
            compared = self.pairs(task, cast(Images, batch))
            own, sums = compared.cosine.diagonal(), compared.cosine.sum(dim=1)
            found += float((places(compared.cosine) == 1)[-new:].sum())
            partners += float(own[-new:].sum())
            others += float((sums - own)[-new:].sum()) / (among - 1)
            wanted = min(new, question.count - len(samples))
            samples += [_sample(compared, among - new + row) for row in range(wanted)]
        columns = ("a view", *PLACES[: min(SEEN, among)], "its partner")
        title = f"Partners: which of {among} {self.views} is of the same picture?"
        figures = {
            "found": found / total,
            "chance": 1 / among,
            "among": among,
            "partners": partners / total,
            "others": others / total,
        }
        return Sheet(title, columns, samples), figures

    def in_words(self, task: Any, figures: Figures, among: str) -> str:
        """Put figures into words."""
        return (
            f"On {among}, {percent(figures['found'])} of the views find the {self.partner} "
            f"of their picture as the nearest among those of {figures['among']:.0f}; a blind guess "
            f"finds {percent(figures['chance'])}. The cosine is {figures['partners']:.2f} "
            f"between partners, and {figures['others']:.2f} between those of different pictures."
        )


def places(cosine: Tensor) -> Tensor:
    """Count at which place every partner is found, from 1 for the nearest: (B, B) -> (B,) int64.

    A view as similar as the partner counts as nearer, so that a network with the same features for
    all views finds no partner.
    """
    return (cosine >= cosine.diagonal()[:, None]).sum(dim=1)


def _batches(total: int, among: int) -> Iterator[tuple[int, int]]:
    """Divide pictures into batches: -> where each ends, and how many pictures at its end are new.

    All batches have the same size, so that chance is the same for all of them; the last one is
    completed with pictures of the batch before.
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
    """Draw a view that was found: the nearest is the answer, others are marked only where right."""
    if not (first or right):
        return Cell(view, f"{cosine:.2f}")
    return Cell(view, answered(f"{cosine:.2f}", right=right), right)


SHEET = PartnerSheet()
