"""Owners: two at once, a full disk, a place that cannot be written: nothing is lost or mixed up."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from apart import Apart
from selfsight.cli import main
from selfsight.system import atomic

pytestmark = pytest.mark.slow  # whole trainings, and processes of their own

SHORT = ["--task", "rotation", "--batch", "8", "--size", "16", "--precision", "f32"]
SHORT += ["--encoder", "test_resnet", "--threads", "1"]
LONGEST = 120.0  # seconds that anything here is waited for


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled pictures in `photos`, and runs on them, of `rotation` and of `colorization`."""
    home = tmp_path_factory.mktemp("owners")
    noise = np.random.default_rng(0)
    for number in range(24):
        place = home / "photos" / "ab"[number % 2] / f"{number:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = noise.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place)
    for task in ("rotation", "colorization"):
        words = ["pretrain", str(home / "photos"), *SHORT, "--samples", "16"]
        words[words.index("rotation")] = task
        assert main([*words, "--out", str(home / task)]) == 0
    return home


def apart(words: Sequence[str], said: Path, **options: object) -> tuple[int, str]:
    """Run a command in a process of its own: -> exit status, and all it said."""
    status = Apart(words, said=said, **options).wait()  # pyright: ignore[reportArgumentType]
    told = said.read_text()
    assert "Traceback" not in told
    return status, told


def appears(path: Path, words: str = "") -> None:
    """Wait until a file is there and holds some words."""
    since = time.monotonic()
    while not (path.exists() and words in path.read_text(errors="replace")):
        assert time.monotonic() - since < LONGEST, f"{path} never held {words!r}"
        time.sleep(0.01)


def test_a_run_that_is_being_trained_has_one_owner_until_that_is_killed(
    home: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["pretrain", str(home / "photos"), *SHORT, "--save-every", "0", "--out", str(run)]
    first = Apart([*words, "--samples", "8000000"])
    try:
        appears(run / "checkpoint.pt")
        owner = (run / ".lock").read_text()
        for second in ([*words, "--samples", "16"], ["pretrain", "--resume", str(run)]):
            status, told = apart(second, tmp_path / "said")
            assert status == 1
            assert f"selfsight: {run} is being written by {owner}; wait until" in told
        assert not first.ended
        probed = ["probe", str(run), str(home / "photos"), "--quick", "--probe", "knn"]
        assert apart(probed, tmp_path / "said")[0] == 0  # whoever only reads needs no lock
    finally:
        first.kill()
    assert (run / ".lock").read_text() == owner
    left = run / f"checkpoint.pt.{'0' * 16}.part"
    left.write_text("half")

    again = Apart(["pretrain", "--resume", str(run)], said=tmp_path / "said")
    try:
        appears(run / ".lock", f"process {again.number} ")
        assert not left.exists()
    finally:
        again.kill()
    status, told = apart([*words, "--samples", "16"], tmp_path / "said")
    assert status == 1
    assert f"{run} holds another run; continue it with --resume" in told


def test_two_trainings_into_one_place_at_once_leave_one_whole_run(
    home: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["pretrain", str(home / "photos"), *SHORT, "--samples", "64", "--out", str(run)]
    both = [Apart([*words, "--seed", str(k)], said=tmp_path / f"said{k}") for k in range(2)]

    statuses = [process.wait() for process in both]

    assert sorted(statuses) == [0, 1]
    won = statuses.index(0)
    assert json.loads((run / "settings.json").read_text())["plan"]["seed"] == won
    told = (tmp_path / f"said{1 - won}").read_text()
    assert f"{run} is being written by process" in told or "holds another run" in told
    assert main(["pretrain", "--resume", str(run)]) == 0
    names = {path.name for path in run.iterdir()}
    assert not any(name.endswith(".part") or name == ".lock" for name in names)


def test_two_embeddings_into_one_file_at_once_leave_one_whole_file(
    home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "features.parquet"
    words = ["embed", str(home / "rotation"), "--out", str(out)]
    both = [Apart(words, said=tmp_path / f"said{k}") for k in range(2)]

    statuses = [process.wait() for process in both]  # one after the other where one was slow

    for number, status in enumerate(statuses):
        assert (
            status == 0
            or f"{out} is being written by process" in (tmp_path / f"said{number}").read_text()
        )
    assert 0 in statuses
    assert pq.read_table(out).num_rows == 24
    assert list(out.parent.iterdir()) == [out]


def test_an_embedding_or_a_demo_that_another_process_writes_is_refused_by_naming_it(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = tmp_path / "features.npz", atomic.folder(tmp_path / "demo")
    embed = ["embed", str(home / "rotation"), "--out", str(file)]
    demo = ["demo", "--out", str(folder)]
    for words, place, lock in (
        (embed, file, tmp_path / ".features.npz.lock"),
        (demo, folder, folder / ".lock"),
    ):
        with atomic.owned(place, lock):
            assert main(words) == 1
            assert f"{place} is being written by process" in capsys.readouterr().err
    assert list(folder.iterdir()) == []
    assert not file.exists()


def test_two_probes_of_one_run_at_once_leave_a_whole_record(home: Path, tmp_path: Path) -> None:
    words = ["probe", str(home / "rotation"), "--quick", "--probe", "knn", "--out", str(tmp_path)]
    both = [Apart(words, said=tmp_path / f"said{k}") for k in range(2)]

    assert [process.wait() for process in both] == [0, 0]
    assert json.loads((tmp_path / "knn.json").read_text())["probe"] == "knn"
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("words", "room", "said"),
    [
        # Bytes a file may have; a trial takes 4096. What is not written is told, and nothing left.
        (["pretrain", "DATA", *SHORT, "--samples", "16", "--out", "OUT/run"], 1000, "OUT/run "),
        (
            ["pretrain", "DATA", *SHORT, "--samples", "16", "--out", "OUT/run"],
            4096,
            "OUT/run/encoder.safetensors ",
        ),
        (
            ["pretrain", "DATA", *SHORT, "--samples", "16", "--storage", "map", "--out", "OUT/run"],
            8000,
            "maps cannot keep the memory map of",
        ),
        (["look", "RUN", "--out", "OUT"], 5000, "OUT/pretext-rotation.png "),
        (["neighbours", "RUN", "--out", "OUT/a.png"], 5000, "OUT/a.png "),
        (["apply", "PAINTER", "DATA", "--out", "OUT"], 4096, "-sheet.png "),
        (["embed", "RUN", "--out", "OUT/a.parquet"], 4096, "OUT/a.parquet "),
        (["embed", "RUN", "--out", "OUT/a.npz"], 4096, "OUT/a.npz "),
        (["demo", "--out", "OUT"], 1000, "OUT "),
    ],
)
def test_a_full_disk_ends_every_verb_in_a_sentence_and_leaves_nothing_half(
    home: Path, tmp_path: Path, cache: Path, words: list[str], room: int, said: str
) -> None:
    out = tmp_path / "out"
    places = {"DATA": home / "photos", "RUN": home / "rotation", "PAINTER": home / "colorization"}
    places["OUT"] = out
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]

    status, told = apart(words, tmp_path / "said", largest_file=room)

    assert status == 1
    assert said.replace("OUT", str(out)) in told
    assert "File too large" in told
    assert "Allow larger files (ulimit -f), " in told
    left = [*out.rglob("*"), *cache.rglob("*")]
    assert not [path for path in left if path.suffix in (".part", ".lock") and path.parent == out]
    assert not [path for path in left if path.suffix == ".part"]


def test_a_record_that_no_longer_fits_leaves_the_one_before(home: Path, tmp_path: Path) -> None:
    words = ["probe", str(home / "rotation"), "--quick", "--probe", "knn", "--out", str(tmp_path)]
    assert apart(words, tmp_path / "said")[0] == 0
    before = (tmp_path / "knn.json").read_bytes()
    padded = "x" * 5000  # a record of more than a trial takes
    longer = (
        f"import selfsight.system.machine as m; m.described = lambda device: {{'gpu': {padded!r}}}"
    )

    status, told = apart(words, tmp_path / "said", largest_file=5000, first=longer)

    assert status == 1
    assert "knn.json could not be written: File too large; what was saved there before" in told
    assert (tmp_path / "knn.json").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def test_a_cache_that_cannot_be_written_costs_no_work(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "file" / "cache"))

    words = ["probe", str(home / "rotation"), "--quick", "--probe", "knn", "--out", str(tmp_path)]
    assert main(words) == 0

    told = capsys.readouterr().err
    for what in ("the answers of untrained networks and pixels", "patch dictionaries"):
        assert told.count(f"{what} are not kept for the next time: ") == 1
    assert "name another folder with SELFSIGHT_CACHE" in told


def test_a_curve_that_cannot_be_drawn_leaves_the_run_and_its_record(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, theirs = tmp_path / "run", tmp_path / "theirs"
    theirs.mkdir()
    words = ["pretrain", str(home / "photos"), *SHORT, "--samples", "32", "--probe-every", "2"]
    linked = (
        "from pathlib import Path; from selfsight.training.loop import Training; go = Training.go\n"
        "def linking(self):\n"
        f"    (self.run.path / 'pictures').symlink_to({str(theirs)!r})\n"
        "    go(self)\n"
        "Training.go = linking\n"
    )

    status, told = apart([*words, "--out", str(run)], tmp_path / "said", first=linked)

    assert status == 0
    assert f"no curve is drawn: {run}/pictures is a link" in told
    assert json.loads((run / "results" / "pretrain.json").read_text())["task"] == "rotation"
    assert list(theirs.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["pretrain", "DATA", *SHORT, "--samples", "16", "--out", "FILE/run"],
        ["probe", "RUN", "--out", "FILE/results"],
        ["look", "RUN", "--out", "FILE/pictures"],
        ["neighbours", "RUN", "--out", "FILE/sheets/a.png"],
        ["apply", "PAINTER", "DATA", "--out", "FILE/painted"],
        ["embed", "RUN", "--out", "FILE/a.npz"],
        ["demo", "--out", "FILE/demo"],
    ],
)
def test_a_place_that_cannot_be_written_is_noticed_before_the_work(
    home: Path, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    places = {"DATA": home / "photos", "RUN": home / "rotation", "PAINTER": home / "colorization"}
    places["FILE"] = tmp_path / "file"
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]

    assert main(words) == 1

    told = capsys.readouterr().err.splitlines()
    assert [line.startswith("selfsight: ") for line in told] == [True]  # nothing was done before
    assert f"{tmp_path / 'file'} is in the way" in told[0]
    assert told[0].endswith("or name another place with --out")


@pytest.mark.parametrize("verb", ["probe", "look", "neighbours"])
@pytest.mark.parametrize("name", ["results", "pictures"])
def test_links_in_a_run_lead_nobody_to_a_strangers_files(
    home: Path, tmp_path: Path, verb: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if (verb, name) == ("probe", "pictures"):
        return  # it draws nothing
    run, theirs = tmp_path / "run", tmp_path / "theirs"
    run.mkdir()
    for file in (home / "rotation").iterdir():
        if file.is_file():
            (run / file.name).write_bytes(file.read_bytes())
    theirs.mkdir()
    (run / name).symlink_to(theirs)

    assert main([verb, str(run), str(home / "photos")]) == 1

    assert f"{run / name} is a link, and nothing is written" in capsys.readouterr().err
    assert list(theirs.iterdir()) == []
