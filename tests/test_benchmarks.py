import argparse
import importlib
import json
import math
import os
import signal
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from selfsight.data.pictures import Pictures
from selfsight.system.signals import Interruption
from selfsight.tasks.table import TASKS


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))

    def loaded(name: str) -> ModuleType:
        return importlib.import_module(name)

    return loaded


class Dot(nn.Module):
    """One number a pixel and output channel: 2 x 3 FLOP each."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 4, 1, bias=False)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.mix(pictures).mean((2, 3))


class Colours(nn.Module):
    """A picture's mean colour as its features."""

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.mean((2, 3))


def test_work_of_a_picture_is_that_of_its_passes(load: Any):
    forward = 2 * 3 * 4 * 32 * 32
    cifar10 = load("cifar10")
    # Forward, and the weights' gradient; there is none of the pictures.
    assert cifar10.operations(Dot(), "simclr") == 2 * (2 * forward)
    assert cifar10.operations(Dot(), "moco-v2") == 2 * forward + forward
    assert cifar10.operations(Dot(), "moco-v2", symmetric=True) == 2 * (2 * forward + forward)


def pictures_of(count: int, seed: int) -> Pictures:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 1, 1), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 3, (count,), generator=generator)
    extent, names = torch.full((count, 2), 32), tuple(map(str, range(count)))
    classes = ("a", "b", "c")
    return Pictures(images.expand(-1, -1, 32, 32), extent, labels, classes, names, (), "n", "n")


def test_neighbours_answer_as_a_plain_loop_does(load: Any):
    cifar10 = load("cifar10")
    bank, test = pictures_of(230, 0), pictures_of(60, 1)
    right = 0
    colours = [p.tensor[:, :, 0, 0].double() / 255 for p in (bank, test)]
    for i, query in enumerate(colours[1]):
        cosines = [float(query @ c / query.norm() / c.norm()) for c in colours[0]]
        nearest = sorted(range(len(cosines)), key=lambda j: -cosines[j])[:200]
        votes = [0.0, 0.0, 0.0]
        for j in nearest:
            votes[int(bank.labels[j])] += math.exp(cosines[j] / 0.1)  # type: ignore[index]
        right += votes.index(max(votes)) == int(test.labels[i])  # type: ignore[index]
    found = cifar10.accuracy_of_neighbours(Colours(), bank, test, "cpu")
    assert found == pytest.approx(right / 60, abs=1e-6)
    assert 0.2 < found < 0.6


def wait_for(heard: Any) -> None:
    until = time.monotonic() + 20
    while not heard() and time.monotonic() < until:
        time.sleep(0.01)
    assert heard()


def test_a_slice_asks_a_training_to_stop(load: Any):
    cifar10 = load("cifar10")
    before = signal.getsignal(signal.SIGTERM)
    with cifar10.Slice(0.01), Interruption() as interruption:
        wait_for(lambda: interruption.asked)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_slice_asks_again_where_nobody_could_heed(load: Any, monkeypatch: pytest.MonkeyPatch):
    cifar10 = load("cifar10")
    monkeypatch.setattr(cifar10, "AGAIN", 0.01)
    with cifar10.Slice(60):
        os.kill(os.getpid(), signal.SIGTERM)  # before the training
        with Interruption() as interruption:
            wait_for(lambda: interruption.asked)
    wait_for(lambda: not any(isinstance(t, threading.Timer) for t in threading.enumerate()))


def test_a_slice_without_end_sets_no_clock(load: Any):
    cifar10 = load("cifar10")
    before = signal.getsignal(signal.SIGTERM), threading.active_count()
    with cifar10.Slice(None):
        assert (signal.getsignal(signal.SIGTERM), threading.active_count()) == before


def test_epochs_are_compared_only_of_the_same_work(load: Any):
    cifar10 = load("cifar10")
    ours = {"method": "moco-v2", "encoder": "e", "batch": 512, "symmetric": False}
    ours["seconds_an_epoch"] = 2.0
    theirs = {**ours, "seconds_an_epoch": 31.0}
    assert cifar10.beside(ours, theirs).startswith("moco-v2: 15.5 x lightly")
    assert "twice the passes" not in cifar10.beside(ours, theirs)
    assert "twice the passes" in cifar10.beside(ours, {**theirs, "symmetric": True})
    assert cifar10.beside(ours, {**theirs, "batch": 256}).startswith("no ratio: batch")


def test_a_rate_counts_the_steps_after_the_warm_ones(load: Any):
    peers, said = load("peers"), []
    now = time.perf_counter()
    pictures = peers.rate(
        lambda: said.append("step"), lambda: said.append("wait"), peers.Length(1, 0.0, 3, 2)
    )
    assert said == ["step", "step", "wait", "step", "step", "step", "wait"]
    assert pictures > 3 * peers.BATCH / (time.perf_counter() - now)


def record(method: str, seed: int, trained: float, **more: Any) -> dict[str, Any]:
    probe = {
        "labels": 100, "test": 50, "draws": 3, "chance": 0.1, "best_layer": "stem",
        "trained": trained, "untrained": 0.5, "gain": trained - 0.5,
        "gain_low": trained - 0.51, "gain_high": trained - 0.48, "pixels": 0.4,
        "layers": {"stem": {"trained": trained, "untrained": 0.5}}, "verdict": "learning",
        "machine": {"processor": "P", "cores": 2}, **more,
    }  # fmt: skip
    pretext = {"samples": 1000 * (seed + 1), "plan": {"threads": 2}}
    return {"method": method, "seed": seed, "minutes": 2.0, "pretext": pretext,
            "linear": probe, "knn": probe}  # fmt: skip


def test_table_means_over_seeds_and_stands_beside_rotation(load: Any):
    methods = load("methods")
    table = methods.tables(
        [
            record("simclr", 0, 0.60, patch_dictionary=0.65),
            record("simclr", 1, 0.64, patch_dictionary=0.65),
            record("rotation", 0, 0.57, patch_dictionary=0.65),
        ]
    )
    (line,) = (line for line in table.splitlines() if line.startswith("| simclr | 2"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[2:6] == ["2", "1,500", "50.0 (50.0 to 50.0)", "62.0 (60.0 to 64.0)"]
    assert cells[7] == "+12.0 (+10.0 to +14.0), +9.0 to +16.0"
    assert cells[8:11] == ["+22.0", "-3.0", "+5.0"]
    assert "pixels 40.0, the patch dictionary 65.0, rotation 57.0" in table
    assert "stem 50.0 to 62.0" in table


def test_lengths_of_training_have_tables_of_their_own(load: Any):
    methods = load("methods")
    longer = {**record("simclr", 0, 0.7), "minutes": 5.0}
    table = methods.tables([record("rotation", 0, 0.6), longer])
    assert table.index("## 2 minutes") < table.index("| rotation") < table.index("## 5 minutes")
    assert "+10.0" not in table.partition("## 5 minutes")[2]  # of the other length's rotation


def test_every_method_is_tried_and_lightly_beside_them(load: Any):
    methods = load("methods")
    trials = methods.trials(2.0, None)
    assert {t.method for t in trials} == {*TASKS, "lightly-simclr"}
    assert [t.name for t in methods.trials(0.5, ["simclr"])] == [
        "simclr-0.5min-0", "simclr-0.5min-1", "simclr-0.5min-2"
    ]  # fmt: skip


def test_what_is_done_is_not_done_again(load: Any, tmp_path: Path):
    methods = load("methods")
    trial = methods.Trial("rotation", 2.0, 0)
    kept = record("rotation", 0, 0.6)
    (tmp_path / f"{trial.name}.json").write_text(json.dumps(kept))
    asked = argparse.Namespace(
        records=tmp_path, out=tmp_path / "none", data="nowhere", limit=None, labels=10_000,
        quick=True,
    )  # fmt: skip
    assert methods.done(trial, asked) == kept


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"limit": 50}, "--limit 50 but it has None"),
        ({"labels": 100}, "--labels 100 but it has 10000"),
        ({"quick": False}, "--quick False but it has True"),
    ],
)
@pytest.mark.parametrize("tells", [True, False])
def test_a_record_of_another_measurement_is_refused(
    tells: bool, other: dict[str, Any], said: str, load: Any, tmp_path: Path
):
    methods = load("methods")
    trial = methods.Trial("rotation", 2.0, 0)
    told = {"asked": methods.ASKED} if tells else {}
    kept = {**record("rotation", 0, 0.6), **told}
    (tmp_path / f"{trial.name}.json").write_text(json.dumps(kept))
    asked = argparse.Namespace(records=tmp_path, out=tmp_path, **{**methods.ASKED, **other})
    with pytest.raises(SystemExit, match=f"{said}; ask for the same, or give another --records"):
        methods.done(trial, asked)


def test_a_kept_run_of_another_limit_is_refused(load: Any, tmp_path: Path):
    methods = load("methods")
    trial = methods.Trial("rotation", 2.0, 0)
    (tmp_path / trial.name).mkdir()
    (tmp_path / trial.name / "settings.json").write_text(json.dumps({"plan": {"limit": 50}}))
    asked = argparse.Namespace(records=tmp_path / "none", out=tmp_path, **methods.ASKED)
    with pytest.raises(SystemExit, match=r"--limit None but it has 50; .* another --out"):
        methods.done(trial, asked)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"encoder": "resnet18"}, "--encoder resnet18 but it has small"),
        ({"epochs": 9}, "--epochs 9 but it has 2"),
        ({"batch": 8}, "--batch 8 but it has 40"),
        ({"limit": None}, "--limit None but it has 40"),
        ({"seed": 1}, "--seed 1 but it has 0"),
        ({}, None),
    ],
)
def test_a_long_training_of_another_kind_is_not_gone_on_with(
    other: dict[str, Any], said: str | None, load: Any, tmp_path: Path
):
    cifar10 = load("cifar10")
    plan = {"encoder": {"name": "selfsight_small"}, "steps": 2, "samples": 40, "batch": 40}
    plan |= {"limit": 40, "seed": 0}
    (tmp_path / "settings.json").write_text(json.dumps({"plan": plan}))
    asked = {"encoder": "small", "epochs": 2, "batch": 512, "limit": 40, "seed": 0, **other}
    if said is None:
        assert cifar10.others_than_asked(argparse.Namespace(**asked), plan) == []
        return
    with pytest.raises(SystemExit, match=f"{said}; ask for what it has, or give another --out"):
        cifar10.trained(argparse.Namespace(**asked), tmp_path)
