"""Embed: the verb that writes a network's features of every picture to a file for other programs.

A file .txt holds the vectors of words in word2vec's own text format. In the others each picture has
a row: `path` (its title), `split` ("train" or "test") where the data has parts, `label` and `class`
where it has classes (-1 and "" for a picture without), and `embedding`, D numbers.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from selfsight.data.pictures import Pictures
from selfsight.data.pictures.reading_progress import read_with_progress
from selfsight.data.pictures.scaling import SQUARE_VIEW
from selfsight.data.pictures.source import PictureSource
from selfsight.data.reporting import say_unlabelled
from selfsight.data.samples import Skipped
from selfsight.encoders.word_table import of_words
from selfsight.errors import UsageError
from selfsight.looks.embeddings import UNLABELLED, EmbeddingFile, NpzFile, ParquetFile, Rows
from selfsight.looks.word_vectors import write_word_vectors
from selfsight.probes.encoding import check_layer, encoded
from selfsight.probes.network import PictureNetwork, named_network, picture_network
from selfsight.settings import Embed
from selfsight.system import atomic, machine
from selfsight.system.escaping import escaped
from selfsight.system.progress import Bar, answers, console
from selfsight.training.run import OUT, Run

WORD_VECTORS = ".txt"  # ends a file in word2vec's text format


def embed(
    run: str | Path | Run, data: str | None = None, *, out: str | Path, **options: Any
) -> dict[str, Any]:
    """Write the features of every picture to a file.

    Args:
        run: A run, its path, or "timm:NAME".
        data: The pictures; by default what the run was trained on.
        out: The file, .parquet or .npz; one that is there is replaced.
        **options: The verb's flags by name, such as `layer` and `limit`.

    Returns:
        The record: how many rows of how many features, the file, and what was skipped.

    Raises:
        UsageError: If asked wrongly.
        SelfsightError: If it cannot be done.
    """
    place = str(run.path) if isinstance(run, Run) else str(run)
    return embed_as(Embed(run=place, data=data, out=str(out), **options))


def embed_as(settings: Embed) -> dict[str, Any]:
    """Embed as the settings say; see `embed`."""
    begun = time.monotonic()
    if Path(str(settings.out)).suffix == WORD_VECTORS:
        return _words_written(settings, begun)
    network = picture_network(settings.run, size=settings.size, device=settings.device)
    check_layer(network.encoder, settings.layer)
    data = settings.data or network.data or ""
    path = Path(str(settings.out))
    if data:
        _check_place(path, Path(data))
    lock = atomic.file_place(path, another=OUT).with_name(f".{path.name}.lock")
    with atomic.owned(path, lock, otherwise=OUT, another=OUT):
        record = _written(settings, network, data, path)
    return record | {
        "seconds": round(time.monotonic() - begun, 1),
        "settings": dataclasses.asdict(settings),
        "machine": machine.described(network.device),
    }


def _words_written(settings: Embed, begun: float) -> dict[str, Any]:
    """Write a table of words: -> the record.

    Raises:
        UsageError: If the network is none, or is asked about data.
    """
    network = named_network(settings.run, device=settings.device)
    table, path = of_words(network.encoder), Path(str(settings.out))
    if settings.data is not None or settings.layer is not None or settings.limit is not None:
        raise UsageError("all vectors of words are written; leave DATA, --layer and --limit out")
    lock = atomic.file_place(path, another=OUT).with_name(f".{path.name}.lock")
    with atomic.owned(path, lock, otherwise=OUT, another=OUT):
        write_word_vectors(table, path, another=OUT)
    return {
        "out": str(path),
        "count": len(table.words),
        "features": table.dim,
        "unit": "words",
        "skipped": [],
        "layer": "table",
        "network": escaped(network.name),
        "seconds": round(time.monotonic() - begun, 1),
        "settings": dataclasses.asdict(settings),
        "machine": machine.described(network.device),
    }


def _written(settings: Embed, network: PictureNetwork, data: str, path: Path) -> dict[str, Any]:
    """Write the file: -> what the record says of it."""
    parts = network.parts(settings.data, f"embed {settings.run} needs DATA: the pictures")
    if path.exists():
        console().print(f"{path} is replaced once everything is computed")
    say_unlabelled(parts.train, parts.test)
    network = network.seeing(parts.train, parts.test)
    about = {
        "network": escaped(network.name),
        "layer": settings.layer or "pooled",
        "size": str(network.size),
        "data": escaped(parts.train.name if parts.test is None else data),
        "view": SQUARE_VIEW,
    }
    skipped: list[Skipped] = []
    notes: dict[str, None] = {}
    kind = ParquetFile if path.suffix == ".parquet" else NpzFile
    with kind(path, about, another=OUT) as file:
        for part in _parts(parts.train, parts.test):
            pictures = _embedded(network, settings, part, file)
            skipped += [*pictures.skipped, *pictures.broken().values()]
            notes |= dict.fromkeys(pictures.notes)
    return {
        "out": str(path),
        "count": file.count,
        "features": file.features,
        "splits": file.splits,
        "classes": len(parts.train.classes),
        "skipped": [dataclasses.asdict(one) for one in skipped],
        "notes": list(notes),
        **about,
        "size": network.size,
    }


def _check_place(path: Path, data: Path) -> None:
    """Refuse to write over the data, or into it."""
    whole = data.resolve()
    if data.exists() and whole in (path.resolve(), *path.resolve().parents):
        raise UsageError(f"--out {path} would lie in the data {data}; name another place")


class _Part(NamedTuple):
    """A part of the data.

    Attributes:
        source: Its pictures.
        split: "train" or "test"; None where the data has no parts.
        labelled: Whether any part has classes.
    """

    source: PictureSource
    split: str | None
    labelled: bool


def _parts(train: PictureSource, test: PictureSource | None) -> list[_Part]:
    if test is None:
        return [_Part(train, None, train.labels is not None)]
    labelled = train.labels is not None or test.labels is not None
    return [_Part(train, "train", labelled), _Part(test, "test", labelled)]


def _embedded(
    network: PictureNetwork, settings: Embed, part: _Part, file: EmbeddingFile
) -> Pictures:
    """Embed one part: -> its pictures."""
    pictures = read_with_progress(
        part.source,
        side=network.size,
        fit="square",
        channels=network.channels,
        limit=settings.limit,
        listed_in="the record (--json)",
    )
    rows, done = torch.arange(len(pictures)), 0
    features = encoded(
        network.encoder,
        pictures.images,
        rows,
        size=network.size,
        layer=settings.layer,
        device=network.device,
    )
    with Bar(f"embedding {part.split or ''}".rstrip(), len(pictures)) as bar:
        for batch in features:
            here = rows[done : done + len(batch)]
            broken = pictures.broken()  # in the place of these another stood
            kept = torch.tensor([row not in broken for row in here.tolist()], dtype=torch.bool)
            file.add(_rows(pictures, here[kept], part, batch[kept]))
            done += len(batch)
            bar(done)
    return pictures


def _rows(pictures: Pictures, rows: Tensor, part: _Part, features: Tensor) -> Rows:
    paths = [pictures.titles[row] for row in rows.tolist()]
    if not part.labelled:
        return Rows(paths, part.split, None, None, features)
    if pictures.labels is None:
        labels, names = torch.full((len(rows),), UNLABELLED), [""] * len(rows)
    else:
        labels = pictures.labels[rows]
        names = [pictures.classes[number] for number in labels.tolist()]
    return Rows(paths, part.split, labels, names, features)


def show(record: dict[str, Any]) -> None:
    """Print for people what was written where."""
    skipped = f", {len(record['skipped'])} skipped" if record["skipped"] else ""
    answers().print(
        f"{record['count']:,} {record.get('unit', 'pictures')}{skipped}, "
        f"{record['features']} features each ({record['layer']}), in {record['out']}"
    )
