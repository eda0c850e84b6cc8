"""Runs: one that is finished and one that is not, and what the cache keeps, each damaged."""

import csv
import io
import json
import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import selfsight
from fuzz.damages import HOSTILE, NUMBERS, TEXTS, as_json, damaged, damaged_json, mutated, strange
from selfsight.data.pictures import Pictures, open_data, read
from selfsight.layers.permutations import kept_permutations
from selfsight.probes.references import kept_dictionary

DATA, FINISHED, BEGUN, CACHE = "data", "finished", "begun", "cache"
STEPS, MORE = 4, 2  # of the run that is finished, and further ones of that which is not
SHORT = {"encoder": "test_resnet", "size": 16, "batch": 8, "precision": "f32", "threads": 1}
PERMUTATIONS = (500, 6)  # so many of so many tiles
FILES = (
    "settings.json", "settings.json", "settings.json", "encoder.json", "encoder.json",
    "encoder.safetensors", "encoder.safetensors", "metrics.csv", "checkpoint.pt", "checkpoint.pt",
    "results/pretrain.json",
)  # fmt: skip


def make_templates(home: Path) -> None:
    """Train what is to be damaged, with pictures of two classes; run once, in a process apart."""
    chance = np.random.default_rng(0)
    for number in range(16):
        folder = home / DATA / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        values = chance.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{number}.png")
    data, out = str(home / DATA), str(home / FINISHED)
    selfsight.pretrain(data, "rotation", out=out, samples=8 * STEPS, **SHORT)
    shutil.copytree(home / FINISHED, home / BEGUN)
    (home / BEGUN / "results" / "pretrain.json").unlink()
    settings = json.loads((home / BEGUN / "settings.json").read_text())
    settings["plan"]["steps"] = STEPS + MORE
    (home / BEGUN / "settings.json").write_text(json.dumps(settings))
    os.environ["SELFSIGHT_CACHE"] = str(home / CACHE)
    read_from_cache(home)


def read_from_cache(home: Path) -> Pictures:
    """Ask for all that the cache keeps: a map, a dictionary and permutations."""
    source = open_data(home / DATA).train
    pictures = read(source, side=16, storage="map")
    kept_dictionary(pictures, size=16)
    found = kept_permutations(*PERMUTATIONS)
    assert found.sort(dim=1).values.equal(torch.arange(PERMUTATIONS[1]).expand(PERMUTATIONS))
    return pictures


def copied(home: Path, place: Path) -> None:
    """Copy a folder, its files as links to the same bytes: they are replaced and not written to."""

    def linked(file: str, copy: str) -> None:
        (shutil.copyfile if file.endswith("lock") else os.link)(file, copy)

    shutil.copytree(home, place, copy_function=linked)


def replace(path: Path, data: bytes) -> None:
    """Put other bytes into a file's place."""
    path.unlink()
    path.write_bytes(data)


def make(home: Path, place: Path, draw: random.Random) -> str:
    """Copy a run and damage some of it: -> the run."""
    run = place / "run"
    copied(home / draw.choice((FINISHED, BEGUN, BEGUN)), run)
    files = [name for name in FILES if (run / name).exists()]
    for name in dict.fromkeys(draw.choices(files, k=draw.choice((1, 1, 1, 2)))):
        path = run / name
        if draw.random() < 0.06:
            _displaced(path, draw)
        elif path.is_file():
            way: Callable[[bytes, random.Random], bytes] = WAYS[path.suffix]
            replace(path, way(path.read_bytes(), draw) if path.stat().st_size else b"{}")
    return str(run)


def make_cache(home: Path, place: Path, draw: random.Random) -> str:
    """Copy the cache and damage a file of it: -> the cache."""
    cache = place / "cache"
    copied(home / CACHE, cache)
    path = draw.choice(sorted(path for path in cache.rglob("*") if path.is_file()))
    data = path.read_bytes()
    replace(path, (damaged_json if path.suffix == ".json" and data else damaged)(data, draw))
    return str(cache)


def _displaced(path: Path, draw: random.Random) -> None:
    """Put something else where a file was: nothing, a folder, a pipe or a link."""
    path.unlink(missing_ok=True)
    way = draw.randrange(5)
    if way == 0:
        path.mkdir(parents=True, exist_ok=True)
    elif way == 1 and not path.exists():
        os.mkfifo(path)
    elif way > 1 and not path.exists():
        path.symlink_to(("/dev/zero", path.name, "/etc/passwd")[way - 2])


def _weights(data: bytes, draw: random.Random) -> bytes:
    """Damage the header of a .safetensors file in its values, or its bytes."""
    if draw.random() < 0.5:
        return damaged(data, draw)
    (length,) = struct.unpack("<Q", data[:8])
    if length > len(data):
        return data
    header = as_json(mutated(json.loads(data[8 : 8 + length]), draw))
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _checkpoint(data: bytes, draw: random.Random) -> bytes:
    """Exchange values of a checkpoint, or damage its bytes."""
    if draw.random() < 0.4:
        return damaged(data, draw)
    state: Any = torch.load(io.BytesIO(data), weights_only=True)
    holder, key = draw.choice([(state, key) for key in state] + _deeper(state, draw))
    holder[key] = draw.choice((_other_tensor, _odd))(holder[key], draw)
    if draw.random() < 0.1:
        del holder[key]
    if draw.random() < 0.03:
        state["counts"] = _Runs()
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


class _Runs:
    """What would run a program, if it were unpickled as pickle unpickles."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def _deeper(state: dict[str, Any], draw: random.Random) -> list[tuple[Any, Any]]:
    inner = [value for value in state.values() if isinstance(value, dict) and value]
    return [(holder, draw.choice(list(holder))) for holder in inner]


def _odd(value: Any, draw: random.Random) -> Any:
    found = strange(draw)
    return 3 if isinstance(found, str) and not found.isascii() else found


def _other_tensor(value: Any, draw: random.Random) -> Any:
    """A tensor of another shape or kind, or of numbers that are none."""
    if not isinstance(value, torch.Tensor):
        return torch.zeros(3)
    if draw.random() < 0.4:
        return value.flatten()[:1].repeat(3)
    if value.is_floating_point() and draw.random() < 0.5:
        return value * float("nan")
    return value.to(draw.choice((torch.float64, torch.int64, torch.bool, torch.uint8)))


def _metrics(data: bytes, draw: random.Random) -> bytes:
    """Exchange words of a table of metrics, or damage its bytes."""
    rows = list(csv.reader(io.StringIO(data.decode())))
    if draw.random() < 0.4 or not rows:
        return damaged(data, draw)
    for _ in range(draw.choice((1, 2, 5))):
        row = draw.choice(rows)
        if row:
            words = (*TEXTS[:-6], *map(str, NUMBERS), HOSTILE)
            row[draw.randrange(len(row))] = draw.choice(words)
    if draw.random() < 0.2:
        draw.choice(rows).append("1")
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue().encode(errors="replace")


WAYS = {
    ".json": damaged_json,
    ".safetensors": _weights,
    ".csv": _metrics,
    ".pt": _checkpoint,
}
