"""Words through the verbs: a text is learned, gone on with, probed, looked at and written down."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import selfsight
from selfsight.cli import main
from selfsight.encoders.word_table import of_words
from selfsight.errors import SelfsightError, UsageError
from selfsight.training.plan import Plan

SHORT: dict[str, Any] = {"epochs": 60, "batch": 4, "width": 12, "rate": 1.0, "threads": 1}
KINDS = ("fruit", "tool", "town")  # each has eight words and its own company


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences about things of three kinds: words of a kind stand in the same places."""
    generator = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("text")
    for part in range(4):
        lines = []
        for _ in range(400):
            kind = KINDS[generator.integers(3)]
            thing, other = (f"{kind}{i}" for i in generator.integers(0, 8, 2))
            around = [f"{kind}ish{i}" for i in generator.integers(0, 4, 3)]
            lines.append(f"{around[0]} {thing} {around[1]} and {around[2]} {other}.")
        (folder / f"{part}.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of things: 10 where they are of one kind, 0 where they are not."""
    generator = np.random.default_rng(1)
    names = [(kind, f"{kind}{i}") for kind in KINDS for i in range(8)]
    lines = []
    for _ in range(120):
        (a, one), (b, two) = (names[i] for i in generator.choice(24, 2, replace=False))
        lines.append(f"{one}\t{two}\t{10 * (a == b)}")
    path = tmp_path_factory.mktemp("questions") / "kinds.tsv"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module", params=["word2vec-cbow", "word2vec-skipgram"])
def run(
    request: pytest.FixtureRequest, text: Path, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    out = tmp_path_factory.mktemp("runs") / request.param
    return selfsight.pretrain(str(text), request.param, out=str(out), save_every=0.0, **SHORT)


def test_words_of_a_kind_come_together(run: Any, rated: Path) -> None:
    record = selfsight.probe(run, test=str(rated))

    assert isinstance(record, dict)
    one = record["tests"]["kinds"]
    assert (one["questions"], one["known"]) == (120, 120)
    assert one["trained"] > 0.6
    assert one["low"] < one["trained"] < one["high"]
    assert abs(one["untrained"]) < 0.3
    assert record["verdict"] == "learning"
    kept = json.loads((run.path / "results" / "words.json").read_text())
    assert kept == json.loads(json.dumps(record))


def test_the_plan_says_what_was_counted(run: Any) -> None:
    plan = Plan.of(run)

    assert plan.sample.to_json() == {"words": 37, "tokens": 4 * 400 * 6, "least_count": 5}
    assert (plan.optimizer, plan.precision, plan.decay) == ("adagrad", "f32", 0.0)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_a_run_that_was_cut_goes_on_to_the_same_bits(run: Any, text: Path, tmp_path: Path) -> None:
    task = Plan.of(run).tasks[0]
    other = selfsight.pretrain(str(text), task, out=str(tmp_path / "cut"), save_every=0.0, **SHORT)
    state = torch.load(other.path / "checkpoint-before.pt", weights_only=True)
    assert 0 < state["step"] < Plan.of(run).steps
    (other.path / "checkpoint-before.pt").replace(other.path / "checkpoint.pt")
    (other.path / "results" / "pretrain.json").unlink()

    again = selfsight.pretrain(resume=str(other.path))

    mine, its = run.encoder().state_dict(), again.encoder().state_dict()
    assert [key for key, value in mine.items() if not torch.equal(value, its[key])] == []


def test_vectors_are_read_back_by_gensim(run: Any, tmp_path: Path) -> None:
    models = pytest.importorskip("gensim.models")
    path = tmp_path / "words.txt"

    record = selfsight.embed(run, out=path)

    vectors = models.KeyedVectors.load_word2vec_format(str(path))
    table = of_words(run.encoder())
    assert (record["count"], record["features"]) == (37, 12)
    assert vectors.index_to_key == table.words
    assert np.allclose(vectors.vectors, table.vectors.numpy(), atol=1e-5)


def test_a_sheet_is_drawn(run: Any) -> None:
    record = selfsight.look(run)

    (told,) = record["pretext"].values()
    assert Path(told["sheet"]).stat().st_size > 5000
    assert told["loss"] < told["blind"]


def test_the_nearest_words_of_a_word_are_told(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", str(run.path), "--word", "Fruit1"]) == 0

    answer = capsys.readouterr().out
    assert answer.startswith("unknown: ")
    assert "Nearest to fruit1: " in answer


def test_a_run_begins_with_another_s_vectors(run: Any, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("fruit1 new fruit2 words " * 200)

    second = selfsight.pretrain(
        str(tmp_path / "text"), "word2vec-cbow", start=str(run.path), out=str(tmp_path / "b"),
        epochs=1, rate=1e-9, batch=1,
    )  # fmt: skip

    mine, its = of_words(run.encoder()), of_words(second.encoder())
    vector = its.vectors[its.number["fruit1"]]
    assert torch.allclose(vector, mine.vectors[mine.number["fruit1"]], atol=1e-6)
    assert its.vectors[its.number["new"]].abs().max() <= 0.5 / 12 + 1e-6


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"size": 32}, "--size is of pictures"),
        ({"encoder": "resnet18"}, "--encoder must be word-table"),
        ({"optimizer": "sgd"}, "--optimizer must be adagrad"),
        ({"storage": "stream"}, "--storage must be auto, memory or map"),
        ({"start": "timm:resnet18"}, "words begin with the vectors of a run of words"),
    ],
)
def test_what_is_of_pictures_is_refused(
    asked: dict[str, Any], said: str, text: Path, tmp_path: Path
) -> None:
    with pytest.raises((UsageError, SelfsightError), match=said):
        selfsight.pretrain(str(text), "word2vec-cbow", out=str(tmp_path / "run"), **asked)


def test_words_are_no_flags_of_pictures(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--least-count is of words"):
        selfsight.pretrain("digits", "rotation", out=str(tmp_path / "run"), least_count=3)


def test_tasks_on_words_and_on_pictures_share_nothing(text: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="learn from"):
        selfsight.pretrain(str(text), ["word2vec-cbow", "rotation"], out=str(tmp_path / "run"))


@pytest.mark.parametrize("verb", ["embed", "neighbours"])
def test_verbs_on_pictures_say_so(run: Any, verb: str, tmp_path: Path) -> None:
    words = [verb, str(run.path), "--out", str(tmp_path / "file.npz")]

    assert main(words if verb == "embed" else [verb, str(run.path)]) == 2


def test_a_word_that_is_not_known_is_refused(run: Any) -> None:
    with pytest.raises(UsageError, match="--word nowhere is none of the 37 words"):
        selfsight.probe(run, word=("nowhere",))


def test_a_list_given_as_data_is_sent_to_test(run: Any, rated: Path) -> None:
    with pytest.raises(UsageError, match="give the list as --test"):
        selfsight.probe(run, str(rated))


def test_settings_are_the_flags_of_words() -> None:
    from selfsight.settings import WordFlags

    assert [field.name for field in dataclasses.fields(WordFlags)] == ["least_count", "width"]
