"""Run: it has one owner, its encoder says which pictures it takes, metrics keep their spelling."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import selfsight
from selfsight import encoders
from selfsight.encoders import Encoder, build
from selfsight.errors import SelfsightError, Stopped
from selfsight.modalities.pictures import of_pictures
from selfsight.system import atomic
from selfsight.training import checkpoint
from selfsight.training.run import Run

SMALL = {"stem": 8, "widths": (8, 8)}


@pytest.fixture
def loaded(tmp_path: Path) -> Encoder:
    run = Run.create(tmp_path / "run")
    run.write_settings({"plan": {}})
    encoders.save(build("small", size=16, arguments=SMALL), run.path)
    return of_pictures(selfsight.load(run.path))


@pytest.mark.parametrize("ask", ["forward", "layers"])
def test_a_loaded_encoder_refuses_whole_numbers_with_the_remedy(loaded: Encoder, ask: str) -> None:
    pictures = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)

    with pytest.raises(TypeError, match=r"floats in \[0, 1\], got torch.uint8; divide .* by 255"):
        getattr(loaded, ask)(pictures)


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 255.0), (-2.1, 2.6), (0.0, 1.01), (-0.01, 1.0), (0.0, float("nan"))]
)
def test_a_loaded_encoder_refuses_other_ranges_and_says_which(
    loaded: Encoder, low: float, high: float
) -> None:
    pictures = torch.full((2, 3, 16, 16), low)
    pictures[0, 0, 0, 0] = high

    told = f"got values from {low:.4g} to {high:.4g}" if high == high else "got values from nan"
    with pytest.raises(ValueError, match=told):
        loaded(pictures)


def test_pictures_in_range_pass_and_so_does_the_rounding_of_a_resize(loaded: Encoder) -> None:
    ends = torch.tensor([0.0, 1.0, -1e-6, 1 + 1e-6]).repeat(2 * 3 * 16 * 4).view(2, 3, 16, 16)

    assert loaded(ends).isfinite().all()


def test_training_on_looks_at_no_range_since_that_makes_a_gpu_wait(loaded: Encoder) -> None:
    assert loaded.train()(2 * torch.rand(2, 3, 16, 16)).isfinite().all()


def test_metrics_that_were_read_back_and_gone_on_with_are_spelt_as_if_never_read(
    tmp_path: Path,
) -> None:
    """Tasks that take turns have columns of their own, a probe's come late, floats have no end."""
    rows: list[dict[str, float]] = [
        {"step": 0, "epoch": 0.0, "seconds": 0.0, "probe.layer3": 0.5},
        {"step": 1, "epoch": 0.1 + 0.2, "seconds": 0.25, "b.loss": 1e-7 / 3, "rate": 1e22},
        {"step": 2, "epoch": 2 / 3, "seconds": 1.0, "a.loss": -0.0, "rate": 3e-5, "samples": 16},
        {"step": 3, "epoch": 1.0, "seconds": 1.5, "b.loss": 2.0, "b.cosine": 0.1, "rate": 5e-324},
        {"step": 4, "epoch": 4 / 3, "seconds": 2.0, "a.loss": 1.0, "rate": 0.0, "probe.x": 1 / 7},
    ]
    run = Run.create(tmp_path / "run")
    run.write_metrics(rows)
    never_read = (run.path / "metrics.csv").read_bytes()

    for cut in range(len(rows) + 1):
        (run.path / "metrics.csv").unlink()
        run.write_metrics(rows[:cut])
        run.write_metrics(run.metrics() + rows[cut:])
        assert (run.path / "metrics.csv").read_bytes() == never_read


def test_a_run_that_fails_before_it_has_kept_anything_leaves_no_directory(tmp_path: Path) -> None:
    def failing(place: Path) -> None:
        with Run.begun(place):
            raise SelfsightError("no picture")

    (tmp_path / "there").mkdir()
    for name in ("new", "there"):
        with pytest.raises(SelfsightError, match="no picture"):
            failing(tmp_path / name)

    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert list((tmp_path / "there").iterdir()) == []


def ended(place: Path, error: type[BaseException], name: str) -> None:
    with Run.begun(place) as run:
        run.write_settings({"plan": {}})
        (run.path / "results").mkdir()
        if name:
            (run.path / name).write_text("kept")
        raise error("asked")


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stopped])
def test_who_is_asked_to_end_before_anything_is_learned_leaves_the_place_as_it_was(
    tmp_path: Path, error: type[BaseException]
) -> None:
    (tmp_path / "there").mkdir()
    for name in ("new", "there"):
        with pytest.raises(KeyboardInterrupt):
            ended(tmp_path / name, error, "")

    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (Stopped, "checkpoint.pt"),
        (KeyboardInterrupt, "metrics.csv"),
        (Stopped, "encoder.safetensors"),
        (SelfsightError, ""),  # its sentence says how to go on
    ],
)
def test_settings_stay_beside_what_was_learned_and_after_a_fault(
    tmp_path: Path, error: type[BaseException], name: str
) -> None:
    with pytest.raises(error, match="asked"):
        ended(tmp_path / "run", error, name)

    assert (tmp_path / "run" / "settings.json").exists()
    assert not name or (tmp_path / "run" / name).read_text() == "kept"


def test_a_run_is_owned_once_and_says_by_whom(tmp_path: Path) -> None:
    with (
        Run.begun(tmp_path / "run") as run,
        pytest.raises(SelfsightError, match=r"run is being written by process \d+ on"),
        Run.begun(run.path),
    ):
        pass
    assert list((tmp_path / "run").iterdir()) == []  # no lock is left


def test_whoever_is_refused_takes_nothing_away_that_the_owner_writes(tmp_path: Path) -> None:
    left = f"checkpoint.pt.{'0' * 16}.part"
    with Run.begun(tmp_path / "run") as run:
        (run.path / "results").mkdir()
        for place in (run.path, run.path / "results"):
            (place / left).write_text("half")
        for second in (Run.begun(run.path), Run(run.path).owned()):
            with pytest.raises(SelfsightError, match="is being written by process"), second:
                pass
        assert (run.path / left).exists()
        assert (run.path / "results" / left).exists()
    with Run(run.path).owned():
        assert not list(run.path.rglob("*.part"))


def test_a_checkpoint_that_is_put_aside_is_not_taken_for_a_dead_processs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, {"step": 1})
    link = os.link

    def linked_and_tidied(last: Path, part: Path) -> None:
        link(last, part)
        atomic.tidy(tmp_path)  # as by a command that writes something else into this folder

    monkeypatch.setattr(os, "link", linked_and_tidied)
    checkpoint.save(tmp_path, {"step": 2})

    assert {path.name for path in tmp_path.iterdir()} == {checkpoint.LAST, checkpoint.BEFORE}


def taken_away(run: Path) -> None:
    shutil.rmtree(run)


def moved(run: Path) -> None:
    run.rename(run.with_name("elsewhere"))


def made_anew(run: Path) -> None:
    shutil.rmtree(run)
    Run.create(run)


@pytest.mark.parametrize("change", [taken_away, moved, made_anew])
def test_nothing_is_written_into_a_directory_that_is_no_longer_the_one_that_was_owned(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    with Run.begun(tmp_path / "run") as run:
        run.write_settings({"plan": {}})
        run.check_ours()
        change(run.path)
        with pytest.raises(SelfsightError, match="run was moved or taken away while"):
            run.check_ours()


def test_a_run_whose_lock_alone_was_removed_goes_on_and_is_still_owned(tmp_path: Path) -> None:
    with Run.begun(tmp_path / "run") as run:
        (run.path / ".lock").unlink()
        run.check_ours()
        with pytest.raises(SelfsightError, match="is being written by process"), run.owned():
            pass
    assert list(run.path.iterdir()) == []


@pytest.mark.parametrize("name", ["results", "pictures"])
def test_a_link_in_place_of_a_folder_of_a_run_is_refused_before_it_is_gone_on_with(
    tmp_path: Path, name: str
) -> None:
    run = Run.create(tmp_path / "run")
    (tmp_path / "theirs").mkdir()
    (run.path / name).symlink_to(tmp_path / "theirs")
    told = (
        rf"run/{name} is a link, and nothing is written through it: selfsight's own "
        r"folders are never links\. Move the folder that it leads to back here, "
        r"or begin a new run .* --out$"
    )

    with pytest.raises(SelfsightError, match=told), run.owned():
        pass
    assert [path.name for path in run.path.iterdir()] == [name]


def test_what_helps_a_run_that_cannot_be_written_is_to_go_on_with_it(tmp_path: Path) -> None:
    with Run.begun(tmp_path / "run") as run:
        run.write_settings({"plan": {}})
        (run.path / "metrics.csv").mkdir()
        with pytest.raises(SelfsightError, match=r"then go on with --resume .*/run$"):
            run.write_metrics([{"step": 1}])


def test_a_link_in_place_of_the_lock_is_refused_by_name_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "theirs")

    with (
        pytest.raises(SelfsightError, match=r"run/\.lock could not be written: it is a link"),
        Run.begun(tmp_path / "run"),
    ):
        pass
    assert (tmp_path / "theirs").read_text() == "theirs"
