"""Curve: a probe in the middle of a training changes nothing of it."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import selfsight
from selfsight import encoders
from selfsight.data.pictures import open_data, read
from selfsight.data.splitting import split
from selfsight.errors import SelfsightError, Stopped, UsageError
from selfsight.looks.probe_curve import draw_curve
from selfsight.probes.periodic import PeriodicProbe, few
from selfsight.settings import Pretrain
from selfsight.training.loop import Training
from selfsight.training.plan import Plan
from selfsight.training.run import Run

SHORT = {"encoder": "test_resnet", "size": 16, "batch": 8, "samples": 96, "precision": "f32"}


def plan_of(steps: int, factor: float | None) -> Plan:
    nothing = {field.name: None for field in dataclasses.fields(Plan)}
    return Plan(**{**nothing, "steps": steps, "probe_every": factor})


@pytest.mark.parametrize(
    ("steps", "factor", "expected"),
    [
        (10, None, []),
        (10, 2.0, [0, 1, 2, 4, 8, 10]),
        (1, 2.0, [0, 1]),
        (1000, 3.0, [0, 5, 15, 45, 135, 405, 1000]),  # a row every 5 steps
        (1000, 10.0, [0, 5, 50, 500, 1000]),
    ],
)
def test_probes_are_at_growing_steps_the_first_and_the_last(
    steps: int, factor: float | None, expected: list[int]
) -> None:
    assert sorted(plan_of(steps, factor).probe_steps) == expected


@pytest.mark.parametrize("factor", [1.0, 0.5, -2.0, float("nan"), float("inf")])
def test_a_factor_that_does_not_grow_is_refused(factor: float) -> None:
    with pytest.raises(UsageError, match=r"--probe-every must be (at least 1.001|finite), got"):
        Pretrain(data="digits", task=("rotation",), probe_every=factor)


def test_a_few_pictures_follow_the_classes_shares() -> None:
    source = open_data("digits").train
    some = few(source, 100)

    assert some.labels is not None
    counts = some.labels.bincount().tolist()
    assert sum(counts) == 100
    assert max(counts) - min(counts) <= 1


def test_pictures_without_labels_are_refused() -> None:
    with pytest.raises(SelfsightError, match=r"--probe-every needs labels, .* has none; sort"):
        few(open_data("photos").train, 100)


def test_a_probe_touches_nothing() -> None:
    torch.manual_seed(0)
    train, test = (
        read(few(part, 60), side=16, fit="square") for part in split(open_data("digits").train)
    )
    encoder = encoders.build("test_resnet", size=16, channels=1).train()
    before = copy.deepcopy(encoder.state_dict())
    generator = torch.get_rng_state()

    columns = PeriodicProbe(train, test)(encoder)

    assert all(value.equal(before[key]) for key, value in encoder.state_dict().items())
    assert torch.get_rng_state().equal(generator)
    assert all(part.training for part in encoder.modules())
    assert {f"probe.linear.{name}" for name in encoder.layer_names} < columns.keys()
    assert columns["probe.knn"] in [v for k, v in columns.items() if k.startswith("probe.knn.")]
    assert all(0 <= share <= 1 for share in columns.values())


@pytest.mark.slow
def test_a_probed_run_has_the_weights_of_one_that_is_not(tmp_path: Path) -> None:
    plain = selfsight.pretrain("digits", "rotation", out=str(tmp_path / "plain"), **SHORT)
    probed = selfsight.pretrain(
        "digits", "rotation", out=str(tmp_path / "probed"), probe_every=3.0, **SHORT
    )

    one, two = (load_file(run.path / "encoder.safetensors") for run in (plain, probed))
    assert all(one[key].equal(two[key]) for key in one)
    rows = probed.metrics()
    assert [row["step"] for row in rows] == list(range(13))
    assert [row["step"] for row in rows if "probe.linear" in row] == [0, 1, 3, 9, 12]
    assert rows[0].keys().isdisjoint({"loss", "rate"})
    lines = (probed.path / "metrics.csv").read_text().splitlines()
    assert len({line.count(",") for line in lines}) == 1
    assert (probed.path / "pictures/probe-curve.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_probed_run_that_broke_off_goes_on_with_its_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**SHORT, "probe_every": 3.0, "save_every": 0.0}
    whole = selfsight.pretrain("digits", "rotation", out=str(tmp_path / "whole"), **settings)
    advance = Training._advance

    def stopping(training: Training) -> None:
        if training.step == 5:
            raise Stopped("here")
        advance(training)

    with monkeypatch.context() as patched:
        patched.setattr(Training, "_advance", stopping)
        with pytest.raises(Stopped):
            selfsight.pretrain("digits", "rotation", out=str(tmp_path / "cut"), **settings)
    resumed = selfsight.pretrain(resume=str(tmp_path / "cut"))

    def curve(run: Run) -> list[dict[str, float]]:
        return [{k: v for k, v in row.items() if k.startswith("probe")} for row in run.metrics()]

    assert curve(resumed) == curve(whole)


def test_a_curve_is_drawn_from_the_rows_that_have_a_probe(tmp_path: Path) -> None:
    rows = [
        {"step": step, "loss": 1.0}
        | {f"probe.{kind}{layer}": 0.1 for kind in ("linear", "knn") for layer in ("", ".a", ".b")}
        for step in (0, 5, 50)
    ]
    draw_curve([*rows, {"step": 55, "loss": 1.0}], tmp_path / "curve.png", chance=0.1)

    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
