"""Trials: one fault put to one real command, and what must hold afterwards.

A trial has a kind, a case and a seed, and everything in it follows from these: which moment, which
byte, which bit. It begins in an empty folder, puts the fault to the case's command, and then does
what its user would do: goes on with the run, or gives the command again. What lies in the folder
then must be what the command leaves that nothing befell, file by file and bit by bit, and nothing
besides. A case's undisturbed command is run once, and kept beside the trials.
"""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from PIL import Image

from apart import HERE, Apart
from belongings import belongings, differences
from making import needs_of, photographs
from selfsight.data.locks import alone
from selfsight.tasks import TASKS
from small_disk import AMPLE, mount, own_mounts

PICTURES, STEPS, BATCH = 40, 8, 8
FLIPPED = 10  # bits
PAGE = 4096  # bytes
SENTENCE = re.compile(r"^selfsight: .+", re.MULTILINE)
NO_SPACE = re.compile(r"No space left|File too large|make room|has room|free", re.IGNORECASE)
# Exit statuses of a command that was asked to end: done all the same, or ended as documented.
ASKED_TO_END = (0, 1, 129, 130, 143)


class Broken(Exception):
    """A promise that did not hold; its text says how."""


class Case(NamedTuple):
    """A command, as a user gives it.

    Attributes:
        words: What is typed behind `selfsight`; {home} is the folder of the trial.
        before: Cases whose undisturbed outcome lies in the folder already.
        first: Python that its process runs first, to make a large thing small.
        exact: Whether the outcome is the same to the bit whenever it is run.
        form: What form the pictures have that lie in the folder, if they lie there.
    """

    words: tuple[str, ...]
    before: tuple[str, ...] = ()
    first: str = ""
    exact: bool = True
    form: str = ""


def _pretraining(tasks: Sequence[str], *more: str, data: str = "{data}/tiles.npz") -> Case:
    side = max(24, *(needs_of(name).least_side for name in tasks))
    words = ["pretrain", data, "--out", "{home}/run", "--threads", "1", "--precision", "f32"]
    words += [word for task in tasks for word in ("--task", task)]
    if TASKS[tasks[0]].way == "trained":
        words += ["--samples", str(STEPS * BATCH), "--batch", str(BATCH), "--save-every", "0"]
        words += ["--encoder", "test_resnet", "--size", str(side)]
    else:
        words += ["--size", str(side)]
    return Case((*words, *more))


SHORT_DEMO = """
from selfsight.studies import demo
begin = demo.pretrain
def shortly(*data, minutes=None, **options):
    short = {} if "resume" in options else {"samples": 64, "batch": 8, "save_every": 0.0}
    return begin(*data, **options, **short, **({} if "resume" in options else {"threads": 1}))
demo.pretrain, demo.LABELS = shortly, 64
"""
FORMS = ("folder", "npz", "npy", "parquet", "tar")
STORED = {"folder": "map", "npz": "memory", "npy": "memory", "parquet": "stream", "tar": "stream"}

CASES: dict[str, Case] = {
    **{name: _pretraining([name]) for name, row in TASKS.items() if row.way == "trained"},
    "in turns": _pretraining(["moco-v2", "deepcluster"], "--mix", "alternate"),
    "summed": _pretraining(["pirl", "exemplar"], "--mix", "sum"),
    "fitted": _pretraining(["patch-dictionary"]),
    "mapped": _pretraining(["jigsaw"], "--storage", "map"),
    "probed on the way": _pretraining(["rotation"], "--probe-every", "2"),
    "probe": Case(("probe", "{home}/run", "--quick", "--probe", "linear"), ("rotation",)),
    "embed npz": Case(("embed", "{home}/run", "--out", "{home}/features.npz"), ("rotation",)),
    "embed parquet": Case(
        ("embed", "{home}/run", "--out", "{home}/features.parquet"), ("rotation",)
    ),
    "look": Case(("look", "{home}/run", "--at", "pretext", "--at", "filters"), ("rotation",)),
    "apply": Case(
        ("apply", "{home}/run", "{data}/photo.png", "--out", "{home}/applied"), ("colorization",)
    ),
    "demo": Case(("demo", "--out", "{home}/demo"), first=SHORT_DEMO),
    "two processes": _pretraining(["moco-v2"], "--devices", "2", "--device", "cpu"),
    **{
        f"{form} in {stored}": _pretraining(
            ["rotation"], "--storage", stored, data="{home}/pictures" + _suffix
        )._replace(form=form)
        for form, _suffix in {
            "folder": "", "npz": ".npz", "npy": ".npy", "parquet": ".parquet", "tar": ".tar",
        }.items()
        for stored in ("memory", "map", "stream")
    },
}  # fmt: skip
