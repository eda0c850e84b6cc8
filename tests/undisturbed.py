"""Undisturbed: the commands that faults are put to, and what each leaves if nothing befalls it.

Networks and pictures are as small as they come, and a checkpoint is written at every step, so that
a command is over in a second and most of its life is at risk.
"""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from PIL import Image

from apart import HERE, Apart
from belongings import HOME, belongings
from making import needs_of, photographs
from selfsight.system.locks import alone
from selfsight.tasks.table import TASKS

PICTURES, STEPS, BATCH = 40, 8, 8
FORMS = {"folder": "", "npz": ".npz", "npy": ".npy", "parquet": ".parquet", "tar": ".tar"}


class Case(NamedTuple):
    """A command, as a user gives it.

    Attributes:
        words: What is typed behind `selfsight`; {home} is the folder it happens in, {data} that of
            pictures.
        before: A case whose outcome lies in the folder already.
        first: Python that its process runs first, to make a large thing small.
        form: Of pictures that lie in the folder itself, where something may befall them.
    """

    words: tuple[str, ...]
    before: str = ""
    first: str = ""
    form: str = ""


def _pretraining(tasks: Sequence[str], *more: str, data: str = "{data}/tiles.npz") -> Case:
    side = max(24, *(needs_of(name).least_side for name in tasks))
    words = ["pretrain", data, "--out", "{home}/run", "--size", str(side)]
    words += [word for task in tasks for word in ("--task", task)]
    if TASKS[tasks[0]].way == "trained":
        words += ["--batch", str(BATCH), "--save-every", "0", "--encoder", "test_resnet"]
        words += ["--threads", "1"]
        words += [] if "--precision" in more else ["--precision", "f32"]
        words += [] if "--samples" in more else ["--samples", str(STEPS * BATCH)]
    return Case((*words, *more))


SHORT_DEMO = """
from selfsight.studies import demo
begin = demo.pretrain
def shortly(*data, minutes=None, **options):
    if "resume" in options:
        return begin(**options)
    return begin(*data, **options, samples=64, batch=8, save_every=0.0, threads=1, precision="f32")
demo.pretrain, demo.LABELS = shortly, 64
"""
CASES: dict[str, Case] = {
    **{name: _pretraining([name]) for name, row in TASKS.items() if row.way == "trained"},
    "in turns": _pretraining(["moco-v2", "deepcluster"], "--mix", "alternate"),
    "summed": _pretraining(["pirl", "exemplar"], "--mix", "sum"),
    "four in turns": _pretraining(
        ["moco-v2", "instance-discrimination", "pirl", "deepcluster"], "--mix", "alternate"
    ),
    "bf16": _pretraining(["rotation"], "--precision", "bf16"),
    "many permutations": _pretraining(
        ["jigsaw"], "--set", "jigsaw.grid=3", "--set", "jigsaw.permutations=500"
    ),
    "fitted": _pretraining(["patch-dictionary"]),
    "mapped": _pretraining(["jigsaw"], "--storage", "map"),
    "probed on the way": _pretraining(["rotation"], "--probe-every", "2"),
    "short": _pretraining(["rotation"], "--samples", "32"),
    "two processes": _pretraining(["moco-v2"], "--devices", "2", "--device", "cpu"),
    "probe": Case(("probe", "{home}/run", "--quick"), "rotation"),
    "embed npz": Case(("embed", "{home}/run", "--out", "{home}/features.npz"), "rotation"),
    "embed parquet": Case(("embed", "{home}/run", "--out", "{home}/features.parquet"), "rotation"),
    "look": Case(("look", "{home}/run", "--at", "pretext", "--at", "filters"), "rotation"),
    "apply": Case(
        ("apply", "{home}/run", "{data}/photograph.png", "--out", "{home}/coloured"), "colorization"
    ),
    "demo": Case(("demo", "--out", "{home}/demo"), first=SHORT_DEMO),
    **{
        f"{form} in {stored}": _pretraining(
            ["rotation"], "--storage", stored, data=f"{{home}}/pictures{suffix}"
        )._replace(form=form)
        for form, suffix in FORMS.items()
        for stored in ("memory", "map", "stream")
    },
}


class Whole(NamedTuple):
    """What a case's command leaves that nothing befell, and how long its life was.

    Attributes:
        home: The folder.
        held: All that lies in it.
        calls: Functions that were called.
        files: Of them, those by which the system does something with files.
        seconds: As the clock had it, a fifth more than undisturbed, since calls were counted.
        of_files: Bytes that its files take, in whole pages.
    """

    home: Path
    held: dict[str, str]
    calls: int
    files: int
    seconds: float
    of_files: int


class Anew:
    """A command in a new Python, as is needed where it starts others; as `Apart` otherwise."""

    def __init__(self, words: Sequence[str], *, said: Path, environment: dict[str, str]) -> None:
        hidden = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "MASTER_ADDR", "NODE_RANK")
        kept = {name: value for name, value in os.environ.items() if name not in hidden}
        with said.open("wb") as into:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "selfsight", *words],
                env={**kept, **environment, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=into,
                stderr=into,
                start_new_session=True,
            )
        self.number = self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """Kill the first of its processes without a word, and wait until all of them are gone."""
        self._process.kill()
        self._process.wait()
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                os.killpg(self.number, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)
        os.killpg(self.number, signal.SIGKILL)
        raise RuntimeError("a process lives on whose leader was killed a minute ago")

    def wait(self) -> int:
        """Wait until it ends: -> its exit status."""
        return self._process.wait()


def typed(name: str, work: Path, home: Path) -> list[str]:
    """Give a case's words for a folder."""
    return [word.format(home=home, data=work / "data") for word in CASES[name].words]


def begun(
    words: Sequence[str], home: Path, *, first: str = "", said: str = "said", **more: Any
) -> Apart | Anew:
    """Begin a command in a folder; what it says goes beside that."""
    place, environment = home.parent / said, {"SELFSIGHT_CACHE": str(home / "cache")}
    if more.pop("anew", False):
        return Anew(words, said=place, environment=environment)
    return Apart(
        words, said=place, environment=environment, warning="always", first=first, by=HERE, **more
    )


def prepared(name: str, work: Path, home: Path) -> None:
    """Put into a folder what lies there before a case's command is given."""
    case = CASES[name]
    home.mkdir(parents=True, exist_ok=True)
    (home / "strangers.txt").write_text("not ours to touch")
    if case.before:
        shutil.copytree(whole(case.before, work).home, home, dirs_exist_ok=True)
    if case.form:
        _write_pictures(case.form, home / f"pictures{FORMS[case.form]}")


def whole(name: str, work: Path) -> Whole:
    """Give what a case's command leaves, run when it is first asked for."""
    place = work / "whole" / name.replace(" ", "-")
    place.mkdir(parents=True, exist_ok=True)
    _give_data(work)
    told, home = place / "told.json", place / HOME
    with alone(place.with_suffix(".lock")):
        if not told.exists():
            shutil.rmtree(home, ignore_errors=True)
            prepared(name, work, home)
            first = (
                f"{CASES[name].first}\nimport striking\nstriking.count({str(place / 'counts')!r})"
            )
            began = time.monotonic()
            status = begun(
                typed(name, work, home), home, first=first, anew=name == "two processes"
            ).wait()
            seconds = time.monotonic() - began
            if status != 0:
                raise RuntimeError(f"undisturbed, {name} fails: {(place / 'said').read_text()}")
            counts = place / "counts"
            counted = json.loads(counts.read_text()) if counts.exists() else {}
            sizes = [one.stat().st_size for one in home.rglob("*") if one.is_file()]
            found = Whole(
                home, belongings(home), counted.get("calls", 0), counted.get("files", 0), seconds,
                sum(-(-size // 4096) * 4096 for size in sizes),
            )  # fmt: skip
            told.write_text(json.dumps({**found._asdict(), "home": str(home)}))
    kept = json.loads(told.read_text())
    return Whole(**{**kept, "home": Path(kept["home"])})


STOPPED = """
import os
from selfsight.training.loop import Training
advance = Training._advance
def interrupted(training):
    if training.step == 4:
        os.kill(os.getpid(), 2)
    advance(training)
Training._advance = interrupted
"""


def stopped(work: Path) -> Path:
    """Give the folder of a run of moco-v2 that Ctrl-C stopped on its way."""
    place = work / "whole" / "stopped"
    place.mkdir(parents=True, exist_ok=True)
    _give_data(work)
    with alone(place.with_suffix(".lock")):
        if not (place / "made").exists():
            home = place / HOME
            shutil.rmtree(home, ignore_errors=True)
            prepared("moco-v2", work, home)
            status = begun(typed("moco-v2", work, home), home, first=STOPPED).wait()
            if status != 130 or not (home / "run" / "checkpoint.pt").exists():
                raise RuntimeError(f"no run was stopped: {(place / 'said').read_text()}")
            (place / "made").touch()
    return place / HOME


def _give_data(work: Path) -> None:
    """Write the pictures that all cases share: tiles of a photograph, in two classes."""
    place = work / "data"
    place.mkdir(parents=True, exist_ok=True)
    with alone(work / "data.lock"):
        if not (place / "photograph.png").exists():
            np.savez(place / "tiles.npz", images=_tiles(), labels=np.arange(PICTURES) % 2)
            Image.fromarray(_tiles()[0]).save(place / "photograph.png")


def _tiles() -> np.ndarray:
    """Cut tiles of a photograph (N, H, W, 3), large enough for every task."""
    tiles = photographs("relative-position", PICTURES // 2)  # gives each of them twice over
    images = torch.cat([tiles, tiles.flip(3)]).permute(0, 2, 3, 1).numpy()
    return np.ascontiguousarray(images[:PICTURES])


def _write_pictures(form: str, place: Path) -> None:
    """Write the tiles in a form, files of one name and time wherever they lie."""
    tiles = _tiles()
    if form == "npz":
        np.savez(place, images=tiles, labels=np.arange(PICTURES) % 2)
    elif form == "npy":
        np.save(place, tiles)
    else:
        encoded = [_encoded(tile) for tile in tiles]
        if form == "folder":
            for number, content in enumerate(encoded):
                one = place / "ab"[number % 2] / f"{number:02d}.png"
                one.parent.mkdir(parents=True, exist_ok=True)
                one.write_bytes(content)
        elif form == "parquet":
            table = pyarrow.table({"image": encoded, "label": [n % 2 for n in range(PICTURES)]})
            pyarrow.parquet.write_table(table, place)
        else:
            with tarfile.open(place, "w") as shard:
                for number, content in enumerate(encoded):
                    about = tarfile.TarInfo(f"{number:02d}.png")
                    about.size = len(content)
                    shard.addfile(about, io.BytesIO(content))
    for one in [place, *place.rglob("*")]:
        os.utime(one, (1e9, 1e9))


def _encoded(tile: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(tile).save(file, "PNG")
    return file.getvalue()
