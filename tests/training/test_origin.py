"""Origin: a run finds its data from any folder, moved or not, and takes no other for it."""

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import selfsight
from selfsight.data.imprint import imprint_of
from selfsight.data.pictures import Streamed, open_data, read
from selfsight.errors import SelfsightError, UsageError
from selfsight.probes.network import named_network
from selfsight.settings import Pretrain
from selfsight.system.paths import found_at, place_of
from selfsight.training.run import Run

SHORT: dict[str, Any] = {"samples": 16, "batch": 8, "size": 16}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of one's own, with pictures of two classes in it."""
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    photographs(Path("photographs"), seed=0)
    return tmp_path / "here"


def photographs(folder: Path, seed: int) -> Path:
    noise = np.random.default_rng(seed)
    for i in range(16):
        place = folder / "ab"[i % 2] / f"{i:02d}.bmp"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (16, 16, 3), np.uint8)).save(place)
    return folder


def trained(data: str = "photographs", **options: Any) -> Run:
    return selfsight.pretrain(data, task="rotation", out="run", **{**SHORT, **options})


def begun(**options: Any) -> Path:
    """Give a run that has not come to its end."""
    run = trained(**options)
    kept = run.settings
    kept["plan"]["steps"] += 1
    run.write_settings(kept)
    return run.path


def test_data_has_a_place_that_is_the_same_from_any_folder(here: Path) -> None:
    assert place_of("photographs") == str(here / "photographs")
    assert place_of("./photographs/../photographs/") == str(here / "photographs")
    assert place_of("shards/{00..12}.tar") == str(here / "shards/{00..12}.tar")
    assert place_of("photo:a.jpg") == f"photo:{here / 'a.jpg'}"
    assert place_of("digits") == "digits"
    (here / "digits").mkdir()
    assert place_of("digits") == str(here / "digits")  # as data is opened


def test_data_is_found_as_asked_at_its_place_or_where_it_was_moved_with_the_run(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_of("photographs")

    assert found_at("photographs", None) == "photographs"  # of a run that does not say more
    assert found_at("photographs", place) == "photographs"
    monkeypatch.chdir(here.parent)
    assert found_at("photographs", place) == place
    here.rename(here.parent / "moved")
    assert found_at("photographs", place) == place  # where it is missed
    monkeypatch.chdir(here.parent / "moved")
    assert found_at("photographs", place) == "photographs"


def test_a_run_is_probed_embedded_and_resumed_from_another_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun()
    monkeypatch.chdir(here.parent)

    run = selfsight.pretrain(resume="here/run")
    embedded = selfsight.embed("here/run", out="features.npz")
    record = selfsight.probe("here/run", probe="knn", quick=True)

    assert run.settings["plan"]["data"] == "photographs"
    assert embedded["count"] == 16
    assert isinstance(record, dict)
    assert record["settings"]["data"] == str(here / "photographs")
    assert record["seen_in_pretraining"] == 16
    assert selfsight.look("here/run")["trained_on"] is True
    assert selfsight.neighbours("here/run")["searched"] == 16


@pytest.mark.parametrize("storage", ["memory", "map", "stream"])
def test_data_that_was_moved_is_named_once(here: Path, storage: str) -> None:
    path = begun(storage=storage)
    shutil.copytree(here / "photographs", here / "elsewhere")  # with times of its own
    shutil.rmtree(here / "photographs")

    with pytest.raises(
        SelfsightError, match=r"trained on photographs, .*lay at .*say where with --data"
    ):
        selfsight.pretrain(resume=str(path))
    with pytest.raises(SelfsightError, match=r"trained on photographs, .* name it as DATA"):
        selfsight.embed(path, out="features.npz")
    selfsight.pretrain(resume=str(path), place="elsewhere")

    assert selfsight.embed(path, out="features.npz")["count"] == 16


@pytest.mark.parametrize("storage", ["memory", "map", "stream"])
def test_other_pictures_of_the_same_names_are_refused(here: Path, storage: str) -> None:
    path = begun(storage=storage)
    photographs(Path("photographs"), seed=1)  # of the same names and lengths

    for ask in (selfsight.probe, selfsight.look, selfsight.neighbours):
        with pytest.raises(SelfsightError, match=r"are not those that .* as DATA"):
            ask(path)
    with pytest.raises(SelfsightError, match=r"are not those that .*run was trained on"):
        selfsight.embed(path, out="features.npz")
    assert selfsight.embed(path, "photographs", out="features.npz")["count"] == 16
    shutil.rmtree(path / "results")  # a finished run needs no pictures any more
    with pytest.raises(
        SelfsightError, match=r"photographs holds other pictures than when .*run began"
    ):
        selfsight.pretrain(resume=str(path))


def test_a_name_stays_a_name_beside_a_folder_called_like_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained("digits", limit=32)
    assert run.settings["plan"]["data_place"] == "digits"
    (here.parent / "there").mkdir()
    monkeypatch.chdir(here.parent / "there")
    photographs(Path("digits"), seed=0)

    embedded = selfsight.embed(here / run.path, out="features.npz", limit=8)

    assert embedded["data"] == "digits"


def test_a_run_made_before_places_were_kept_is_asked_as_ever(here: Path) -> None:
    path = begun(storage="stream")
    kept = json.loads((path / "settings.json").read_text())
    source = open_data("photographs").train
    streamed = read(source, side=kept["plan"]["canvas"], storage="stream").images
    assert isinstance(streamed, Streamed)
    kept["plan"]["fingerprint"] = streamed.former_fingerprint
    for key in ("data_place", "imprint", "start_place"):
        del kept["plan"][key]
    Run(path).write_settings(kept)

    assert selfsight.embed(path, out="features.npz")["count"] == 16
    selfsight.pretrain(resume=str(path))
    assert Run(path).settings["plan"]["data_place"] == str(here / "photographs")


def test_what_a_run_began_from_is_asked_from_any_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    selfsight.pretrain("photographs", task="supervised", out="labels", **SHORT)
    run = trained(start="labels")
    place = here / run.path
    for path in ("checkpoint.pt", "checkpoint-before.pt", "results/pretrain.json"):
        (place / path).unlink()  # as if it was killed before its first one
    kept = run.settings
    kept["plan"]["steps"] += 1
    run.write_settings(kept)
    monkeypatch.chdir(here.parent)

    assert named_network(str(place)).knows_labels
    (here / "labels").rename(here / "unlabelled")
    assert named_network(str(place)).knows_labels  # what cannot be asked may have
    (here / "unlabelled").rename(here / "labels")
    assert (selfsight.pretrain(resume=str(place)).path / "checkpoint.pt").exists()


def test_a_place_goes_with_a_resume() -> None:
    with pytest.raises(UsageError, match=r"--data x goes with --resume"):
        Pretrain(data="photographs", task=("rotation",), place="x")
    with pytest.raises(UsageError, match=r"leave DATA out"):
        Pretrain(data="photographs", resume="run", place="x")


def test_an_imprint_tells_names_and_contents_and_no_places(here: Path) -> None:
    def taken(place: str) -> str:
        return imprint_of(open_data(place).train)

    shutil.copytree("photographs", "copy")
    photographs(Path("others"), seed=1)
    shutil.copytree("photographs", "renamed")
    (here / "renamed/a/00.bmp").rename(here / "renamed/a/01.bmp")

    assert taken("photographs") == taken("copy")
    assert len({taken(place) for place in ("photographs", "others", "renamed")}) == 3


def test_lists_and_shards_have_an_imprint_wherever_they_lie(here: Path) -> None:
    for folder in ("one", "two"):
        (here / folder).mkdir()
        shutil.copytree("photographs", here / folder / "photographs")
        (here / folder / "x.txt").write_text("photographs/a/00.bmp\nphotographs/b/01.bmp\n")
        for k in range(2):
            with tarfile.open(here / folder / f"{k}.tar", "w") as tar:
                tar.add(f"photographs/{'ab'[k]}/{k:02d}.bmp", "0.bmp")
        np.save(here / folder / "x.npy", np.zeros((3, 8, 8), np.uint8))

    for name in ("x.txt", "{0,1}.tar", "x.npy", "photographs"):
        one, two = (imprint_of(open_data(f"{folder}/{name}").train) for folder in ("one", "two"))
        assert one == two
