"""Neighbours: the verb that shows which pictures are similar to a network, and why.

The trained network is compared with the same one untrained, with raw pixels, and with any others
that the user names. A sheet shows some queries. The record says for many more how many of their
nearest pictures remain when the query turns grey or its hue changes, and how many are of its class.
"""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from selfsight.data.batches import some_rows
from selfsight.data.pictures import Unreadable
from selfsight.data.pictures.forms.folder import Folder
from selfsight.data.pictures.scaling import SQUARE_VIEW
from selfsight.data.pictures.source import PictureSource
from selfsight.data.reporting import say_unlabelled
from selfsight.errors import SelfsightError
from selfsight.looks.neighbours.agreement import (
    LIST,
    FeatureSource,
    class_chance,
    find_neighbours,
)
from selfsight.looks.neighbours.gallery import Gallery, chosen_cut, random_order
from selfsight.looks.neighbours.neighbour_sheet import draw_neighbours
from selfsight.looks.neighbours.queries import MEASURED, QueryRows, SearchData, available
from selfsight.looks.neighbours.search import EXACT_UP_TO, Found, require_faiss
from selfsight.looks.neighbours.wording import caption, network_table, short_names, verdict
from selfsight.modalities.pictures import of_picture_plan
from selfsight.probes.encoding import check_layer, scaled_to_size
from selfsight.probes.features import Pixels
from selfsight.probes.network import PictureNetwork, picture_network
from selfsight.probes.overlap import alike_warning
from selfsight.probes.untrained import CALIBRATED_ON, untrained_encoder
from selfsight.settings import Neighbours
from selfsight.system import atomic, machine
from selfsight.system.progress import answers, console
from selfsight.tasks.cards import settings_of
from selfsight.tasks.table import load_task
from selfsight.training.plan import Plan
from selfsight.training.run import OUT, Run, run_of


def neighbours(run: str | Path | Run, data: str | None = None, **options: Any) -> dict[str, Any]:
    """Draw which pictures are similar to a network, and measure what that depends on.

    Args:
        run: A run, its path, or "timm:NAME".
        data: Pictures to search among; by default what the run was trained on.
        **options: The verb's flags by name, such as `patches` and `against`.

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
    network = _looking(settings, settings.run)
    check_layer(network.encoder, settings.layer)
    sheet, place = _places(settings, network)
    data = _search_data(settings, network)
    network = network.seeing(data.bank, data.test, data.files)
    bank, measured, drawn = data.read(network.size, network.channels)
    _check_enough(bank, drawn, settings.count)
    networks: dict[str, dict[str, Any]] = {}
    found: dict[str, Found] = {}
    for name, source, channels in _feature_sources(settings, network, bank):
        same = (source.size, channels) == (network.size, network.channels)
        there = (bank, measured, drawn) if same else data.read(source.size, channels)
        networks[name], found[name] = find_neighbours(name, source, *there, count=settings.count)
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
        "settings": _told(settings, network, data, bank, measured, drawn),
        "machine": machine.described(network.device),
    }
    alike = alike_warning(bank.pictures, network.modality)
    record["alike"] = alike is not None
    record["verdict"] = " ".join(filter(None, (alike, verdict(record))))
    _draw(sheet, bank, drawn, found, caption(record))
    record["seconds"] = round(time.monotonic() - begun, 1)
    atomic.write_json(place, record, another=OUT)
    return record


def _search_data(settings: Neighbours, network: PictureNetwork) -> SearchData:
    """Open the data and choose how patches are cut."""
    needs = f"neighbours {settings.run} needs DATA: pictures to search among"
    parts = network.parts(settings.data, needs)
    say_unlabelled(parts.train, parts.test)
    files, cut, test = _files(settings.query), None, parts.test
    if settings.patches:
        cut = chosen_cut(
            parts.train,
            network.size,
            asked=settings.patch_size,
            limit=settings.limit,
            seed=settings.seed,
        )
    rows = min(len(parts.train), settings.limit or len(parts.train)) * (cut.a_picture if cut else 1)
    if rows > EXACT_UP_TO:
        require_faiss(rows)  # before the hours that the features may take
    if test is not None:
        most = max(MEASURED, settings.queries)
        test = test.subset(random_order(len(test), settings.seed)[:most])
    return SearchData(
        parts.train, test, files, cut, settings.queries, settings.limit, settings.seed
    )


def _files(paths: tuple[str, ...]) -> PictureSource | None:
    """Open the pictures asked for, all of which must be readable.

    Raises:
        SelfsightError: Naming the first that is not, and why.
    """
    if not paths:
        return None
    files = Folder(Path(), paths)
    for i, path in enumerate(paths):
        try:
            files.decode(i)
        except Unreadable as error:
            raise SelfsightError(f"--query {path} cannot be read: {error}") from error
    return files.viewed(torch.arange(len(paths)), (), None)  # folders of files are no classes here


def _looking(settings: Neighbours, name: str) -> PictureNetwork:
    """Load a network; one that learned from tiles is shown patches at the side of these."""
    network = picture_network(name, seed=settings.seed, device=settings.device)
    if not settings.patches or network.run is None:
        return network
    run, part = run_of(name)
    side = tile_side(Plan.of(run), part)
    return network if side is None else dataclasses.replace(network, size=side)


def tile_side(of: Plan, task: str | None = None) -> int | None:
    """Tell the side of the tiles that a run's network was trained on, in pixels.

    Args:
        of: The run's plan.
        task: Whose encoder it is, where the tasks of a run have statistics of their own.

    Returns:
        The side; None for a network that got whole crops from any of its tasks.
    """
    tasks = of.tasks if task is None else (task,)
    size = of_picture_plan(of.sample).size
    side = max(
        load_task(name).encoder_side(size, {**settings_of(name), **of.task_settings[name]})
        for name in tasks
    )
    return side if side < size else None


def _feature_sources(
    settings: Neighbours, network: PictureNetwork, bank: Gallery
) -> Iterator[tuple[str, FeatureSource, int]]:
    """Give the networks one after the other: -> name, network and the channels it takes."""
    size, device, recipe = network.size, network.device, network.encoder.recipe
    yield "trained", FeatureSource(network.encoder, size, settings.layer, device), recipe.channels
    some = scaled_to_size(bank.images, some_rows(len(bank), CALIBRATED_ON), size)
    some = some[some_rows(len(some), CALIBRATED_ON)]
    fresh = untrained_encoder(recipe, network.seed, some, device=device)
    yield "untrained", FeatureSource(fresh, size, settings.layer, device), recipe.channels
    for name in dict.fromkeys(settings.against):
        other = _looking(settings, name)
        other = other.taking(bank.images.shape[1], bank.pictures.name)
        layer = settings.layer if settings.layer in other.encoder.layer_names else None
        yield name, FeatureSource(other.encoder, other.size, layer, device), other.channels
    yield (
        "pixels",
        FeatureSource(Pixels(recipe.channels, size), size, None, device),
        recipe.channels,
    )


def _check_enough(bank: Gallery, drawn: QueryRows, count: int) -> None:
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


def _places(settings: Neighbours, network: PictureNetwork) -> tuple[Path, Path]:
    """Name the sheet's and the record's files."""
    name = "neighbours-patches" if settings.patches else "neighbours"
    if settings.out is not None:
        sheet = atomic.file_place(Path(settings.out), another=OUT)
        return sheet, sheet.with_suffix(".json")
    results = network.results()
    sheet = network.run.picture(name) if network.run else results / f"{name}.png"
    return sheet, results / f"{name}.json"


def _draw(sheet: Path, bank: Gallery, drawn: QueryRows, found: dict[str, Found], said: str) -> None:
    queries = drawn.gallery.for_sheet(drawn.rows)
    titles = short_names(found)
    draw_neighbours(
        bank.for_sheet(torch.cat([answers.rows.flatten() for answers in found.values()])),
        [queries[row] for row in drawn.rows.tolist()],
        {titles[name]: answers.rows for name, answers in found.items()},
        sheet,
        bank_labels=bank.labels,
        query_labels=drawn.labels,
        cosine={titles[name]: answers.cosine for name, answers in found.items()},
        query_names=[_named(drawn, row) for row in drawn.rows.tolist()],
        caption=said,
    )


def _listed(bank: Gallery, drawn: QueryRows, found: dict[str, Found]) -> list[dict[str, Any]]:
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


def _named(asked: QueryRows, row: int) -> str:
    """Name a query: its class where it has one, and its file or row on a line of its own."""
    title, labels = Path(asked.gallery.title(row)).name, asked.gallery.labels
    if labels is None:
        return title
    return f"{asked.gallery.pictures.classes[int(labels[row])]}\n{title}"


def _told(
    settings: Neighbours,
    network: PictureNetwork,
    data: SearchData,
    bank: Gallery,
    measured: QueryRows,
    drawn: QueryRows,
) -> dict[str, Any]:
    """Keep what was asked and derived, for the record."""
    galleries = {id(g): g for g in (bank, measured.gallery, drawn.gallery)}.values()
    cut = data.cut
    return {
        **dataclasses.asdict(settings),
        "data": bank.pictures.name,
        "queries_from": "DATA's test part" if data.test is not None else "the pictures searched",
        "size": network.size,
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
        "encoder": network.encoder.recipe.to_json(),
    }


def _several(value: str | Path | Run | Sequence[str | Path | Run]) -> tuple[str, ...]:
    """Give one name or several as several names."""
    values = [value] if isinstance(value, str | Path | Run) else value
    return tuple(str(one.path) if isinstance(one, Run) else str(one) for one in values)


def show(record: dict[str, Any]) -> None:
    """Print the record for people: a table of networks, the verdict, and where the sheet is."""
    answers().print(network_table(record))
    answers().print(record["verdict"])
    answers().print(f"sheet: {record['sheet']}")
