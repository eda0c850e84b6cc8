"""The command line: what it answers to bad questions and bad input, and that nothing is lost."""

import json
import math
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from apart import Apart
from selfsight.cli import main
from selfsight.tasks.table import TASKS

pytestmark = pytest.mark.slow  # whole trainings, in processes of their own


SHORT = ["--task", "rotation", "--samples", "16", "--batch", "8", "--size", "16"]
SHORT += ["--precision", "f32", "--encoder", "test_resnet"]


def photographs(folder: Path, count: int = 12, side: int = 24, suffix: str = "jpg") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0)
    for number in range(count):
        pixels = noise.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.{suffix}")
    return folder


def classes(folder: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        photographs(folder / name, count)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `photos` and a finished run `run` on it."""
    home = tmp_path_factory.mktemp("made")
    photographs(home / "photos")
    assert main(["pretrain", str(home / "photos"), *SHORT, "--out", str(home / "run")]) == 0
    return home


def refused(words: list[str], status: int, capsys: pytest.CaptureFixture[str], *said: str) -> None:
    assert main(words) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    for text in said:
        assert text in err


def empty(folder: Path) -> str:
    folder.mkdir()
    return str(folder)


def missing(folder: Path) -> str:
    return str(folder)


def text_named_jpg(folder: Path) -> str:
    folder.mkdir()
    (folder / "a.jpg").write_text("not a picture")
    return str(folder)


def truncated_jpeg(folder: Path) -> str:
    photographs(folder, 1, side=64)
    whole = (folder / "000.jpg").read_bytes()
    (folder / "000.jpg").write_bytes(whole[: len(whole) // 3])
    return str(folder)


def tiny_pictures(folder: Path) -> str:
    return str(photographs(folder, 4, side=7, suffix="png"))


def bomb(folder: Path) -> str:
    """A PNG whose header promises 30,000 x 30,000 pixels."""
    folder.mkdir()

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    content = zlib.compress(b"\0" * 1000)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return str(folder)


def parquet_without_images(folder: Path) -> str:
    folder.mkdir()
    pq.write_table(pa.table({"label": [1, 2, 3]}), folder / "table.parquet")
    return str(folder / "table.parquet")


def file_instead_of_folder(folder: Path) -> str:
    folder.write_text("hello")
    return str(folder)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (empty, "no picture"),
        (missing, "there is no file or folder"),
        (text_named_jpg, "a.jpg"),
        (truncated_jpeg, "000.jpg"),
        (tiny_pictures, "under 8 pixels"),
        (bomb, "bomb.png"),
        (parquet_without_images, "image"),
        (file_instead_of_folder, "data"),
    ],
)
def test_bad_data_gets_a_sentence_and_exit_1(
    make: Callable[[Path], str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    refused(["pretrain", make(tmp_path / "data"), *SHORT, "--out", str(out)], 1, capsys, said)
    assert not out.exists()


def test_an_out_that_holds_another_run_is_left_alone(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (made / "run/checkpoint.pt").read_bytes()
    words = ["pretrain", str(made / "photos"), *SHORT, "--out", str(made / "run")]
    refused(words, 1, capsys, "holds another run", "--resume")
    assert (made / "run/checkpoint.pt").read_bytes() == before


def test_an_out_with_other_files_is_left_alone(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    words = ["pretrain", str(made / "photos"), *SHORT, "--out", str(tmp_path)]
    refused(words, 1, capsys, "not empty")


def test_an_out_that_is_a_file_gets_a_sentence(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    words = ["pretrain", str(made / "photos"), *SHORT, "--out", str(tmp_path / "file")]
    refused(words, 1, capsys, "--out")


def test_a_directory_that_is_no_run_gets_a_sentence(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(["probe", str(made / "photos"), str(made / "photos")], 1, capsys, "is not a run")
    refused(["pretrain", "--resume", str(made / "photos")], 1, capsys, "is not a run")
    refused(["probe", str(made / "nowhere"), "digits"], 1, capsys, "does not exist")


def test_a_full_disk_keeps_the_last_checkpoint(made: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["pretrain", str(made / "photos"), *SHORT, "--save-every", "0", "--out", str(run)]
    limit = 100_000  # bytes a file; a checkpoint needs more, the settings do not

    def on_a_full_disk(words: list[str]) -> None:
        status = Apart(words, said=tmp_path / "said", largest_file=limit).wait()
        said = (tmp_path / "said").read_text()
        assert status == 1, said
        assert "could not be written" in said
        assert "Traceback" not in said
        assert not list(run.glob("*.part"))

    on_a_full_disk(words)
    assert not (run / "checkpoint.pt").exists()
    assert main(["pretrain", "--resume", str(run)]) == 0  # with room again
    before = (run / "checkpoint.pt").read_bytes()

    settings = json.loads((run / "settings.json").read_text())
    settings["plan"]["steps"] += 2  # more to do, and the disk is full again
    (run / "settings.json").write_text(json.dumps(settings))
    on_a_full_disk(["pretrain", "--resume", str(run)])
    assert (run / "checkpoint.pt").read_bytes() == before


def test_a_loss_that_is_no_number_stops_the_run(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pretrain", str(made / "photos"), *SHORT, "--rate", "1e30", "--samples", "400"]
    words.remove("16")
    words.remove("--samples")
    words += ["--out", str(tmp_path / "run")]
    refused(words, 1, capsys, "stopped being a number", "--rate")
    assert not (tmp_path / "run/checkpoint.pt").exists()


def test_a_checkpoint_cut_in_half_gets_a_sentence(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["pretrain", str(made / "photos"), *SHORT, "--out", str(run)]) == 0
    capsys.readouterr()
    whole = (run / "checkpoint.pt").read_bytes()
    (run / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    refused(["pretrain", "--resume", str(run)], 1, capsys, "damaged", "--from")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pretrain", "x", "--task", "rotatoin"], "rotation"),
        (["pretrain", "x", "--task", "rotation", "--epochs", "-3"], "at least 1"),
        (["pretrain", "x", "--task", "rotation", "--minutes", "0"], "above 0"),
        (["pretrain", "x", "--task", "rotation", "--size", "4"], "at least 8"),
        (["pretrain", "x", "--task", "rotation", "--epochs", "1", "--minutes", "1"], "one length"),
        (["pretrain", "x"], "--task"),
        (["pretrain", "--task", "rotation"], "DATA"),
        (["pretrian", "x"], "pretrain"),
        (["pretrain", "x", "--task", "rotation", "--epcohs", "3"], "--epochs"),
        (["pretrain", "x", "--task", "rotation", "--epochs", "many"], "many"),
        (["pretrain", "digits", "--task", "rotation", "--set", "rotation.scale=1"], "least_scale"),
        (["pretrain", "digits", "--task", "rotation", "--set", "rotation.least_scale=no"], "float"),
        (
            ["pretrain", "digits", "--task", "rotation", "--set", "least_scale"],
            "TASK.SETTING=VALUE",
        ),
        (["pretrain", "--resume", "x", "--epochs", "3"], "--resume"),
        (["probe", "x", "y", "--probe", "lienar"], "linear"),
        (["probe", "x", "y", "--labels", "0"], "at least 2"),
        (["tasks", "rotatoin"], "rotation"),
        (["encoders", "resnet19"], "resnet18"),
    ],
)
def test_a_wrong_question_gets_exit_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(words, 2, capsys, said)


def test_an_unknown_encoder_is_asked_wrongly(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pretrain", str(made / "photos"), "--task", "rotation", "--encoder", "resnet19"]
    refused([*words, "--out", str(tmp_path / "run")], 2, capsys, "resnet18")
    assert not (tmp_path / "run").exists()


def test_a_batch_larger_than_the_data_is_lowered_and_said(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pretrain", str(made / "photos"), *SHORT, "--out", str(tmp_path / "run")]
    words[words.index("--batch") + 1] = "500"
    assert main(words) == 0
    assert "500 is lowered to the 12 pictures" in capsys.readouterr().err


def test_mixed_sizes_and_a_broken_picture_are_carried_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = photographs(tmp_path / "data", 12)
    Image.new("L", (90, 31), 128).save(folder / "wide.png")
    (folder / "broken.jpg").write_text("no picture")
    assert main(["pretrain", str(folder), *SHORT, "--out", str(tmp_path / "run")]) == 0
    assert "skipped 1 of 14 pictures" in capsys.readouterr().err
    skipped = json.loads((tmp_path / "run/settings.json").read_text())["skipped"]
    assert [picture["title"] for picture in skipped] == ["broken.jpg"]


def test_a_class_with_one_picture_is_carried_on(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))
    folder = classes(tmp_path / "data", {"cats": 10, "dogs": 10, "emu": 1})
    out = str(tmp_path / "results")
    words = ["probe", str(made / "run"), str(folder), "--quick", "--out", out, "--json"]
    assert main(words) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["by_class"]["emu"] is None


def test_labels_are_asked_for_where_the_task_needs_them(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pretrain", str(made / "photos"), *SHORT, "--out", str(tmp_path / "run")]
    words[words.index("rotation")] = "supervised"
    refused(words, 1, capsys, "supervised needs labels", "has none", "another --task")


def test_unlabelled_pictures_give_the_verdict_unknown(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", str(made / "run"), str(made / "photos"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["verdict"] == "unknown"
    assert "label fifty pictures" in record["reasons"][-1]


def test_json_is_alone_on_standard_output(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--json"]) == 0
    names = [task["name"] for task in json.loads(capsys.readouterr().out)]
    assert names == list(TASKS)
    assert main(["encoders", "resnet18", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["dim"] == 512
    assert main(["pretrain", "--resume", str(made / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "unknown"


def test_one_picture_alone_is_too_little(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photographs(tmp_path / "one", 1)

    words = ["pretrain", str(tmp_path / "one"), *SHORT, "--out", str(tmp_path / "run")]
    refused(words, 1, capsys, "at least 2 readable pictures", "photo:FILE")
    assert not (tmp_path / "run").exists()


def plain(folder: Path, count: int = 12) -> Path:
    """Black pictures of two classes."""
    for number in range(count):
        place = folder / "ab"[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((24, 24, 3), dtype=np.uint8)).save(place)
    return folder


def strictly(text: str) -> dict[str, Any]:
    """Read JSON as every other program does: without NaN and Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_black_pictures_are_named_and_every_record_is_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = str(plain(tmp_path / "black")), tmp_path / "run"

    assert main(["pretrain", data, *SHORT, "--out", str(run), "--json"]) == 0
    trained = strictly(capsys.readouterr().out)
    refused(["probe", str(run), "--quick"], 1, capsys, "The pictures are all alike (of one plain")
    assert main(["probe", str(run), "--test", data, "--quick", "--json"]) == 0
    probed = strictly(capsys.readouterr().out)
    assert main(["neighbours", str(run), "--json"]) == 0
    searched = strictly(capsys.readouterr().out)

    for record in (trained, probed):
        assert record["verdict"] == "collapsed"
        assert record["reasons"][0].startswith("The pictures are all alike (of one plain colour)")
        assert record["next"] == {
            "words": "Give pictures that differ from each other.",
            "command": None,
        }
    assert probed["patch_dictionary"] is None
    assert probed["identical_in_training"] == probed["test"]
    assert searched["verdict"].startswith("The pictures are all alike")
    for file in tmp_path.rglob("*.json"):
        strictly(file.read_text())


def test_a_dictionary_of_plain_pictures_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pretrain", str(plain(tmp_path / "black")), "--task", "patch-dictionary"]
    refused([*words, "--out", str(tmp_path / "run")], 1, capsys, "needs patches that differ")


def test_unequal_classes_make_a_blind_guess_cheap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 19 to 1, entropy 0.1985: a loss of 0.254 is worse than guessing, not 63 % better."""
    data = classes(tmp_path / "skewed", {"usual": 38, "rare": 3})  # of these a test part is split
    words = ["pretrain", str(data), *SHORT, "--out", str(tmp_path / "run"), "--json"]
    words[words.index("rotation")] = "supervised"

    assert main(words) == 0

    out, err = capsys.readouterr()
    record = strictly(out)
    shares = [2 / 32, 30 / 32]
    assert record["blind"] == pytest.approx(-sum(p * math.log(p) for p in shares), abs=1e-4)
    assert record["tasks"]["supervised"]["chance"] == pytest.approx(30 / 32, abs=1e-4)
    assert "shares=0.0625 to 0.938" in err  # the plan shows what it was derived from


WITH_LITTLE_MEMORY = """
import resource, sys
import torch
import selfsight.commands.embed, selfsight.commands.pretrain, selfsight.commands.probe
from selfsight.cli import main

torch.set_num_threads(1)
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (300 << 20),) * 2)
sys.exit(main(sys.argv[1:]))
"""


def test_memory_that_runs_out_gets_a_sentence_and_exit_1(made: Path, tmp_path: Path) -> None:
    photos, run = str(made / "photos"), str(made / "run")
    pretrain = ["pretrain", photos, *SHORT, "--out", str(tmp_path / "run")]
    pretrain[pretrain.index("16", pretrain.index("--size"))] = "2048"
    embed = ["embed", run, photos, "--size", "4096", "--out", str(tmp_path / "features.npz")]
    for words, remedy in (
        (
            pretrain,
            "a smaller --batch, a smaller --size, a smaller --limit, --storage stream or "
            "another --encoder",
        ),
        (embed, "a smaller --size, a smaller --limit or a smaller network"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", WITH_LITTLE_MEMORY, *words], capture_output=True, text=True
        )
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("selfsight: memory ran out")
        assert done.stderr.endswith(f"Give {remedy}\n")
        assert "Traceback" not in done.stderr
