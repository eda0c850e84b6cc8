"""Wording: puts a record of neighbours into a sentence, a caption and a table."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.table import Table

CLASS_OF = "5"  # nearest rows whose class the sentence speaks of


def verdict(record: dict[str, Any]) -> str:
    """Summarise a record of neighbours, comparing the trained network with the others."""
    colour, alike = _of_colour(record), _of_classes(record)
    said = [part for part in (colour, alike) if part]
    return " ".join(said)


def caption(record: dict[str, Any]) -> str:
    """Say what a sheet shows, and how it was made."""
    trained, settings = record["networks"]["trained"], record["settings"]
    cut = settings["patches"]
    kind = (
        f"patches of {cut['side']} px, {cut['a_picture']} at random places of every picture"
        if cut
        else "pictures, shown whole; networks see their largest centred square"
    )
    layers = {short: one["layer"] for short, one in _shortly(record).items() if short != "pixels"}
    same = len(set(layers.values())) == 1
    layer = (
        _layer(trained["layer"])
        if same
        else ", ".join(f"{name}: {_layer(one)}" for name, one in layers.items())
    )
    frames = (
        "" if trained["same_class"] is None else " Green frame: the query's class; red: another."
    )
    way = "" if trained["search"] == "exact" else f" Searched by {trained['search']}."
    return (
        f"{record['searched']:,} {kind}. Nearest first, by the cosine (below each) of {layer}; "
        f"{settings['rule']}.{frames}{way} {record['verdict']}"
    )


def network_table(record: dict[str, Any]) -> Table:
    """Tabulate the networks, one row each, with shares in per cent."""
    table = Table(
        title=f"{record['searched']:,} {record['neighbours']}, {record['queries']} queries: % of "
        f"the {record['list']} nearest kept, % of the first n of its class",
        title_justify="left",
    )
    table.add_column("network")
    networks = record["networks"]
    among = list(networks["trained"]["same_class"] or {})
    columns = ["grey", "hues turned", *(f"class, first {n}" for n in among)]
    for column in (*columns, "cosine"):
        table.add_column(column, justify="right")
    for name, one in networks.items():
        classes = [_percent((one["same_class"] or {}).get(n)) for n in among]
        colour = _percent(one["grey_kept"]), _percent(one["hue_kept"])
        table.add_row(name, *colour, *classes, f"{one['cosine']:.2f}")
    chance = [_percent(record["chance"])] * len(among)
    blindly = _percent(record["blindly_kept"])
    table.add_row("by chance", blindly, blindly, *chance, "", style="dim")
    return table


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Shorten networks' names to the end of their paths, unless two of them would be the same."""
    every = list(names)
    short = {name: "/".join(Path(name).parts[-2:]) for name in every}
    return short if len(set(short.values())) == len(every) else {name: name for name in every}


def _of_colour(record: dict[str, Any]) -> str:
    trained = record["networks"]["trained"]
    if trained["colour_unknown"]:
        return f"The effect of colour cannot be measured: {trained['colour_unknown']}."
    chance = f"by chance {_percent(record['blindly_kept'])} %"
    grey = _beside(record, lambda one: one["grey_kept"])
    hue = _beside(record, lambda one: one["hue_kept"])
    return (
        f"Of the {record['list']} nearest {record['neighbours']}, "
        f"{_percent(trained['grey_kept'])} % remain when the query turns grey ({grey}; {chance}), "
        f"{_percent(trained['hue_kept'])} % when its hues change ({hue})."
    )


def _of_classes(record: dict[str, Any]) -> str:
    """Describe the classes of the first `CLASS_OF` neighbours, or of all where there are fewer."""
    shares = record["networks"]["trained"]["same_class"]
    if not shares:
        return ""
    among = CLASS_OF if CLASS_OF in shares else list(shares)[-1]
    others = _beside(record, lambda one: (one["same_class"] or {}).get(among))
    nearest = f"the first {among} are" if among != "1" else "the nearest are"
    return (
        f"{_percent(shares[among])} % of {nearest} of the query's class "
        f"({others}; by chance {_percent(record['chance'])} %)."
    )


def _beside(record: dict[str, Any], value: Callable[[dict[str, Any]], float | None]) -> str:
    """List the other networks' values."""
    others = {name: value(one) for name, one in _shortly(record).items() if name != "trained"}
    return ", ".join(f"{name} {_percent(one)} %" for name, one in others.items() if one is not None)


def _shortly(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    names = short_names(record["networks"])
    return {names[name]: one for name, one in record["networks"].items()}


def _layer(name: str) -> str:
    return "the networks' pooled features" if name == "pooled" else f"layer {name}"


def _percent(share: float | None) -> str:
    if share is None:
        return "-"
    return f"{100 * share:.1f}" if share < 0.1 else f"{100 * share:.0f}"
