"""Looking: the verb that draws what a run sees: its first filters, or how it solves its task."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from selfsight import encoders
from selfsight.encoders import Encoder
from selfsight.errors import UsageError
from selfsight.looks.filters import draw_filters
from selfsight.looks.held_out import HeldOut, held_out
from selfsight.looks.pretext import look_at_task
from selfsight.looks.sheets.base import Question
from selfsight.probes.subject import TIMM, Subject, subject_of
from selfsight.settings import Look
from selfsight.system import atomic, machine
from selfsight.system.progress import answers, console
from selfsight.training.plan import Plan
from selfsight.training.run import OUT, PICTURES, Run
from selfsight.training.weights import trained_tasks

MEASURED = 500  # pictures


def look(
    run: str | Path | Run, data: str | None = None, *, at: str | Sequence[str] = (), **options: Any
) -> dict[str, Any]:
    """Draw what a run sees: its first filters, or how it solves its pretext task.

    Args:
        run: A run, its path, or for its filters "timm:NAME".
        data: Pictures to ask about; by default what the run was trained on. Of data with a test
            part that part is taken.
        at: "filters" or "pretext", or several; by default "pretext".
        **options: The verb's flags by name, `count` and `out` for two.

    Returns:
        The record: the files, and of a pretext task what was measured.

    Raises:
        UsageError: If asked wrongly.
        SelfsightError: If it cannot be done.
    """
    place = str(run.path) if isinstance(run, Run) else str(run)
    several = (at,) if isinstance(at, str) else tuple(at)
    return look_as(Look(run=place, data=data, at=several, **options))


def look_as(settings: Look) -> dict[str, Any]:
    """Look as the settings say; see `look`."""
    begun = time.monotonic()
    wanted = dict.fromkeys(settings.at or ("pretext",))
    if "pretext" in wanted and settings.run.startswith(TIMM):
        raise UsageError(
            f"{settings.run} has no pretext task to look at: its weights come without the head "
            "that was trained with them. Look at a run, or --at filters"
        )
    subject = subject_of(settings.run, seed=settings.seed, device=settings.device)
    folder = _folder(settings, subject)
    results = subject.results(settings.out) if "pretext" in wanted else folder
    record: dict[str, Any] = {"look": list(wanted), "files": []}
    if "filters" in wanted:
        place = folder / "filters.png"
        draw_filters(subject.encoder.cpu(), _untrained(subject), place)
        record["files"].append(str(place))
    if "pretext" in wanted:
        record |= _pretext(settings, subject, folder)
        record["files"] += [one["sheet"] for one in record["pretext"].values()]
    record |= {
        "seconds": round(time.monotonic() - begun, 1),
        "settings": dataclasses.asdict(settings),
        "machine": machine.described(subject.device),
    }
    if "pretext" in wanted:
        atomic.write_json(results / "look.json", record, another=OUT)
    return record


def _folder(settings: Look, subject: Subject) -> Path:
    """Make the folder the pictures go to."""
    if settings.out is None and subject.run is not None:
        return atomic.subfolder(subject.run.path, PICTURES, another=OUT)
    return subject.results(settings.out)


def _untrained(subject: Subject) -> Encoder:
    """Build the network with the weights of its seed: statistics do not matter to filters."""
    with torch.random.fork_rng():
        torch.manual_seed(subject.seed)
        return encoders.from_recipe(subject.encoder.recipe)


def _pretext(settings: Look, subject: Subject, folder: Path) -> dict[str, Any]:
    """Draw a sheet for every task of the run."""
    assert subject.run is not None  # `look_as` has seen to it
    of = Plan.of(subject.run)
    tasks = trained_tasks(subject.run, device=subject.device)
    most = max(MEASURED, settings.count)
    held = held_out(settings.data, of, subject, count=most, seed=settings.seed)
    _say_of_training(held)
    question = Question(held, settings.count, of.classes, settings.seed, subject.device)
    found = {
        name: look_at_task(name, task, question, folder / f"pretext-{name}.png")
        for name, task in tasks.items()
    }
    return {
        "pretext": found,
        "data": held.pictures.name,
        "part": held.part,
        "trained_on": held.trained_on,
        "skipped": [dataclasses.asdict(one) for one in held.pictures.skipped],
    }


def _say_of_training(held: HeldOut) -> None:
    """Say that the pictures are no unseen ones, if they are not."""
    if held.trained_on is not False:
        known = "were trained on" if held.trained_on else "may have been trained on"
        console().print(
            f"{held.pictures.name} has no test part, so these pictures {known}; for unseen ones "
            "give other DATA"
        )


def show(record: dict[str, Any]) -> None:
    """Print the record for people: what was measured, and where the pictures are."""
    say = answers().print
    for name, one in record.get("pretext", {}).items():
        say(f"{name}: {one['words']}")
    for file in record["files"]:
        say(f"picture: {file}")
