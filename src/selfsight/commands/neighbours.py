"""Neighbouring: the verb that shows which pictures a network takes for alike, and why.

Beside the trained network stand the same one untrained, the raw pixels, and any others asked for.
A sheet shows some queries; the record says, of many more, how much of their nearest pictures stays
when the query loses its colour or turns its hue, and how many share its class.
"""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from selfsight.data.batches import some_rows
from selfsight.data.pictures.scaling import SQUARE_VIEW
from selfsight.errors import SelfsightError
from selfsight.looks.neighbours.agreement import LIST, Asked, Seer, class_chance, look
from selfsight.looks.neighbours.gallery import Gallery
from selfsight.looks.neighbours.patch_cutting import tile_side
from selfsight.looks.neighbours.ranking import draw_neighbours
from selfsight.looks.neighbours.search import Found
from selfsight.looks.neighbours.search_room import Hall, available, open_hall
from selfsight.looks.neighbours.wording import caption, short_names, table_of, verdict
from selfsight.probes.baseline import CALIBRATED_ON, untrained_encoder
from selfsight.probes.features import Pixels
from selfsight.probes.overlap import told_of_alike
from selfsight.probes.subject import Subject, check_layer, seen, subject_of
from selfsight.settings import Neighbours
from selfsight.system import atomic, machine
from selfsight.system.progress import answers, console
from selfsight.training.plan import Plan
from selfsight.training.run import OUT, Run, run_of


def neighbours(run: str | Path | Run, data: str | None = None, **options: Any) -> dict[str, Any]:
    """Draw which pictures a network takes for alike, and measure what that depends on.

    Args:
        run: A run, its path, or "timm:NAME".
        data: Pictures to search among; by default what the run was trained on.
        **options: The verb's flags by name, `patches` and `against` for two.

    Returns:
        The record, with the place of the sheet.

    Raises:
        UsageError: If asked wrongly.
        SelfsightError: If it cannot be done.
    """
    place = str(run.path) if isinstance(run, Run) else str(run)
    for key in {"query", "against"} & options.keys():
        options[key] = _several(options[key])
    return neighbours_as(Neighbours(run=place, data=data, **options))


def neighbours_as(settings: Neighbours) -> dict[str, Any]:
    """Look for neighbours as the settings say; see `neighbours`."""
    begun = time.monotonic()
    subject = _looking(settings, settings.run)
    check_layer(subject.encoder, settings.layer)
    sheet, place = _places(settings, subject)
    hall = open_hall(settings, subject)
    subject = subject.seeing(hall.bank, hall.test, hall.files)
    bank, measured, drawn = hall.asked(subject.size, subject.channels)
    _check_enough(bank, drawn, settings.count)
    networks: dict[str, dict[str, Any]] = {}
    found: dict[str, Found] = {}
    for name, seer, channels in _seers(settings, subject, bank):
        same = (seer.size, channels) == (subject.size, subject.channels)
        there = (bank, measured, drawn) if same else hall.asked(seer.size, channels)
        networks[name], found[name] = look(name, seer, *there, count=settings.count)
    record = {
        "neighbours": "patches" if settings.patches else "pictures",
        "searched": len(bank),
        "queries": len(measured.rows),
        "list": min(LIST, available(bank, measured)),
        "blindly_kept": round(min(1.0, LIST / available(bank, measured)), 4),
        "chance": class_chance(bank, measured),
        "networks": networks,
        "sheet": str(sheet),
        "drawn": _listed(bank, drawn, found),
        "seconds": 0.0,
        "settings": _told(settings, subject, hall, bank, measured, drawn),
        "machine": machine.described(subject.device),
    }
    alike = told_of_alike(bank.pictures)
    record["alike"] = alike is not None
    record["verdict"] = " ".join(filter(None, (alike, verdict(record))))
    _draw(sheet, bank, drawn, found, caption(record))
    record["seconds"] = round(time.monotonic() - begun, 1)
    atomic.write_json(place, record, another=OUT)
    return record


def _looking(settings: Neighbours, name: str) -> Subject:
    """Load a network; one that learned from tiles is shown patches at the side of these."""
    subject = subject_of(name, seed=settings.seed, device=settings.device)
    if not settings.patches or subject.run is None:
        return subject
    run, part = run_of(name)
    side = tile_side(Plan.of(run), part)
    return subject if side is None else dataclasses.replace(subject, size=side)


def _seers(
    settings: Neighbours, subject: Subject, bank: Gallery
) -> Iterator[tuple[str, Seer, int]]:
    """Give the networks one after the other: -> name, network and the channels it takes."""
    size, device, recipe = subject.size, subject.device, subject.encoder.recipe
    yield "trained", Seer(subject.encoder, size, settings.layer, device), recipe.channels
    some = seen(bank.images, some_rows(len(bank), CALIBRATED_ON), size)
    some = some[some_rows(len(some), CALIBRATED_ON)]
    fresh = untrained_encoder(recipe, subject.seed, some, device=device)
    yield "untrained", Seer(fresh, size, settings.layer, device), recipe.channels
    for name in dict.fromkeys(settings.against):
        other = _looking(settings, name)
        other = other.taking(bank.images.shape[1], bank.pictures.name)
        layer = settings.layer if settings.layer in other.encoder.layer_names else None
        yield name, Seer(other.encoder, other.size, layer, device), other.channels
    yield "pixels", Seer(Pixels(recipe.channels, size), size, None, device), recipe.channels


def _check_enough(bank: Gallery, drawn: Asked, count: int) -> None:
    """Say that there are fewer neighbours than asked for.

    Raises:
        SelfsightError: If there are none.
    """
    most = available(bank, drawn)
    if most < 1:
        raise SelfsightError(
            f"{bank.pictures.name} has one picture, and a picture is never its own neighbour; "
            "give more pictures"
        )
    if most < count:
        console().print(f"--count is lowered to {most}: there are no more to choose from")


def _places(settings: Neighbours, subject: Subject) -> tuple[Path, Path]:
    """Name the sheet's and the record's files."""
    name = "neighbours-patches" if settings.patches else "neighbours"
    if settings.out is not None:
        sheet = atomic.file_place(Path(settings.out), another=OUT)
        return sheet, sheet.with_suffix(".json")
    results = subject.results()
    sheet = subject.run.picture(name) if subject.run else results / f"{name}.png"
    return sheet, results / f"{name}.json"


def _draw(sheet: Path, bank: Gallery, drawn: Asked, found: dict[str, Found], said: str) -> None:
    queries = drawn.gallery.shown(drawn.rows)
    titles = short_names(found)
    draw_neighbours(
        bank.shown(torch.cat([answers.rows.flatten() for answers in found.values()])),
        [queries[row] for row in drawn.rows.tolist()],
        {titles[name]: answers.rows for name, answers in found.items()},
        sheet,
        bank_labels=bank.labels,
        query_labels=drawn.labels,
        cosine={titles[name]: answers.cosine for name, answers in found.items()},
        query_names=[_named(drawn, row) for row in drawn.rows.tolist()],
        caption=said,
    )


def _listed(bank: Gallery, drawn: Asked, found: dict[str, Found]) -> list[dict[str, Any]]:
    """List what the sheet shows by name: each query, and its neighbours for each network."""
    return [
        {
            "query": drawn.gallery.title(query),
            "nearest": {
                name: [bank.title(row) for row in answers.rows[place].tolist()]
                for name, answers in found.items()
            },
        }
        for place, query in enumerate(drawn.rows.tolist())
    ]


def _named(asked: Asked, row: int) -> str:
    """Name a query: its class where it has one, and its file or row on a line of its own."""
    title, labels = Path(asked.gallery.title(row)).name, asked.gallery.labels
    if labels is None:
        return title
    return f"{asked.gallery.pictures.classes[int(labels[row])]}\n{title}"


def _told(
    settings: Neighbours,
    subject: Subject,
    hall: Hall,
    bank: Gallery,
    measured: Asked,
    drawn: Asked,
) -> dict[str, Any]:
    """Keep what was asked and derived, for the record."""
    galleries = {id(g): g for g in (bank, measured.gallery, drawn.gallery)}.values()
    cut = hall.cut
    return {
        **dataclasses.asdict(settings),
        "data": bank.pictures.name,
        "queries_from": "DATA's test part" if hall.test is not None else "the pictures searched",
        "size": subject.size,
        "view": "patches as cut, scaled to the network's size where that differs"
        if cut
        else SQUARE_VIEW,
        "rule": "an answer is never of its query's own picture",
        "patches": None
        if cut is None
        else {
            **cut._asdict(),
            "queries": "the half of the patches whose grey deviates most",
            "too_small_pictures": sum(g.too_small for g in galleries),
        },
        "skipped": [dataclasses.asdict(one) for g in galleries for one in g.pictures.skipped],
        "encoder": subject.encoder.recipe.to_json(),
    }


def _several(value: str | Path | Run | Sequence[str | Path | Run]) -> tuple[str, ...]:
    """Give one name or several as several names."""
    values = [value] if isinstance(value, str | Path | Run) else value
    return tuple(str(one.path) if isinstance(one, Run) else str(one) for one in values)


def show(record: dict[str, Any]) -> None:
    """Print the record for people: a table of networks, the verdict, and where the sheet is."""
    answers().print(table_of(record))
    answers().print(record["verdict"])
    answers().print(f"sheet: {record['sheet']}")
