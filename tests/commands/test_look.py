"""Looking: what the sheets and the record say, which pictures are asked about, what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import selfsight
from selfsight.cli import main
from selfsight.commands.look import held_out
from selfsight.data.batches import chosen_rows
from selfsight.data.pictures import open_data, read
from selfsight.modalities.pictures import of_picture_plan
from selfsight.probes.network import named_network
from selfsight.training.plan import Plan
from selfsight.training.run import Run

pytestmark = pytest.mark.slow

SHORT: dict[str, Any] = {"samples": 32, "size": 32, "precision": "f32", "batch": 16}


def pictures(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    noise = np.random.default_rng(len(folder.name))
    for number in range(count):
        pixels = noise.normal((200, 90, 60), 40, (32, 40, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of ten pictures each, and a run on them by rotation and from their labels."""
    home = tmp_path_factory.mktemp("looking")
    pictures(home / "photos" / "red", 10)
    pictures(home / "photos" / "orange", 10)
    torch.set_num_threads(1)
    data = str(home / "photos")
    selfsight.pretrain(data, ["rotation", "supervised"], mix="sum", out=str(home / "run"), **SHORT)
    return home


def test_each_task_of_a_run_has_a_sheet_and_its_figures(home: Path, tmp_path: Path) -> None:
    run = Run.open(home / "run")
    record = selfsight.look(run, at=["pretext", "filters"], count=3)
    sheets = home / "run" / "pictures"

    assert record["files"] == [
        str(sheets / f"{name}.png")
        for name in ("filters", "pretext-rotation", "pretext-supervised")
    ]
    for file in record["files"]:
        with Image.open(file) as sheet:
            assert min(sheet.size) > 100
    rotation = record["pretext"]["rotation"]
    assert rotation["chance"] == 0.25
    assert rotation["blind"] == 1.3863
    assert 0 <= rotation["accuracy"] <= 1
    assert rotation["pictures"] == 4  # a fifth of 20
    assert "a blind guess gets 25 %" in rotation["words"]
    assert run.result("look") == json.loads(json.dumps(record))


def test_labels_leave_the_test_fifth_out_of_the_training(home: Path, tmp_path: Path) -> None:
    record = selfsight.look(home / "run", out=str(tmp_path))

    assert record["trained_on"] is False
    assert record["part"] == "the part of the run's data that a probe is tested on"
    assert "On 4 held-out pictures" in record["pretext"]["supervised"]["words"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "look.json",
        "pretext-rotation.png",
        "pretext-supervised.png",
    ]


def test_other_data_is_held_out_and_measured_whole(home: Path, tmp_path: Path) -> None:
    for name in ("red", "orange"):
        pictures(tmp_path / "data" / name, 4)
    record = selfsight.look(home / "run", str(tmp_path / "data"), out=str(tmp_path / "out"))

    assert record["part"] == "all of DATA"
    assert record["trained_on"] is False
    assert record["pretext"]["rotation"]["pictures"] == 8
    with pytest.raises(selfsight.SelfsightError, match=r"learned from labels needs .*red has none"):
        selfsight.look(home / "run", str(home / "photos" / "red"))


def test_the_test_part_is_taken_where_there_is_one(home: Path, tmp_path: Path) -> None:
    for part, count in (("train", 2), ("test", 3)):
        for name in ("red", "orange"):
            pictures(tmp_path / "data" / part / name, count)
    record = selfsight.look(home / "run", str(tmp_path / "data"), out=str(tmp_path / "out"))

    assert record["part"] == "the test part"
    assert record["pretext"]["supervised"]["pictures"] == 6


def test_classes_that_were_not_taught_are_refused(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path / "red", 2)
    pictures(tmp_path / "green", 2)

    assert main(["look", str(home / "run"), str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "was not taught: green" in capsys.readouterr().err


def test_pictures_that_were_trained_on_are_called_so(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "run"
    selfsight.pretrain(str(home / "photos"), "rotation", out=str(place), **SHORT)
    capsys.readouterr()

    assert main(["look", str(place), "--count", "2", "--json"]) == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert "these pictures were trained on; for unseen ones give other DATA" in err
    assert record["trained_on"] is True
    assert "4 pictures that training had seen" in record["pretext"]["rotation"]["words"]


def short_run(data: Path, out: Path, **options: Any) -> Run:
    return selfsight.pretrain(str(data), "rotation", out=str(out), **SHORT, **options)


def test_pictures_that_a_limit_left_out_are_held_out(home: Path, tmp_path: Path) -> None:
    data = tmp_path / "photos"
    pictures(data, 20)
    source = open_data(str(data)).train
    (data / source.title(int(chosen_rows(20, 16)[0]))).write_bytes(b"broken")  # so samples are 15
    run = short_run(data, tmp_path / "run", limit=16)
    of = Plan.from_json(run.settings["plan"])
    held = held_out(None, of, named_network(str(run.path)), count=100, seed=0)
    trained_on = read(source, side=of_picture_plan(of.sample).canvas, limit=16)

    assert held.trained_on is False
    assert held.part == "the pictures of the run's data that --limit left out"
    assert len(held.pictures) == 4
    assert not set(held.pictures.titles) & set(trained_on.titles)
    assert (of.samples, of.fingerprint) == (15, trained_on.fingerprint)


def test_a_limit_that_leaves_nothing_out_is_none(home: Path, tmp_path: Path) -> None:
    run = short_run(home / "photos", tmp_path / "run", limit=20)

    assert selfsight.look(run)["trained_on"] is True


def test_of_some_of_the_tiles_it_cannot_be_said_what_was_trained_on(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = short_run(home / "photos", tmp_path / "some", tile=16, limit=40)
    every = short_run(home / "photos", tmp_path / "every", tile=16, limit=120)  # 2 x 3 of each

    assert selfsight.look(every)["trained_on"] is True
    capsys.readouterr()
    assert selfsight.look(some)["trained_on"] is None
    assert "these pictures may have been trained on" in capsys.readouterr().err


def test_the_same_seed_measures_the_same(home: Path, tmp_path: Path) -> None:
    first, again, other = (
        selfsight.look(home / "run", seed=seed, out=str(tmp_path))["pretext"]["rotation"]["loss"]
        for seed in (0, 0, 1)
    )

    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["RUN", "--at", "filter"], 2, "unknown look 'filter'; did you mean filters?"),
        (["RUN", "--count", "0"], 2, "--count must be at least 1"),
        (["RUN", "nowhere"], 1, "no file or folder 'nowhere'"),
        (["nowhere"], 1, "nowhere does not exist"),
        (["timm:test_resnet.r160_in1k"], 2, "has no pretext task to look at"),
    ],
)
def test_what_cannot_be_done_gets_a_sentence(
    home: Path, words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    here = [str(home / "run") if word == "RUN" else word for word in words]

    assert main(["look", *here]) == status
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


def test_a_run_without_a_checkpoint_has_no_head_to_ask(home: Path, tmp_path: Path) -> None:
    torn = tmp_path / "run"
    torn.mkdir()
    for name in ("settings.json", "encoder.json", "encoder.safetensors"):
        (torn / name).write_bytes((home / "run" / name).read_bytes())

    with pytest.raises(selfsight.SelfsightError, match="holds no checkpoint"):
        selfsight.look(torn)
    assert selfsight.look(torn, at="filters")["files"] == [str(torn / "pictures" / "filters.png")]
