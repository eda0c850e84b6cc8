"""The seam: a modality that the house knows nothing of trains, resumes and is probed."""

from pathlib import Path

import numpy as np
import pytest
import torch

import selfsight
from selfsight.encoders import base
from selfsight.errors import UsageError
from selfsight.modalities import table as modalities
from selfsight.settings import Pretrain
from selfsight.tasks import table as tasks
from selfsight.tasks.table import Lesson, Row
from selfsight.training.plan import Plan

SHORT = {"samples": 6000, "batch": 50, "rate": 0.05, "save_every": 0.0}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put one row into each of three tables: all that a new modality is named in."""
    row = Row(
        "signals:Direction",
        modality="signals",
        way="trained",
        blind=True,
        sheet="",
        lesson=Lesson(1),
        instead="direction",
    )
    monkeypatch.setitem(tasks.TASKS, "direction", row)
    monkeypatch.setitem(modalities.MODALITIES, "signals", "signals:OfSignals")
    monkeypatch.setitem(base.KINDS, "signals", "signals:LineRecipe")
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Saw teeth that rise slowly and fall at once, of low or of high pitch, in noise."""
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 2
    phase = generator.random((400, 1)) + np.linspace(0, 3, 64) * (1 + labels[:, None])
    signals = (phase % 1 + 0.05 * generator.standard_normal((400, 64))).astype(np.float32)
    path = tmp_path / "signals.npz"
    np.savez(path, signals=signals, labels=labels)
    return str(path)


def test_it_trains_resumes_and_is_probed(data: str, tmp_path: Path) -> None:
    run = selfsight.pretrain(data, "direction", out=str(tmp_path / "run"), **SHORT)

    rows = run.metrics()
    assert rows[-1]["direction.accuracy"] > 0.9  # a guess is right in half the cases
    plan = Plan.of(run)
    assert (plan.sample.to_json(), plan.modality.unit) == ({"length": 64}, "signals")
    assert run.settings["plan"]["length"] == 64
    weights = run.encoder().state_dict()
    record = selfsight.probe(run, data, probe="knn", quick=True)
    assert isinstance(record, dict)
    assert list(record["layers"]) == ["line"]
    assert record["trained"] > 0.9
    assert record["pixels"] is None

    other = selfsight.pretrain(data, "direction", out=str(tmp_path / "cut"), **SHORT)
    state = torch.load(other.path / "checkpoint-before.pt", weights_only=True)
    assert 0 < state["step"] < plan.steps
    (other.path / "checkpoint-before.pt").replace(other.path / "checkpoint.pt")
    (other.path / "results" / "pretrain.json").unlink()
    again = selfsight.pretrain(resume=str(other.path))
    assert all(
        torch.equal(weights[key], value) for key, value in again.encoder().state_dict().items()
    )


def test_it_is_started_from(data: str, tmp_path: Path) -> None:
    first = selfsight.pretrain(data, "direction", out=str(tmp_path / "a"), **SHORT)
    second = selfsight.pretrain(
        data, "direction", start=str(first.path), out=str(tmp_path / "b"), samples=50, batch=50
    )

    assert Plan.of(second).start == str(first.path)


def test_flags_of_another_modality_are_refused() -> None:
    with pytest.raises(UsageError, match="--size is of pictures, and direction learns from sig"):
        Pretrain(data="x", task=("direction",), size=32)


def test_tasks_of_two_modalities_share_no_encoder(data: str) -> None:
    with pytest.raises(UsageError, match="learn from the same; rotation from pictures and direc"):
        selfsight.pretrain(data, ("direction", "rotation"))


def test_what_is_of_pictures_is_refused_for_others(data: str, tmp_path: Path) -> None:
    run = selfsight.pretrain(data, "direction", out=str(tmp_path / "run"), samples=50, batch=50)

    with pytest.raises(UsageError, match="pictures"):
        selfsight.neighbours(run, data)
