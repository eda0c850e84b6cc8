"""Held out: pictures a run can be asked about, and whether it was trained on them."""

from typing import NamedTuple

import torch

from selfsight.data.pictures import Pictures, Tiles
from selfsight.data.pictures.batch import Images, LabelledImages
from selfsight.data.pictures.reading_progress import read_with_progress
from selfsight.data.pictures.source import PictureSource
from selfsight.data.pictures.storing import chosen_rows
from selfsight.data.source import Parts, labels_of
from selfsight.data.splitting import split
from selfsight.errors import SelfsightError
from selfsight.looks.neighbours.gallery import random_order
from selfsight.probes.overlap import same_data
from selfsight.probes.subject import Subject
from selfsight.tasks.base import Needs
from selfsight.training.plan import Plan
from selfsight.training.prepare import needs_of

Batch = Images | LabelledImages


class HeldOut(NamedTuple):
    """Pictures a run is asked about.

    Attributes:
        pictures: Kept as the run kept its own, in a random order.
        part: Where they come from, in words.
        trained_on: Whether the run was trained on them; None where it may have been on some.
    """

    pictures: Pictures
    part: str
    trained_on: bool | None

    @property
    def among(self) -> str:
        """Say how many they are and what the run knows of them."""
        count = f"{len(self.pictures):,}"
        plural = "" if len(self.pictures) == 1 else "s"
        if self.trained_on is None:
            return f"{count} picture{plural}, some perhaps trained on"
        if self.trained_on:
            return f"{count} picture{plural} that training had seen"
        return f"{count} held-out picture{plural}"

    def batch(
        self, first: int, last: int, *, needs: Needs, seed: int, device: str, epoch: int = 0
    ) -> Batch:
        """Make a batch of some of them, as the task needs it; another epoch has other draws."""
        index = torch.arange(first, min(last, len(self.pictures)))
        return needs.batch.from_rows(self.pictures, index, seed=seed, epoch=epoch, device=device)


def held_out(data: str | None, of: Plan, subject: Subject, *, count: int, seed: int) -> HeldOut:
    """Find pictures to ask a run about.

    They are those of DATA's test part; where it has none, all of DATA if it is other data than the
    run's, else those that the run's --limit left out, else what a probe of it would be tested
    on, about a fifth.

    Args:
        data: The pictures; None for what the run was trained on.
        of: The run's plan.
        subject: The run.
        count: How many at most.
        seed: Of the choice.

    Raises:
        SelfsightError: If they cannot be read, or a task needs classes and they have none, or
            others than the run knows.
    """
    parts = subject.parts(data, "look needs DATA: pictures")
    own = data is None or same_data(data, of.data_found)
    source, part, trained_on = _chosen(parts, of, own=own)
    if needs_of(of.tasks).labels:
        source = _with_classes(source, of.classes)
    if of.tile is not None:
        source = Tiles(source, of.tile)
    subject.seeing(source)
    pictures = read_with_progress(
        source.subset(random_order(len(source), seed)[:count]),
        side=of.canvas,
        channels=of.channels,
        steady=True,
        listed_in="the record",
    )
    return HeldOut(pictures, part, trained_on)


def _chosen(parts: Parts, of: Plan, *, own: bool) -> tuple[PictureSource, str, bool | None]:
    """Choose the part: -> its pictures, its name, whether they were trained on."""
    if parts.test is not None:
        return parts.test, "the test part", False
    if not own:
        return parts.train, "all of DATA", False
    part = "the part of the run's data that a probe is tested on"
    test = split(parts.train)[1]
    if needs_of(of.tasks).labels and parts.train.labels is not None:
        return test, part, False
    if of.limit is None:
        return test, part, True
    if of.tile is not None:  # tiles that were left out are of pictures whose others were not
        return test, part, True if of.limit >= len(Tiles(parts.train, of.tile)) else None
    left_out = torch.ones(len(parts.train), dtype=torch.bool)
    left_out[chosen_rows(len(parts.train), of.limit)] = False
    if not left_out.any():
        return test, part, True
    rest = parts.train.subset(left_out.nonzero()[:, 0])
    return rest, "the pictures of the run's data that --limit left out", False


def _with_classes(source: PictureSource, classes: tuple[str, ...]) -> PictureSource:
    """Number the classes as the run numbers them."""
    labels = source.labels
    if labels is None:
        labels = labels_of(source, "a run that learned from labels", "look --at filters")
    if source.classes == classes:
        return source
    unknown = [name for name in source.classes if name not in classes]
    if unknown:
        raise SelfsightError(
            f"{source.name} has classes that the run was not taught: {', '.join(unknown[:10])}; "
            "give pictures of its own classes"
        )
    renumber = torch.tensor([classes.index(name) for name in source.classes])
    return source.viewed(torch.arange(len(source)), classes, renumber[labels])
