"""Apply: the verb that colours photographs, or fills holes in them, with what a run has learned."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from selfsight.data.pictures.reading_progress import say_once, say_skipped
from selfsight.data.pictures.scaling import as_float
from selfsight.data.samples import Skipped
from selfsight.data.source import Unreadable
from selfsight.distributed.engine import resolve_device
from selfsight.errors import SelfsightError, UsageError, unknown_name
from selfsight.looks.neighbours.invariance import is_coloured
from selfsight.looks.photographs.applications import Application, Request
from selfsight.looks.photographs.photograph import (
    WRITABLE,
    Photograph,
    check_places,
    hole_of_boxes,
    listed,
    read_mask,
    read_photograph,
    write_png,
)
from selfsight.looks.photographs.side_by_side import draw_side_by_side
from selfsight.modalities.pictures import of_picture_plan
from selfsight.settings import Apply
from selfsight.system import atomic, machine
from selfsight.system.loading import object_at
from selfsight.system.progress import Bar, answers, console
from selfsight.tasks.base import Task
from selfsight.tasks.table import TASKS
from selfsight.training.plan import Plan
from selfsight.training.run import OUT, Run
from selfsight.training.weights import trained_tasks


class Job(NamedTuple):
    """What is done to every photograph.

    Attributes:
        name: The task's name.
        task: The task, trained, in evaluation mode.
        application: How it is used.
        channels: Channels of the pictures it takes.
        device: Where to compute.
        settings: What was asked.
        mask: (H, W) bool, the hole, if one was given as a picture.
    """

    name: str
    task: Task
    application: Application
    channels: int
    device: str
    settings: Apply
    mask: Tensor | None

    @property
    def request(self) -> Request:
        """Gather what is asked of the task besides the photographs."""
        asked = self.settings
        return Request(asked.ways, asked.temperature, asked.seed, self.device)


def apply(
    run: str | Path | Run, files: str | Path | Sequence[str | Path], **options: Any
) -> dict[str, Any]:
    """Colour photographs, or fill holes in them, with what a run has learned.

    Args:
        run: A run, or its path, of a task whose answers are pictures, as colorization or
            inpainting.
        files: A photograph, several, or folders of them.
        **options: The verb's flags by name: `out`, the folder for the results, and `box` for
            two.

    Returns:
        The record: for each photograph the files that were written.

    Raises:
        UsageError: If asked wrongly.
        SelfsightError: If it cannot be done.
    """
    place = str(run.path) if isinstance(run, Run) else str(run)
    several = [files] if isinstance(files, str | Path) else files
    if isinstance(options.get("box"), str):
        options["box"] = (options["box"],)
    for key in {"out", "mask"} & options.keys():
        options[key] = None if options[key] is None else str(options[key])
    return apply_as(Apply(run=place, files=tuple(str(file) for file in several), **options))


def apply_as(settings: Apply) -> dict[str, Any]:
    """Apply as the settings say; see `apply`."""
    begun = time.monotonic()
    job = _job(settings)
    photographs = listed(settings.files)
    for note in dict.fromkeys(note for one in photographs for note in one.source.notes):
        say_once(note)
    out = Path(str(settings.out))
    places = [_places(out, one.name, job) for one in photographs]
    check_places(photographs, places, *filter(None, (settings.mask,)))
    if job.application.hides == "hole":
        _check_holes(photographs, job)
    atomic.folder(out, another=OUT)
    made: set[str] = set()
    done: list[dict[str, Any]] = []
    skipped: list[Skipped] = []
    with Bar("applying", len(photographs), unit="photographs") as bar:
        for number, one in enumerate(photographs):
            try:
                done.append(_applied(job, one, places[number], out, made))
            except Unreadable as error:
                skipped.append(Skipped(one.title, str(error)))
            bar(number + 1)
    if not done:
        raise SelfsightError(
            f"none of {len(photographs)} photographs could be read, the first: "
            f"{skipped[0].title}: {skipped[0].reason}"
        )
    say_skipped(skipped, len(photographs), "the record (--json)")
    _say_of_colours(done, job)
    return {
        "apply": job.name,
        "files": done,
        "skipped": [dataclasses.asdict(one) for one in skipped],
        "seconds": round(time.monotonic() - begun, 1),
        "settings": dataclasses.asdict(settings),
        "machine": machine.described(job.device),
    }


def _job(settings: Apply) -> Job:
    """Load the task that is applied, and check that what was asked is for it."""
    run = Run.open(settings.run)
    of = Plan.of(run)
    name = _chosen(settings, of.tasks)
    applications = applied_tasks()
    application = applications[name]
    for flag in dict.fromkeys(flag for one in applications.values() for flag in one.flags):
        if getattr(settings, flag) not in (None, ()) and flag not in application.flags:
            owners = [owner for owner, one in applications.items() if flag in one.flags]
            raise UsageError(
                f"--{flag} is for {' or '.join(owners)}, and {settings.run} is applied by {name}"
            )
    if application.hides == "hole" and settings.mask is None and not settings.box:
        raise UsageError(
            f"{name} needs the hole: --box LEFT,TOP,WIDTH,HEIGHT in pixels, or --mask FILE, a "
            "picture that is white where the hole is"
        )
    channels = of_picture_plan(of.sample).channels
    if channels not in WRITABLE:
        raise SelfsightError(
            f"{settings.run} takes pictures of {channels} channels, which no .png file holds; only "
            "runs on pictures of 1 or 3 channels can be applied"
        )
    device = resolve_device(settings.device)
    mask = None if settings.mask is None else read_mask(settings.mask)
    task = trained_tasks(run, device=device)[name]
    return Job(name, task, application, channels, device, settings, mask)


def applied_tasks() -> dict[str, Application]:
    """Name the tasks that can be applied to photographs, and how each of them is."""
    rows = {name: row.application for name, row in TASKS.items()}
    return {name: object_at(place) for name, place in rows.items() if place is not None}


def _chosen(settings: Apply, tasks: tuple[str, ...]) -> str:
    """Choose the task of the run that is applied.

    Raises:
        UsageError: If there is none, or several and none was named.
    """
    applicable = applied_tasks()
    known = [name for name in tasks if name in applicable]
    if not known:
        raise UsageError(
            f"{settings.run} learned by {', '.join(tasks)}, which has no answer that is a picture; "
            f"give a run of {', '.join(applicable)}"
        )
    if settings.task is not None:
        if settings.task not in known:
            raise unknown_name("task of this run that can be applied", settings.task, known)
        return settings.task
    if len(known) > 1:
        raise UsageError(f"{settings.run} can be applied by {' or '.join(known)}; give --task")
    return known[0]


def _places(out: Path, name: str, job: Job) -> list[Path]:
    """Name the files of a photograph: its results, and the sheet last."""
    results = job.application.results(name, job.request)
    return [out / each for each in (*results, f"{name}-sheet.png")]


def _check_holes(photographs: Sequence[Photograph], job: Job) -> None:
    """Check before anything is computed that the hole lies in every photograph.

    Raises:
        UsageError: If it does not fit into one.
    """
    for one in photographs:
        with contextlib.suppress(Unreadable):  # which is said when it is its turn
            header = one.source.header(one.row)
            _hole(job, one, header.height, header.width)


def _hole(job: Job, one: Photograph, height: int, width: int) -> Tensor | None:
    """Find the hole of a photograph: -> (H, W) bool; None for tasks that fill no hole."""
    if job.mask is not None:
        if job.mask.shape != (height, width):
            down, across = job.mask.shape
            raise UsageError(
                f"--mask must be as large as the photograph: {one.title} is {width} x {height} "
                f"pixels, {job.settings.mask} {across} x {down}"
            )
        return job.mask
    if job.settings.box:
        return hole_of_boxes(job.settings.box, height, width, one.title)
    return None


def _applied(
    job: Job, one: Photograph, places: list[Path], out: Path, made: set[str]
) -> dict[str, Any]:
    """Apply the task to one photograph: -> its record; `made` are the folders in `out` so far."""
    pixels = read_photograph(one, job.channels)
    _, height, width = pixels.shape
    hole = _hole(job, one, height, width)
    with torch.inference_mode():
        answers = job.application.answers(job.task, pixels, hole, job.request)
    *files, sheet = places
    if (around := os.path.dirname(one.name)) not in made:
        atomic.subfolder(out, around, another=OUT)
        made.add(around)
    for file, answer in zip(files, answers, strict=True):
        write_png(file, answer)
    coloured = bool(is_coloured(as_float(pixels)[None]))
    grey = coloured and hole is None
    draw_side_by_side(one.name, pixels, answers, sheet, hole=hole, grey=grey)
    return {
        "picture": one.title,
        "height": height,
        "width": width,
        "coloured": coloured,
        "results": [str(file) for file in files],
        "sheet": str(sheet),
    }


def _say_of_colours(done: list[dict[str, Any]], job: Job) -> None:
    """Say that the colours of photographs were not used."""
    coloured = sum(one["coloured"] for one in done)
    if coloured and job.application.hides == "colours":
        console().print(
            f"{coloured} of {len(done)} photographs have colours already; only their lightness "
            "was used"
        )


def show(record: dict[str, Any]) -> None:
    """Print the record for people: what was written where."""
    say = answers().print
    for one in record["files"]:
        say(f"{one['picture']}: {', '.join(one['results'])}; side by side: {one['sheet']}")
