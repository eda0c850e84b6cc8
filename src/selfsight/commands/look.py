"""Look: the verb that draws a run's first filters, or how it solves its pretext task."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from selfsight import encoders
from selfsight.data.batches import chosen_rows
from selfsight.data.source import Parts, Source, labels_of
from selfsight.data.splitting import split
from selfsight.encoders import Encoder
from selfsight.errors import SelfsightError, UsageError
from selfsight.looks.filters import draw_filters
from selfsight.looks.held_out import HeldOut
from selfsight.looks.neighbours.gallery import random_order
from selfsight.looks.pretext import look_at_task
from selfsight.looks.task_sheet import Question
from selfsight.modalities.pictures import of_pictures
from selfsight.probes.network import TIMM, NamedNetwork, named_network
from selfsight.probes.overlap import same_data
from selfsight.settings import Look
from selfsight.system import atomic, machine
from selfsight.system.progress import answers, console
from selfsight.training.draft import needs_of
from selfsight.training.plan import Plan
from selfsight.training.run import OUT, PICTURES, Run
from selfsight.training.weights import trained_tasks

MEASURED = 500  # pictures


def look(
    run: str | Path | Run, data: str | None = None, *, at: str | Sequence[str] = (), **options: Any
) -> dict[str, Any]:
    """Draw a run's first filters, or how it solves its pretext task.

    Args:
        run: A run, its path, or for its filters "timm:NAME".
        data: Pictures to ask about; by default what the run was trained on. Of data with a test
            part that part is taken.
        at: "filters" or "pretext", or several; by default "pretext".
        **options: The verb's flags by name, such as `count` and `out`.

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
    network = named_network(settings.run, seed=settings.seed, device=settings.device)
    folder = _folder(settings, network)
    results = network.results(settings.out) if "pretext" in wanted else folder
    record: dict[str, Any] = {"look": list(wanted), "files": []}
    if "filters" in wanted:
        place = folder / "filters.png"
        encoder = of_pictures(network.encoder)
        draw_filters(encoder.cpu(), _untrained(encoder, network.seed), place)
        record["files"].append(str(place))
    if "pretext" in wanted:
        record |= _pretext(settings, network, folder)
        record["files"] += [one["sheet"] for one in record["pretext"].values()]
    record |= {
        "seconds": round(time.monotonic() - begun, 1),
        "settings": dataclasses.asdict(settings),
        "machine": machine.described(network.device),
    }
    if "pretext" in wanted:
        atomic.write_json(results / "look.json", record, another=OUT)
    return record


def _folder(settings: Look, network: NamedNetwork) -> Path:
    """Make the folder the pictures go to."""
    if settings.out is None and network.run is not None:
        return atomic.subfolder(network.run.path, PICTURES, another=OUT)
    return network.results(settings.out)


def _untrained(encoder: Encoder, seed: int) -> Encoder:
    """Build a network with the weights of its seed: statistics do not matter to filters."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return encoders.from_recipe(encoder.recipe)


def _pretext(settings: Look, network: NamedNetwork, folder: Path) -> dict[str, Any]:
    """Draw a sheet for every task of the run."""
    assert network.run is not None  # `look_as` has seen to it
    of = Plan.of(network.run)
    tasks = trained_tasks(network.run, device=network.device)
    most = max(MEASURED, settings.count)
    held = held_out(settings.data, of, network, count=most, seed=settings.seed)
    _say_of_training(held)
    question = Question(held, settings.count, of.classes, settings.seed, network.device)
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


def held_out(
    data: str | None, of: Plan, network: NamedNetwork, *, count: int, seed: int
) -> HeldOut:
    """Find pictures on which to test a run.

    They are those of DATA's test part; where it has none, all of DATA if it is other data than the
    run's, else those that the run's --limit left out, else what a probe of it would be tested
    on, about a fifth.

    Args:
        data: The pictures; None for what the run was trained on.
        of: The run's plan.
        network: The run.
        count: How many at most.
        seed: Of the choice.

    Raises:
        SelfsightError: If they cannot be read, or a task needs classes and they have none, or
            others than the run knows.
    """
    parts = network.parts(data, "look needs DATA: pictures")
    own = data is None or same_data(data, of.data_found)
    source, part, trained_on = _chosen(parts, of, own=own)
    if needs_of(of.tasks).labels:
        source = _with_classes(source, of.classes)
    source = of.modality.cut(source, of.sample)
    network.seeing(source)
    some = source.subset(random_order(len(source), seed)[:count])
    samples = of.modality.read_more(some, of.sample, "the record")
    return HeldOut(samples, part, trained_on, of.modality.unit)


def _chosen(parts: Parts[Any], of: Plan, *, own: bool) -> tuple[Source, str, bool | None]:
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
    pieces = of.modality.cut(parts.train, of.sample)
    if pieces is not parts.train:  # pieces that were left out are of samples whose others were not
        return test, part, True if of.limit >= len(pieces) else None
    left_out = torch.ones(len(parts.train), dtype=torch.bool)
    left_out[chosen_rows(len(parts.train), of.limit)] = False
    if not left_out.any():
        return test, part, True
    rest = parts.train.subset(left_out.nonzero()[:, 0])
    return rest, f"the {of.modality.unit} of the run's data that --limit left out", False


def _with_classes(source: Source, classes: tuple[str, ...]) -> Source:
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


def _say_of_training(held: HeldOut) -> None:
    """Say so if the run was trained on the pictures, or may have been."""
    if held.trained_on is not False:
        known = "were trained on" if held.trained_on else "may have been trained on"
        console().print(
            f"{held.pictures.name} has no test part, so these {held.unit} {known}; for unseen ones "
            "give other DATA"
        )


def show(record: dict[str, Any]) -> None:
    """Print the record for people: what was measured, and where the pictures are."""
    say = answers().print
    for name, one in record.get("pretext", {}).items():
        say(f"{name}: {one['words']}")
    for file in record["files"]:
        say(f"picture: {file}")
