"""Probing: baselines are computed once, test parts are found, and several probes give a list."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import selfsight
from selfsight.cli import main
from selfsight.data.pictures import open_data
from selfsight.data.splitting import split
from selfsight.encoders import Recipe
from selfsight.errors import SelfsightError
from selfsight.probes.by_layer import table_of
from selfsight.probes.network import named_network
from selfsight.probes.untrained import untrained_encoder
from selfsight.training.plan import Plan
from selfsight.training.run import Run
from selfsight.training.weights import built

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "digits"
    return selfsight.pretrain("digits", "rotation", samples=64, size=16, out=str(out), seed=5)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "baselines"


def numbers(record: object) -> dict[str, object]:
    assert isinstance(record, dict)
    return {key: value for key, value in record.items() if key != "seconds"}


def test_baselines_are_kept_and_give_the_same_record(run: Run, cache: Path) -> None:
    first = selfsight.probe(run, "digits", labels=100)
    kept = sorted(cache.iterdir())
    times = [path.stat().st_mtime_ns for path in kept]
    second = selfsight.probe(run, "digits", labels=100)

    assert len(kept) == 10  # eight initialisations, the pixels and the patch dictionary
    assert [path.stat().st_mtime_ns for path in kept] == times
    assert numbers(first) == numbers(second)


def test_few_pictures_without_a_test_part_are_all_tested_in_folds(run: Run) -> None:
    record = selfsight.probe(run, "digits", labels=100, quick=True)

    assert isinstance(record, dict)
    assert (record["test"], record["folds"], record["labels"]) == (1797, 5, 100)
    assert "1,797 test pictures in 5 folds" in str(table_of(record).title)


def test_what_labels_have_taught_is_tested_on_the_fifth_they_left_out(tmp_path: Path) -> None:
    taught = selfsight.pretrain(
        "digits", "supervised", samples=64, size=16, out=str(tmp_path / "taught")
    )
    onward = selfsight.pretrain(
        "digits",
        "rotation",
        samples=64,
        size=16,
        start=str(taught.path),
        out=str(tmp_path / "onward"),
    )

    for run in (taught, onward):
        record = selfsight.probe(run, "digits", labels=50, quick=True)
        assert isinstance(record, dict)
        assert (record["test"], record["folds"]) == (len(split(open_data("digits").train)[1]), None)
    (taught.path / "settings.json").unlink()
    assert named_network(str(onward.path)).knows_labels  # what cannot be asked may have known them


def test_copies_are_tested_by_what_was_not_fitted_on_them(tmp_path: Path, run: Run) -> None:
    # Noise has nothing to learn, but for copies of the same noise with the same label.
    noise = np.random.default_rng(0)
    images = noise.integers(0, 256, (40, 16, 16), dtype=np.uint8)
    labels = noise.integers(0, 2, 40)
    np.savez(tmp_path / "twice.npz", images=np.tile(images, (4, 1, 1)), labels=np.tile(labels, 4))

    out = str(tmp_path / "results")
    record = selfsight.probe(run, str(tmp_path / "twice.npz"), quick=True, probe="knn", out=out)

    assert isinstance(record, dict)
    assert record["test"] == 160
    assert record["trained"] < 0.8  # 1 if copies were fitted on


def test_the_patch_dictionary_is_the_same_for_every_network(run: Run, tmp_path: Path) -> None:
    other = selfsight.pretrain("digits", "rotation", samples=64, size=16, out=str(tmp_path / "run"))

    first = selfsight.probe(run, "digits", labels=50, quick=True)
    second = selfsight.probe(other, "digits", labels=50, quick=True)
    alike = selfsight.probe(other, "digits", labels=50, quick=True, probe="knn")

    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert isinstance(alike, dict)
    assert first["patch_dictionary"] == second["patch_dictionary"] > 0.5
    assert alike["patch_dictionary"] > 0.3
    assert len([*(tmp_path / "cache" / "dictionaries").glob("*.safetensors")]) == 1


def test_damaged_baselines_are_computed_anew(run: Run, cache: Path) -> None:
    first = selfsight.probe(run, "digits", labels=50, quick=True)
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:100])

    assert numbers(selfsight.probe(run, "digits", labels=50, quick=True)) == numbers(first)


def test_the_untrained_network_is_the_one_the_run_began_with(run: Run) -> None:
    plan = Plan.from_json(run.settings["plan"])
    began = built(plan)[0].get_submodule("encoder")
    pictures = torch.zeros(4, 1, 16, 16)
    fresh = untrained_encoder(Recipe.from_json(plan.encoder), plan.seed, pictures)

    assert all(a.equal(b) for a, b in zip(began.parameters(), fresh.parameters(), strict=True))


def test_several_probes_give_a_list_and_a_file_each(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["probe", str(run.path), "digits", "--probe", "linear", "--probe", "knn"]
    assert main([*words, "--labels", "60", "--quick", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)

    assert [record["probe"] for record in records] == ["linear", "knn"]
    assert run.result("linear") == records[0]
    assert run.result("knn") == records[1]


def test_the_table_names_every_layer_and_the_baselines(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", str(run.path), "--labels", "60", "--quick"]) == 0
    shown = capsys.readouterr().out

    assert all(name in shown for name in ("stem", "stages.2", "own best layer"))
    assert all(name in shown for name in ("pixels", "patch dictionary", "A dictionary of patches"))


def test_pretrained_weights_without_a_network_get_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(SelfsightError, match="could not be fetched"):
        selfsight.probe("timm:resnet18", "digits", out=str(tmp_path / "results"))
