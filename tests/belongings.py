"""Belongings: all that lies in a folder, file by file, so that two folders can be held together.

What was measured by a clock is left out, and so is where the folder lies: the rest of two runs of
one command is the same to the bit, whatever befell one of them.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import torch
from torch import Tensor

CLOCKED = {"seconds", "waiting", "waited", "samples_per_second", "machine", "began", "since"}
HOME = "at-home"  # what every folder is called that is held against another
PATH_OF_HOME = re.compile(rf"/[^\s\"']*/{HOME}\b")
PACE = re.compile(r"[\d,.]+ pictures a second.*?(?='|\"|$)")
KEY = re.compile(r"[0-9a-f]{32}")  # of a map: it depends on where the pictures lie


def belongings(home: Path) -> dict[str, str]:
    """Say what lies in a folder: -> name within it to what it holds, as a digest or a word."""
    return {
        _name(path.relative_to(home).as_posix()): "a folder" if path.is_dir() else _held(path)
        for path in sorted(home.rglob("*"))
    }


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Name what differs between what should lie in a folder and what does."""
    return (
        [f"{name} is missing" for name in expected if name not in found]
        + [f"{name} was left" for name in found if name not in expected]
        + [
            f"{name} is {held if 'unreadable' in held else 'another'}"
            for name, held in found.items()
            if name in expected and held != expected[name]
        ]
    )


def _name(name: str) -> str:
    return KEY.sub("KEY", name) if name.startswith("cache/maps/") else name


def _held(path: Path) -> str:
    """Digest what a file holds."""
    if path.suffix == ".lock":
        return "a lock"
    if path.name == "checkpoint-before.pt":  # how long before, the clock decides
        return "a checkpoint" if _digest(_checkpoint(path)) else ""
    try:
        digest = _digest(READERS.get(path.suffix, Path.read_bytes)(path))
    except Exception as error:
        return f"unreadable: {error}"
    return digest


def _checkpoint(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _table(path: Path) -> Any:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _arrays(path: Path) -> Any:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
    if "numbers" in found:  # of a probe's answers, of which the last says how long they took
        found["numbers"] = found["numbers"][:-1]
    return found


def _record(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _features(path: Path) -> Any:
    table = pyarrow.parquet.read_table(path)
    return [table.schema.to_string(truncate_metadata=False), table.to_pydict()]


READERS: dict[str, Callable[[Path], Any]] = {
    ".pt": _checkpoint,
    ".csv": _table,
    ".json": _record,
    ".npz": _arrays,
    ".parquet": _features,
}


def _digest(value: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    _add(digest, value)
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    """Add a value to a digest, whatever it is made of."""
    if isinstance(value, dict):
        for key, one in value.items():
            if key not in CLOCKED:
                _add(digest, str(key))
                _add(digest, one)
    elif isinstance(value, list | tuple):
        digest.update(f"list of {len(value)}".encode())
        for one in value:
            _add(digest, one)
    elif isinstance(value, Tensor):
        _add(digest, value.detach().cpu().numpy())
    elif isinstance(value, np.ndarray) and value.dtype.kind in "US":
        _add(digest, value.tolist())
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    elif isinstance(value, bytes):
        digest.update(value)
    else:
        text = PACE.sub("at a pace", PATH_OF_HOME.sub("HOME", repr(value)))
        digest.update(text.encode() + b"\0")
