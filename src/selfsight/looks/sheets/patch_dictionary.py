"""Centroids: the sheet of the patch dictionary: which patches are pictures made of?

*Frozen* is the dictionary. *Measured* is the squared distance of whitened patches of held-out
pictures from their nearest centroids, as a share of their squared length; the mean patch in place
of the centroids gives 1.

A centroid is the mean of whitened patches. Whitening is linear, so undoing it gives the mean of
those patches as they were cut, each brought to mean 0 and deviation 1: that is what is drawn.

Legend: K centroids, C channels, p side of a patch in pixels, D = C p p.
"""

from typing import cast

import torch
from torch import Tensor

from selfsight.data.pictures.batch import Images
from selfsight.encoders.patch_dictionary import SelfsightPatchDictionary
from selfsight.layers.kmeans import assigned
from selfsight.looks.filters import as_pictures
from selfsight.looks.held_out import HeldOut
from selfsight.looks.mosaic import mosaic
from selfsight.looks.sheet import Cell, Sheet, percent
from selfsight.looks.task_sheet import Question, SetwiseSheet
from selfsight.system.progress import Bar
from selfsight.tasks.patch_dictionary import PatchDictionary

BATCH = 64  # pictures at a time
PATCHES = 20_000  # about as many are looked at, so that rare centroids are counted too
ACROSS, DRAWN = 20, 400  # centroids in a line, and on the sheet
INCHES = 0.4  # a centroid
ROUNDING = 1e-5  # what the whitening scales by less than this share of its most is left out of it


def find_answers(task: PatchDictionary, question: Question) -> tuple[Sheet, dict[str, float]]:
    """Count how often each centroid is the nearest to a patch of held-out pictures.

    Args:
        task: The task, fitted.
        question: The pictures; its seed is that of the places of patches. Its count of samples is
            not used: all centroids are drawn, up to 400.

    Returns:
        The sheet, and the figures: `loss` and `blind`, how many `centroids` there are, how many are
        `unused`, the share of patches at the `commonest`, and how many `patches` were examined.
    """
    held, seed, device = question.held, question.seed, question.device
    counts, missed = _counted(task, held, seed=seed, device=device)
    shares = counts / counts.sum()
    order = shares.argsort(descending=True, stable=True)[:DRAWN]
    tiles = as_pictures(undone(task.model))[order]
    across = min(ACROSS, len(tiles))
    lines = zip(tiles.split(across), shares[order].split(across), strict=True)
    samples, headings = list[list[Cell]](), list[str]()
    for line, used in lines:
        samples.append([Cell(mosaic(line, across))])
        headings.append(f"{100 * float(used[0]):.2f} to {_exactly(float(used[-1]))}")
    among = f"the {len(tiles)} most used of {len(counts):,}"
    some = among if len(tiles) < len(counts) else f"all {len(counts)}, the most used first"
    title = f"Patch dictionary: which patches are pictures made of? ({some})"
    return Sheet(title, ("",), samples, headings, side=INCHES * across), {
        "loss": missed,
        "blind": 1.0,
        "centroids": len(counts),
        "unused": int((counts == 0).sum()),
        "commonest": float(shares.max()),
        "patches": int(counts.sum()),
    }


def in_words(_: PatchDictionary, figures: dict[str, float], among: str) -> str:
    """Say what was measured."""
    unused = f"{figures['unused']:.0f}" if figures["unused"] else "none"
    return (
        f"On {among}, the nearest of {figures['centroids']:,.0f} centroids leaves "
        f"{percent(figures['loss'])} of the squared length of {figures['patches']:,.0f} whitened "
        "patches; the mean patch leaves all of it. The commonest centroid is the nearest to "
        f"{_exactly(figures['commonest'])} of them, where even shares would be "
        f"{_exactly(1 / figures['centroids'])}, and {unused} to no patch. These shares of a line's "
        "first and last stand beside it. Whitening is undone, and each centroid is shown in a "
        "range of its own."
    )


def _exactly(share: float) -> str:
    return f"{100 * share:.2f} %"


def undone(model: SelfsightPatchDictionary) -> Tensor:
    """Undo the whitening of the centroids: -> (K, C, p, p), standardised patches."""
    # The whitening has no inverse: directions in which patches do not vary, as that of their mean,
    # are left out of it. Its pseudo-inverse leaves them out too.
    inverse = torch.linalg.pinv(model.whitening.double(), rtol=ROUNDING).float()
    patches = model.centroids @ inverse + model.middle
    return patches.unflatten(1, (-1, model.patch, model.patch)).detach().cpu()


def _counted(
    task: PatchDictionary, held: HeldOut, *, seed: int, device: str
) -> tuple[Tensor, float]:
    """Find nearest centroids: -> how often each is one (K,), and the share of squared distance."""
    total = len(held.pictures)
    times = -(-PATCHES // (total * task.patches))  # that every picture is looked at
    counts = torch.zeros(len(task.model.centroids), dtype=torch.int64)
    missed = length = 0.0
    with Bar("patches", times * total) as bar:
        for time in range(times):
            for first in range(0, total, BATCH):
                last = min(first + BATCH, total)
                batch = held.batch(
                    first, last, needs=task.needs, seed=seed, device=device, epoch=time
                )
                _, whitened = task.hide(cast(Images, batch))
                nearest = assigned(whitened, task.model.centroids)
                counts += nearest.bincount(minlength=len(counts)).cpu()
                missed += float((whitened - task.model.centroids[nearest]).square().sum())
                length += float(whitened.square().sum())
                bar(time * total + last)
    return counts, missed / length


SHEET = SetwiseSheet(find_answers, in_words)
