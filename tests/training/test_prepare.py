"""Preparing: every task meets every kind of encoder, and learns or is refused in a sentence."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import selfsight
from making import PICTURE_TASKS
from selfsight.augment.views import centre_view
from selfsight.data.pictures import open_data
from selfsight.data.pictures.storing import read
from selfsight.distributed.processes import Processes
from selfsight.errors import UsageError
from selfsight.modalities.pictures import of_picture_plan
from selfsight.tasks.cards import settings_of
from selfsight.tasks.table import TASKS
from selfsight.training import prepare
from selfsight.training.loop import Training
from selfsight.training.plan import Plan
from selfsight.training.prepare import features_of
from selfsight.training.run import Run

BRIEF: dict[str, Any] = {"samples": 16, "batch": 8, "size": 32, "device": "cpu"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve coloured pictures of two classes."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = torch.Generator().manual_seed(0)
    for number in range(12):
        coarse = torch.rand(1, 3, 6, 6, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, (40, 40), mode="bicubic").clamp(0, 1)
        place = folder / f"class{number % 2}" / f"{number}.png"
        place.parent.mkdir(exist_ok=True)
        pixels = (255 * smooth[0]).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(place)
    return folder


def begun(pictures: Path, tmp_path: Path, tasks: tuple[str, ...], encoder: str, **more: Any) -> Run:
    options = {**BRIEF, "encoder": encoder, "out": str(tmp_path / "run"), **more}
    return selfsight.pretrain(str(pictures), tasks, **options)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["test_vit", "test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("task", [n for n in PICTURE_TASKS if TASKS[n].way == "trained"])
def test_a_task_learns_with_an_encoder_or_refuses_it(
    task: str, encoder: str, pictures: Path, tmp_path: Path
) -> None:
    refused = ""
    try:
        begun(pictures, tmp_path, (task,), encoder, precision="f32")
    except UsageError as error:
        refused = str(error)

    if (tmp_path / "run").exists():
        assert Run(tmp_path / "run").result("pretrain") is not None
    else:
        assert f"{task} on 32 px cannot be learned by encoder {encoder}" in refused
        assert task in ("jigsaw", "relative-position", "pirl")  # their tiles are small


def test_layers_that_no_step_trains_are_named_in_the_plan(pictures: Path, tmp_path: Path) -> None:
    tasks = ("colorization", "rotation")
    run = begun(pictures, tmp_path, tasks, "test_efficientnet", samples=32, optimizer="sgd")
    mixed = run.settings["plan"]
    alone = begun(pictures, tmp_path / "b", tasks[:1], "test_efficientnet").settings["plan"]

    assert mixed["resting"]
    assert mixed["notes"] == []  # rotation reads the pooled features, by its turn
    assert alone["resting"]
    assert any("no step trains" in note and "conv_head" in note for note in alone["notes"])


def test_a_mix_that_broke_off_goes_on_to_the_same_bits(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turns, momentum of heads at rest and separate statistics are all in the checkpoint."""
    tasks = ("jigsaw", "colorization", "inpainting")
    settings = ("mix.weights=2,1,1", "mix.statistics=separate")
    options: dict[str, Any] = {"samples": 80, "precision": "f32", "set": settings}
    whole = begun(pictures, tmp_path / "whole", tasks, "small", save_every=0.0, **options)
    advance = Training._advance

    def breaking(training: Training) -> None:
        if training.step == 5:
            raise OSError("the power went")
        advance(training)

    with monkeypatch.context() as patched:
        patched.setattr(Training, "_advance", breaking)
        with pytest.raises(OSError, match="the power went"):
            begun(pictures, tmp_path / "cut", tasks, "small", save_every=0.0, **options)
    cut = selfsight.pretrain(resume=str(tmp_path / "cut" / "run"))

    first, second = whole.load_checkpoint(), cut.load_checkpoint()
    assert first is not None
    assert second is not None
    assert {".".join(key.split(".")[:2]) for key in first["task"]} == {
        f"tasks.{name}" for name in tasks
    }
    assert all(torch.equal(value, second["task"][key]) for key, value in first["task"].items())


@pytest.mark.parametrize("count", [1, 3])
def test_all_pictures_are_encoded_in_their_order_whoever_encodes_them(
    count: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(pictures, tmp_path, ("rotation",), "small", precision="f32")
    of = Plan.from_json(run.settings["plan"])
    read_ = read(open_data(str(pictures)).train, side=of_picture_plan(of.sample).canvas)
    monkeypatch.setattr(prepare, "ENCODED_AT_ONCE", 5)
    encoder = run.encoder()

    shares = [features_of(read_, of, Processes(rank, count))(encoder) for rank in range(count)]

    views = centre_view(
        read_.images[torch.arange(12)], read_.extent, of_picture_plan(of.sample).size
    )
    with torch.no_grad():
        expected = encoder(views)
    if count == 1:
        torch.testing.assert_close(shares[0], expected)
    else:  # alone nothing is gathered: each gives its own share, as many of each
        assert [len(share) for share in shares] == [4, 4, 4]
        torch.testing.assert_close(torch.cat(shares), expected)
    assert encoder.training is False


def test_small_pictures_are_refused_by_the_task_that_asks_most(
    pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="relative-position needs --size 24 or more, got 16"):
        begun(pictures, tmp_path, ("rotation", "relative-position"), "small", size=16)


def test_a_batch_is_no_larger_than_the_exemplars(pictures: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"set": ("exemplar.exemplars=5",), "precision": "f32"}
    said = "--batch must be at most the 5 pictures that are learned from, got 8"
    with pytest.raises(UsageError, match=said):
        begun(pictures, tmp_path, ("exemplar",), "small", **options)
    assert not (tmp_path / "run").exists()

    run = begun(pictures, tmp_path, ("exemplar",), "small", **{**options, "batch": None})

    of = run.settings["plan"]
    assert (of["batch"], of["learned"]) == (5, 5)
    assert "the batch of 12 is lowered to the 5 pictures that are learned from" in of["notes"]


@pytest.mark.parametrize("task", PICTURE_TASKS)
def test_a_run_keeps_all_settings_so_that_other_defaults_change_nothing(
    task: str, pictures: Path, tmp_path: Path
) -> None:
    fitted = TASKS[task].way == "fitted"
    if fitted:
        run = selfsight.pretrain(str(pictures), task, out=str(tmp_path / "run"), size=32)
    else:
        run = begun(pictures, tmp_path, (task,), "small")

    kept = run.settings["plan"]["task_settings"][task]
    assert set(settings_of(task)) <= set(kept)
    assert [key for key, value in kept.items() if value is None] == []


def test_a_mix_keeps_all_settings_too(pictures: Path, tmp_path: Path) -> None:
    run = begun(pictures, tmp_path, ("rotation", "jigsaw"), "small")

    kept = run.settings["plan"]["task_settings"]
    assert list(kept) == ["rotation", "jigsaw", "mix"]
    assert kept["rotation"] == settings_of("rotation")
    assert kept["mix"] == {"weights": None, "harmonised": False, "statistics": "separate"}


def test_a_run_of_before_that_kept_few_settings_is_gone_on_with(
    pictures: Path, tmp_path: Path
) -> None:
    whole, few = (begun(pictures, tmp_path / name, ("simclr",), "small") for name in ("one", "two"))
    settings = few.settings
    settings["plan"]["task_settings"] = {"simclr": {"negatives": 14, "strength": 0.5}}
    few.write_settings(settings)
    (few.path / "checkpoint.pt").unlink()
    (few.path / "checkpoint-before.pt").unlink(missing_ok=True)
    shutil.rmtree(few.path / "results")

    selfsight.pretrain(resume=str(few.path))

    first, second = (run.load_checkpoint() for run in (whole, Run(few.path)))
    assert first is not None
    assert second is not None
    assert all(value.equal(second["task"][name]) for name, value in first["task"].items())


def test_the_plan_tells_what_was_chosen_or_derived_and_not_what_is_usual(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(pictures, tmp_path, ("simclr",), "small", set=("simclr.temperature=0.3",))

    said = " ".join(capsys.readouterr().err.split())
    assert "simclr on 32 px (temperature=0.3, negatives=14, strength=0.5)" in said
