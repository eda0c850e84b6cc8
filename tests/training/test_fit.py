"""Fitting: a run without a training, complete like any other, and what it cannot be asked."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import selfsight
from selfsight.cli import main
from selfsight.errors import UsageError
from selfsight.training import fit
from selfsight.training.plan import Plan
from selfsight.training.run import Run
from selfsight.training.weights import trained_tasks

FEW = ("patch-dictionary.centroids=24",)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fitted(tmp_path_factory.mktemp("runs") / "patches", samples=300)


def fitted(out: Path, **options: Any) -> Run:
    settings: dict[str, Any] = {"size": 16, "set": FEW, "out": str(out), "seed": 5, **options}
    return selfsight.pretrain("digits", "patch-dictionary", **settings)


def test_a_fit_leaves_a_whole_run(run: Run) -> None:
    files = {path.name for path in run.path.iterdir() if path.is_file()}
    (row,) = run.metrics()
    record = run.result("pretrain")

    assert record is not None
    assert files == {
        *("settings.json", "metrics.csv", "checkpoint.pt"),
        *("encoder.safetensors", "encoder.json"),
    }
    assert (record["task"], record["samples"], record["blind"]) == ("patch-dictionary", 300, 1.0)
    assert record["verdict"] == "unknown"
    assert 0 < row["loss"] < 0.8
    assert record["loss"] == pytest.approx(row["loss"], abs=1e-4)


def test_the_plan_says_what_is_done_and_nothing_of_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pretrain", "digits", "--task", "patch-dictionary", "--size", "16"]
    words += ["--set", FEW[0], "--samples", "100", "--out", str(tmp_path / "run")]
    assert main(words) == 0
    said = capsys.readouterr().err

    assert "task      patch-dictionary on 16 px (centroids=24, patches=60)" in said
    assert "encoder   selfsight_patch_dictionary, 0.00 M weights, 96 features" in said
    assert "in closed form, without steps, from 100 of the pictures" in said
    assert "rate" not in said


def test_a_length_in_time_is_left_out_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted(tmp_path / "run", minutes=0.01, limit=50)

    assert "--minutes has no meaning for a fit and is left out" in capsys.readouterr().err


def test_a_finished_fit_has_nothing_to_go_on_with(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()}

    selfsight.pretrain(resume=str(run.path))

    assert "is finished; there is nothing to go on with" in capsys.readouterr().err
    assert before == {p: p.stat().st_mtime_ns for p in run.path.rglob("*") if p.is_file()}


def test_an_interrupted_fit_begins_anew_with_the_same_result(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "settings.json").write_bytes((run.path / "settings.json").read_bytes())

    again = selfsight.pretrain(resume=str(broken))

    first, second = (r.encoder().state_dict() for r in (run, again))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert again.metrics()[0]["loss"] == run.metrics()[0]["loss"]
    assert again.result("pretrain") is not None


def test_a_fit_that_was_not_judged_yet_is_judged(run: Run, tmp_path: Path) -> None:
    twin = fitted(tmp_path / "twin", samples=300)
    (twin.path / "results" / "pretrain.json").unlink()

    selfsight.pretrain(resume=str(twin.path))

    first, second = run.result("pretrain"), twin.result("pretrain")
    assert first is not None
    assert second is not None
    assert first["loss"] == second["loss"]


def test_the_encoder_and_the_task_come_back(run: Run) -> None:
    encoder = selfsight.load(run.path)
    (task,) = trained_tasks(run).values()
    pictures = torch.rand(3, 1, 16, 16)

    with torch.no_grad():
        assert encoder(pictures).shape == (3, 96)
        assert torch.equal(task.get_submodule("encoder")(pictures), encoder(pictures))
    assert Plan.from_json(run.settings["plan"]).optimizer == "closed form"


@pytest.mark.slow
def test_it_is_probed_embedded_and_searched_like_any_other(run: Run, tmp_path: Path) -> None:
    record = selfsight.probe(run, "digits", labels=200, quick=True, out=str(tmp_path))
    assert isinstance(record, dict)
    embedded = tmp_path / "embedded.npz"
    assert main(["embed", str(run.path), "digits", "--out", str(embedded)]) == 0
    sheet = tmp_path / "sheet.png"
    assert main(["neighbours", str(run.path), "digits", "--out", str(sheet), "--count", "2"]) == 0

    assert record["best_layer"] == "quadrants"
    assert record["trained"] > 0.8
    with np.load(embedded) as file:
        assert any(file[key].shape[-1:] == (96,) for key in file.files)
    assert sheet.exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"devices": 2}, "fitted in closed form, in one process and without steps; leave --devic"),
        ({"start": "timm:resnet18"}, "without steps; leave --from out"),
        ({"rate": 0.1, "batch": 8}, "leave --batch, --rate out"),
        ({"probe_every": 2.0}, "leave --probe-every out"),
        ({"encoder": "resnet18"}, "fitted to an encoder of its own; leave --encoder resnet18 out"),
    ],
)
def test_what_has_no_meaning_is_refused(
    options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=sentence):
        fitted(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_fewer_patches_than_centroids_leave_no_run(tmp_path: Path) -> None:
    few = ("patch-dictionary.centroids=101", "patch-dictionary.patches=1")

    with pytest.raises(UsageError, match="set fewer centroids or more patches"):
        fitted(tmp_path / "run", set=few, limit=100)
    assert not (tmp_path / "run").exists()


def test_the_bar_is_not_full_before_centroids_have_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[int] = []

    class Heard(fit.Bar):
        def __call__(self, done: int, text: str = "", *, total: int | None = None) -> None:
            said.append(done)
            super().__call__(done, text, total=total)

    monkeypatch.setattr(fit, "Bar", Heard)
    fitted(tmp_path / "run", limit=60, set=(*FEW, "patch-dictionary.iterations=2"))

    assert said == [1, 2, 3, 3]  # a part, two moves, the end


def test_it_shares_no_encoder_with_other_tasks(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give it alone, got rotation and patch-dictionary"):
        selfsight.pretrain("digits", ("rotation", "patch-dictionary"), out=str(tmp_path / "run"))


@pytest.mark.parametrize("from_run", [True, False])
def test_what_is_fitted_cannot_be_trained(from_run: bool, run: Run, tmp_path: Path) -> None:
    way: dict[str, Any] = {"start": str(run.path)} if from_run else {"encoder": "patch-dictionary"}
    said = "is fitted, and has no weights that rotation could train; give another --encoder"

    with pytest.raises(UsageError, match=said):
        selfsight.pretrain("digits", "rotation", size=16, out=str(tmp_path / "run"), **way)


def test_its_own_encoder_may_be_named(tmp_path: Path) -> None:
    named = fitted(tmp_path / "run", encoder="patch-dictionary", limit=40)

    recipe = json.loads((named.path / "encoder.json").read_text())
    assert recipe["name"] == "selfsight_patch_dictionary"
    assert recipe["arguments"]["centroids"] == 24
