"""Tracking: what trackers were told can be read back, and none of them stops a run."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import selfsight
from selfsight.errors import SelfsightError, UsageError
from selfsight.settings import TRACKERS, Pretrain
from selfsight.training.run import Run
from selfsight.training.tracking import KINDS, Trackers, check_installed, flattened

SETTINGS = {"rate": 0.1, "encoder": {"name": "small", "layers": ("a", "b")}, "clip": None}
ROWS = [{"step": 5, "loss": 1.5, "probe.knn.stages.0": 0.25}, {"step": 10, "loss": 0.5}]
RECORD = {"steps": 10, "loss": 0.5, "verdict": "unknown"}
SHORT = {"encoder": "test_resnet", "size": 16, "batch": 8, "samples": 24, "precision": "f32"}


def told(name: str, run: Path, step: int, rows: list[dict[str, float]], end: Any) -> None:
    trackers = Trackers({name: KINDS[name](run)})
    trackers.begin(SETTINGS, step)
    for row in rows:
        trackers.row(row)
    trackers.end(end)
    assert trackers.working == ((name,))


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


@pytest.mark.parametrize("name", TRACKERS)
def test_a_trackers_folder_that_is_a_link_is_refused_by_name(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(name)
    run, theirs = tmp_path / "run", tmp_path / "theirs"
    run.mkdir()
    theirs.mkdir()
    (run / name).symlink_to(theirs)

    trackers = Trackers.of((name,), run)
    trackers.begin(SETTINGS, 0)

    assert trackers.working == ()
    assert f"{run / name} is a link, and nothing is written" in capsys.readouterr().err
    assert list(theirs.iterdir()) == []


@pytest.mark.slow
def test_tensorboard_reads_the_rows_back(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    told("tensorboard", tmp_path, 0, ROWS, RECORD)

    assert scalars(tmp_path / "tensorboard") == {
        "loss": [(5, 1.5), (10, 0.5)],
        "probe.knn.stages.0": [(5, 0.25)],
    }


@pytest.mark.slow
def test_tensorboard_forgets_what_a_resume_tells_again(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    told("tensorboard", tmp_path, 0, ROWS, None)
    told("tensorboard", tmp_path, 5, [{"step": 10, "loss": 0.75}], RECORD)

    assert scalars(tmp_path / "tensorboard")["loss"] == [(5, 1.5), (10, 0.75)]


@pytest.mark.slow
def test_tensorboard_knows_the_settings_as_hyper_parameters(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    told("tensorboard", tmp_path, 0, ROWS, RECORD)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    plugin: Any = plugin_data_pb2  # its classes are made when it is loaded
    known = plugin.HParamsPluginData.FromString(content).session_start_info.hparams

    assert known["rate"].number_value == 0.1
    assert known["encoder.name"].string_value == "small"


@pytest.mark.slow
def test_mlflow_goes_on_with_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    told("mlflow", tmp_path, 0, ROWS[:1], None)
    told("mlflow", tmp_path, 5, ROWS[1:], RECORD)

    client = MlflowClient(tracking_uri=(tmp_path / "mlflow").as_uri())
    run = client.get_run(json.loads((tmp_path / "tracks.json").read_text())["mlflow"])
    assert run.info.status == "FINISHED"
    assert run.data.params["encoder.name"] == "small"
    assert run.data.tags["verdict"] == "unknown"
    losses = client.get_metric_history(run.info.run_id, "loss")
    assert [(entry.step, entry.value) for entry in losses] == [(5, 1.5), (10, 0.5)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # wandb's own, of its dependencies
def test_wandb_stays_offline_and_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    told("wandb", tmp_path, 0, ROWS[:1], None)
    told("wandb", tmp_path, 5, ROWS[1:], RECORD)

    name = json.loads((tmp_path / "tracks.json").read_text())["wandb"]
    assert len(list((tmp_path / "wandb").glob(f"offline-run-*-{name}/run-{name}.wandb"))) >= 1


class Failing:
    """A tracker whose server goes away at the second row."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def begin(self, settings: Mapping[str, Any], step: int) -> None:
        self.calls.append("begin")

    def row(self, row: Mapping[str, float]) -> None:
        self.calls.append(f"row {row['step']}")
        if row["step"] == 10:
            raise ConnectionError("the server is gone")

    def end(self, record: Mapping[str, Any] | None) -> None:
        self.calls.append("end")


def test_a_tracker_that_fails_is_said_once_and_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing = Failing()
    trackers = Trackers({"wandb": failing})
    trackers.begin(SETTINGS, 0)
    for row in [*ROWS, {"step": 15, "loss": 0.25}]:
        trackers.row(row)
    trackers.end(RECORD)

    assert failing.calls == ["begin", "row 5", "row 10"]
    said = capsys.readouterr().err
    assert said == "--track wandb failed and is left out from here on: the server is gone\n"


def test_a_missing_package_is_said_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(
        SelfsightError, match=r'needs its package: pip install "selfsight\[track\]"'
    ):
        check_installed(("mlflow",))


def test_an_unknown_tracker_is_refused_with_a_close_one() -> None:
    with pytest.raises(UsageError, match="unknown tracker 'tensorbord'; did you mean tensorboard"):
        Pretrain(data="digits", task=("rotation",), track=("tensorbord",))


def test_settings_are_laid_out_flat() -> None:
    flat = {"rate": 0.1, "encoder.name": "small", "encoder.layers": "('a', 'b')", "clip": "None"}
    assert flattened(SETTINGS) == flat


def test_every_tracker_can_be_asked_for() -> None:
    assert tuple(KINDS) == TRACKERS


@pytest.mark.slow
def test_a_run_tells_its_rows_as_they_stand_in_its_metrics(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = selfsight.pretrain(
        "digits", "rotation", out=str(tmp_path / "run"), track=("tensorboard",), **SHORT
    )
    resumed = selfsight.pretrain(resume=str(run.path))

    rows = Run(resumed.path).metrics()
    expected = [(row["step"], pytest.approx(row["loss"])) for row in rows]
    assert scalars(run.path / "tensorboard")["loss"] == expected
