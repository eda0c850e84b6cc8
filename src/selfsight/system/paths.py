"""Paths: whether the runs, data and files that the user names exist, checked before torch loads.

A mistyped path is reported at once, while loading torch alone takes seconds. Only existence is
checked here; the content is checked by the code that opens it.
"""

import difflib
import os
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from selfsight.errors import SelfsightError
from selfsight.system.escaping import escaped

SETTINGS = "settings.json"  # together with one of these, what makes a directory a run
RUN_FILES = {"encoder.json", "encoder.safetensors", "checkpoint.pt", "metrics.csv"}
ENCODER_FILE = ".safetensors"
TIMM = "timm:"  # prefix of the name of a timm model
PHOTO = "photo:"  # prefix of the path of a photograph whose crops are the data
EMBEDDED_NAMES = ("photos", "digits", "crops")
FETCHED_NAMES = (
    "cifar10", "cifar100", "mnist", "fashion-mnist", "svhn", "stl10", "stl10-unlabelled",
    "flowers102", "food101", "pets", "eurosat",
)  # fmt: skip
# Settings that name runs or networks; data; files.
RUNS = ("run", "start", "resume", "against")
DATA = ("data", "test", "place")
FILES = ("query", "mask")


def check(settings: Any) -> None:
    """Refuse settings of a verb that name a run, data or file that does not exist.

    Raises:
        SelfsightError: Names the first that does not exist.
    """
    named = {field.name: getattr(settings, field.name) for field in fields(settings)}
    for key in (*RUNS, *DATA, *FILES):
        value = named.get(key)
        for one in (value,) if isinstance(value, str) else value or ():
            if key in RUNS:
                check_run(one)
            elif key in DATA:
                check_data(one)
            elif not os.path.exists(one):
                raise SelfsightError(f"--{key} {one} does not exist; give the path of a picture")
    photographs = named.get("files") or ()  # where some exist, those are done
    if photographs and not any(map(_is_data, photographs)):
        raise SelfsightError(nothing_called(photographs[0]))


def check_run(name: str) -> None:
    """Refuse a path that is neither a run's directory nor an encoder's file in one.

    Raises:
        SelfsightError: If it is neither.
    """
    if name.startswith(TIMM):
        return
    is_file = name.endswith(ENCODER_FILE) and not os.path.isdir(name)
    path = (os.path.dirname(name) or ".") if is_file else name
    if not os.path.exists(path):
        raise SelfsightError(f"{path} does not exist; a run is made by selfsight pretrain")
    if not os.path.isfile(os.path.join(path, SETTINGS)):
        raise SelfsightError(
            f"{path} is not a run: it has no {SETTINGS}; a run is made by selfsight pretrain"
        )


def check_data(name: str) -> None:
    """Refuse data that is neither an existing path nor a known name.

    Raises:
        SelfsightError: Lists similar names.
    """
    if not _is_data(name):
        raise SelfsightError(nothing_called(name))


def _is_data(name: str) -> bool:
    """Tell whether a path exists or a name is known; several shards are checked when opened."""
    return "{" in name or is_there(name)


def is_there(name: str) -> bool:
    """Tell whether a path or the folder of several shards exists, or a name is known."""
    if is_name(name) or os.path.exists(name) or os.path.exists(name.removeprefix(PHOTO)):
        return True
    return "{" in name and os.path.isdir(os.path.dirname(name.partition("{")[0]) or ".")


def place_of(data: str) -> str:
    """Give where data lies, so that it is found from any folder: an absolute path, or a name.

    >>> place_of("cifar10"), place_of("photo:/a/../b.png")
    ('cifar10', 'photo:/b.png')
    """
    if is_name(data) and not os.path.exists(data):
        return data
    if data.startswith(PHOTO) and not os.path.exists(data):
        return PHOTO + os.path.abspath(data.removeprefix(PHOTO))
    return os.path.abspath(data)


def found_at(data: str, place: str | None) -> str:
    """Name a run's data so that it is found from the current folder.

    Args:
        data: As the user named it when the run was made.
        place: Where it lay then; None for older runs, which do not record it.

    Returns:
        `data` if it leads to the same place from here, else `place`. If nothing lies at `place`
        and `data` leads to something, `data`: run and data may have been moved together.
    """
    if place is None or place_of(data) == place:
        return data
    return data if is_there(data) and not is_there(place) else place


def is_name(data: str) -> bool:
    """Tell whether a name is that of embedded or fetched data."""
    return data in EMBEDDED_NAMES or data in FETCHED_NAMES


def nothing_called(name: str) -> str:
    """Word the error for data that does not exist: the known names, and similar ones."""
    close = difflib.get_close_matches(name, [*EMBEDDED_NAMES, *FETCHED_NAMES], n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return (
        f"there is no file or folder '{escaped(name)}', and no data of that name; "
        f"embedded: {', '.join(sorted(EMBEDDED_NAMES))}; fetched by torchvision: "
        f"{', '.join(sorted(FETCHED_NAMES))}.{hint} Give one of these, or a path; "
        "`selfsight datasets` lists the forms that data may have"
    )


def is_run(files: Sequence[str]) -> bool:
    """Tell by the names of its files whether a folder is a run."""
    return SETTINGS in files and not RUN_FILES.isdisjoint(files)
