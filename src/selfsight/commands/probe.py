"""Probe: the verb that asks a frozen encoder what it knows."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfsight.errors import SelfsightError
from selfsight.probes import advice
from selfsight.probes.network import NamedNetwork, named_network
from selfsight.probes.table import PROBES
from selfsight.settings import Probe
from selfsight.system import atomic
from selfsight.system.loading import object_at
from selfsight.system.progress import answers
from selfsight.system.validation import read_record
from selfsight.training.run import ENCODER_FILE, OUT, Run


def probe(
    run: str | Path | Run,
    data: str | None = None,
    *,
    probe: str | Sequence[str] = (),
    **options: Any,
) -> dict[str, Any] | list[dict[str, Any]]:
    """Ask every layer of an encoder what it knows.

    Args:
        run: A run, its path, or "timm:NAME".
        data: Labelled pictures; by default what the run was trained on.
        probe: "linear" or "knn", or several; by default "linear".
        **options: The verb's flags by name, such as `test` and `labels`.

    Returns:
        The record, or a list of them where several probes were asked.

    Raises:
        UsageError: If asked wrongly.
        SelfsightError: If it cannot be done.
    """
    probes = (probe,) if isinstance(probe, str) else tuple(probe)
    place = str(run.path) if isinstance(run, Run) else str(run)
    return probe_as(Probe(run=place, data=data, probe=probes, **options))


def probe_as(settings: Probe) -> dict[str, Any] | list[dict[str, Any]]:
    """Probe as the settings say; see `probe`."""
    network = named_network(
        settings.run, size=settings.size, seed=settings.seed, device=settings.device
    )
    names = settings.probe or network.modality.probes[:1]
    for name in names:
        network.modality.check_probe(name)
    out = network.results(settings.out)
    ways = dict.fromkeys(PROBES[name].probed for name in names)
    records: list[dict[str, Any]] = []
    for way in ways:  # those of one way are asked in one go
        asked = [name for name in names if PROBES[name].probed == way]
        records += object_at(way)(asked, settings, network)
    for record in records:
        atomic.write_json(_place(out, network, record), record, another=OUT)
    return records[0] if len(records) == 1 else records


def _place(out: Path, network: NamedNetwork, record: dict[str, Any]) -> Path:
    """Name the file of a record: PROBE.json, with the network's and data's names where taken."""
    place = out / f"{record['probe']}.json"
    if not place.exists():
        return place
    about = ("run", "data", "test")
    with contextlib.suppress(SelfsightError):  # a damaged one is another's, as far as is known
        known = read_record(place, remedy="remove it").get("settings")
        asked = record["settings"]
        if isinstance(known, dict) and all(known.get(k) == asked.get(k) for k in about):
            return place  # measured anew
    short = Path(network.name.replace(":", "-")).name.removesuffix(ENCODER_FILE)
    names = [short, Path(record["settings"]["data"]).stem]
    return out / f"{'-'.join([record['probe'], *names])}.json"


def show(record: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Print records for people: a table, and the verdict."""
    for one in record if isinstance(record, list) else [record]:
        if one["labels"]:
            answers().print(object_at(PROBES[one["probe"]].table)(one))
        answers().print(one["verdict"], style="bold", end="")
        answers().print(f": {' '.join(one['reasons'])}")
        for line in advice.lines(one):
            answers().print(line)
