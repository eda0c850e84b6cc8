"""Catalogue: the verbs that list tasks, data and encoders, as tables and as records."""

from typing import Any

import torch
from rich.table import Table

from selfsight.data.pictures import EMBEDDED, FORMS, NAMED
from selfsight.data.pictures.forms.torchvision_sets import downloads
from selfsight.encoders import DEFAULT, EXAMPLES, build, fitting_size
from selfsight.settings import Datasets, Encoders, Tasks
from selfsight.system.progress import answers
from selfsight.tasks.cards import card, cards

LOOKED_AT = 64  # px, the side at which encoders are listed, or the nearest they take


def tasks(settings: Tasks) -> list[dict[str, Any]]:
    """Describe every task, or the one named."""
    return [card(settings.name)] if settings.name else cards()


def show_tasks(record: list[dict[str, Any]]) -> None:
    """Print the tasks for people."""
    console = answers()
    for task in record:
        table = Table(title=task["title"], show_header=False, box=None)
        table.title_justify = "left"
        for word in ("hidden", "predicted", "scored", "reference"):
            if word in task:
                table.add_row(word, task[word])
        for name, setting in task["settings"].items():
            given = f"--set {task['name']}.{name}=VALUE   default: {_told(setting['default'])}"
            table.add_row("setting", given)
            if len(record) == 1:
                table.add_row("", setting["meaning"])
        console.print(table)
        console.print()


def _told(default: Any) -> str:
    """Put a setting's default into words."""
    if default is None:
        return "from the data"
    return f"{default:g}" if isinstance(default, float) else str(default) or "none"


def datasets(settings: Datasets) -> list[dict[str, Any]]:
    """Describe what DATA may be: forms of files, and names."""
    forms = [{"data": form, "kind": "form", "what": what} for form, what in FORMS.items()]
    embedded = [
        {"data": name, "kind": "embedded", "what": "comes with the packages"} for name in EMBEDDED
    ]
    named = [
        {"data": name, "kind": "fetched", "what": f"{entry.kind} of torchvision"}
        for name, entry in NAMED.items()
    ]
    return forms + embedded + named


def show_datasets(record: list[dict[str, Any]]) -> None:
    """Print the kinds of data for people."""
    titles = {
        "form": "what DATA may be",
        "embedded": "names of data that needs no network",
        "fetched": f"names of data that is fetched once, into {downloads()}",
    }
    for kind, title in titles.items():
        table = Table(title=title, title_justify="left", show_header=False, box=None)
        for row in record:
            if row["kind"] == kind:
                table.add_row(row["data"], row["what"])
        answers().print(table, "")


def encoders(settings: Encoders) -> list[dict[str, Any]]:
    """Describe the usual encoders, or the one named."""
    names = [settings.name] if settings.name else list(EXAMPLES)
    return [_encoder(name) for name in names]


def _encoder(name: str) -> dict[str, Any]:
    with torch.random.fork_rng():
        encoder = build(name, size=fitting_size(name, LOOKED_AT))
    return {
        "name": name,
        "timm": encoder.recipe.name,
        "arguments": encoder.recipe.arguments,
        "for": EXAMPLES.get(name),
        "weights": sum(p.numel() for p in encoder.parameters()),
        "dim": encoder.dim,
        "layers": [
            {"name": n, "channels": encoder.layer_channels[n], "stride": encoder.layer_strides[n]}
            for n in encoder.layer_names
        ],
    }


def show_encoders(record: list[dict[str, Any]]) -> None:
    """Print the encoders for people."""
    for row in record:
        name = f"{row['name']} (default)" if row["name"] == DEFAULT else row["name"]
        purpose = f": {row['for']}" if row["for"] else ""
        table = Table(title=f"{name}{purpose}", title_justify="left", show_header=False, box=None)
        table.add_row("timm", " ".join([row["timm"], *_spelt(row["arguments"])]))
        table.add_row("weights", f"{row['weights'] / 1e6:.2f} M, {row['dim']} features")
        layers = ", ".join(f"{x['name']}: {x['channels']} @ {x['stride']}" for x in row["layers"])
        table.add_row("layers", f"{layers} (channels @ stride)")
        answers().print(table, "")
    answers().print("and any timm model by its timm name")


def _spelt(arguments: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in arguments.items() if key not in ("num_classes",)]
