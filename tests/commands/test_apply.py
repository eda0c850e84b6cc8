"""Applying: results of a photograph's own size, only what was asked changed, and refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import selfsight
from selfsight.cli import main
from selfsight.errors import SelfsightError, UsageError

pytestmark = pytest.mark.slow

TASKS = ("colorization", "colorization-vae", "inpainting")
PAINT, COLOUR, WAYS = ("--task", "inpainting"), ("--task", "colorization"), TASKS[1]
HOLE = ("--box", "10,5,20,12")


def photograph(path: Path, width: int, height: int, *, grey: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    across = np.linspace(0, 255, width)[None, :, None]
    down = np.linspace(0, 255, height)[:, None, None]
    ramps = np.concatenate([across + 0 * down, down + 0 * across, 255 - across + 0 * down], axis=2)
    pixels = ramps.astype(np.uint8)
    Image.fromarray(pixels[..., 0] if grey else pixels).save(path)
    return path


def pixels_of(path: str | Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


def chroma(pixels: np.ndarray) -> np.ndarray:
    return pixels.max(axis=2) - pixels.min(axis=2)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `photos`, and a `run` on it by all the tasks that can be applied."""
    home = tmp_path_factory.mktemp("applying")
    torch.set_num_threads(1)
    for number in range(8):
        photograph(home / "photos" / f"{number}.png", 32 + number, 40)
    short: dict[str, Any] = {"samples": 16, "size": 32, "precision": "f32", "batch": 8}
    selfsight.pretrain(str(home / "photos"), list(TASKS), mix="sum", out=str(home / "run"), **short)
    return home


def refused(words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apply", *words]) == status
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


def test_a_grey_photograph_is_coloured_at_its_own_size(home: Path, tmp_path: Path) -> None:
    file = photograph(tmp_path / "old.jpg", 75, 50, grey=True)
    record = selfsight.apply(home / "run", file, task="colorization", out=tmp_path / "out")

    (one,) = record["files"]
    assert one["results"] == [str(tmp_path / "out" / "old.png")]
    assert (one["width"], one["height"]) == (75, 50)
    assert one["coloured"] is False
    coloured = pixels_of(one["results"][0])
    assert coloured.shape == (50, 75, 3)
    with Image.open(one["sheet"]) as sheet:
        assert sheet.width > 1.5 * sheet.height  # before and after, side by side
    grey = np.array(Image.fromarray(coloured.astype(np.uint8)).convert("L")).astype(int)
    assert np.abs(grey - pixels_of(file)).mean() < 12  # the lightness is the photograph's own


def test_of_a_colour_photograph_the_lightness_is_used(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = photograph(tmp_path / "new.png", 40, 40), tmp_path / "out"

    assert main(["apply", str(home / "run"), str(file), *COLOUR, "--out", str(out), "--json"]) == 0
    told = capsys.readouterr()
    assert "have colours already; only their lightness was used" in told.err
    assert json.loads(told.out)["apply"] == "colorization"


def test_lower_temperatures_give_stronger_colours(home: Path, tmp_path: Path) -> None:
    file = photograph(tmp_path / "a.png", 40, 40, grey=True)
    strong, weak = (
        chroma(
            pixels_of(
                selfsight.apply(
                    home / "run", file, task="colorization", temperature=t, out=tmp_path / str(t)
                )["files"][0]["results"][0]
            )
        ).mean()
        for t in (0, 1.0)
    )

    assert strong > weak + 2


def test_several_ways_are_files_of_their_own(home: Path, tmp_path: Path) -> None:
    file = photograph(tmp_path / "a.png", 40, 32, grey=True)
    record = selfsight.apply(home / "run", file, task=WAYS, ways=3, out=tmp_path / "out")

    names = [Path(path).name for path in record["files"][0]["results"]]
    assert names == ["a-1.png", "a-2.png", "a-3.png"]
    pictures = [pixels_of(path) for path in record["files"][0]["results"]]
    assert pictures[0].shape == (32, 40, 3)
    assert (pictures[0] != pictures[1]).any()


def test_only_the_hole_is_painted(home: Path, tmp_path: Path) -> None:
    file = photograph(tmp_path / "a.png", 64, 48)
    mask = np.zeros((48, 64), dtype=np.uint8)
    mask[5:17, 10:30] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    by_box, by_mask = (
        selfsight.apply(home / "run", file, task="inpainting", out=tmp_path / name, **hole)
        for name, hole in (("box", {"box": HOLE[1]}), ("mask", {"mask": tmp_path / "mask.png"}))
    )

    before, after = pixels_of(file), pixels_of(by_box["files"][0]["results"][0])
    assert (before[mask == 0] == after[mask == 0]).all()
    assert (before[mask > 0] != after[mask > 0]).any()
    assert (after == pixels_of(by_mask["files"][0]["results"][0])).all()


def test_several_boxes_are_several_holes(home: Path, tmp_path: Path) -> None:
    file = photograph(tmp_path / "a.png", 64, 48)
    record = selfsight.apply(
        home / "run", file, task="inpainting", box=("0,0,5,5", "50,40,6,6"), out=tmp_path / "out"
    )

    changed = pixels_of(file) != pixels_of(record["files"][0]["results"][0])
    assert changed[:5, :5].any()
    assert changed[40:46, 50:56].any()
    changed[:5, :5] = changed[40:46, 50:56] = False
    assert not changed.any()


def test_exif_orientation_turns_result_and_hole(home: Path, tmp_path: Path) -> None:
    photograph(tmp_path / "lying.jpg", 60, 40)
    with Image.open(tmp_path / "lying.jpg") as picture:
        exif = picture.getexif()
        exif[0x0112] = 6  # a quarter-turn to be upright
        picture.save(tmp_path / "lying.jpg", exif=exif)
    record = selfsight.apply(
        home / "run", tmp_path / "lying.jpg", task="inpainting", box="30,50,8,8", out=tmp_path / "o"
    )

    assert (record["files"][0]["width"], record["files"][0]["height"]) == (40, 60)


def test_grey_sixteen_bit_and_transparent_photographs_are_taken(home: Path, tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 40 * 40).reshape(40, 40).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    clear = np.full((40, 40, 4), 128, dtype=np.uint8)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    files = [tmp_path / "deep.png", tmp_path / "clear.png"]
    record = selfsight.apply(
        home / "run", files, task="inpainting", box=HOLE[1], out=tmp_path / "o"
    )

    deep_result, clear_result = (pixels_of(one["results"][0]) for one in record["files"])
    assert abs(int(deep_result[-1, -1, 0]) - 255) <= 1
    assert clear_result.shape == (40, 40, 3)


def test_a_folder_is_gone_through_and_what_is_broken_is_skipped(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph(tmp_path / "album" / "a" / "1.png", 40, 40)
    photograph(tmp_path / "album" / "b" / "1.png", 40, 40)
    (tmp_path / "album" / "b" / "2.png").write_bytes(b"no picture")
    record = selfsight.apply(
        home / "run", tmp_path / "album", task="colorization", out=tmp_path / "out"
    )

    results = [Path(one["results"][0]).relative_to(tmp_path / "out") for one in record["files"]]
    assert results == [Path("a/1.png"), Path("b/1.png")]
    assert [Path(one["title"]).name for one in record["skipped"]] == ["2.png"]
    assert "skipped 1 of 3 pictures" in capsys.readouterr().err


def test_nothing_that_can_be_read_is_an_error(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    words = [str(home / "run"), str(tmp_path / "a.png"), "missing.jpg", *COLOUR, "--out"]
    refused([*words, str(tmp_path / "out")], 1, "none of 2 photographs could be read", capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "can be applied by colorization or colorization-vae or inpainting; give --task"),
        (("--task", "inpaint"), "unknown task 'inpaint'; did you mean inpainting?"),
        (("--task", "rotation"), "unknown task of this run that can be applied 'rotation'"),
        ((*COLOUR, *HOLE), "--box is for inpainting, and"),
        ((*COLOUR, "--ways", "3"), "--ways is for colorization-vae, and"),
        ((*PAINT, *HOLE, "--temperature", "1"), "--temperature is for colorization, and"),
        (PAINT, "inpainting needs the hole: --box LEFT,TOP,WIDTH,HEIGHT"),
        ((*PAINT, "--box", "30,0,20,10"), "which is 40 x 40 pixels"),
        ((*PAINT, "--box", "1,2,3"), "--box takes LEFT,TOP,WIDTH,HEIGHT in whole pixels"),
        ((*PAINT, "--box", "1,2,0,3"), "at least 1 pixel wide and high"),
        ((*PAINT, *HOLE, "--mask", "m.png"), "by --mask or by --box, not by both"),
        ((*COLOUR, "--temperature", "2"), "--temperature must be from 0 to 1, got 2.0"),
        ((*COLOUR, "--ways", "0"), "--ways must be at least 1"),
    ],
)
def test_what_is_asked_wrongly_gets_a_sentence(
    home: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = str(photograph(tmp_path / "a.png", 40, 40))
    refused([str(home / "run"), file, *words, "--out", str(tmp_path / "out")], 2, said, capsys)
    assert not (tmp_path / "out").exists()


def test_masks_are_as_large_as_their_photograph(home: Path, tmp_path: Path) -> None:
    large, small = photograph(tmp_path / "a.png", 40, 40), photograph(tmp_path / "m.png", 20, 30)

    with pytest.raises(UsageError, match=r"a\.png is 40 x 40 pixels, .*m\.png 20 x 30"):
        selfsight.apply(home / "run", large, task="inpainting", mask=small, out=tmp_path / "out")


def test_nothing_is_written_over_what_is_read(home: Path, tmp_path: Path) -> None:
    file = photograph(tmp_path / "a.png", 40, 40)
    before = file.read_bytes()

    with pytest.raises(UsageError, match=r"would be written over .*a\.png"):
        selfsight.apply(home / "run", file, task="colorization", out=tmp_path)
    assert file.read_bytes() == before


def test_a_run_that_cannot_be_applied_says_what_it_learned_by(home: Path, tmp_path: Path) -> None:
    short: dict[str, Any] = {"samples": 8, "size": 16, "precision": "f32", "batch": 8}
    run = selfsight.pretrain(
        str(home / "photos"), "rotation", encoder="test_resnet", out=str(tmp_path / "run"), **short
    )

    with pytest.raises(UsageError, match="learned by rotation, which has no answer that is a pict"):
        selfsight.apply(run, home / "photos" / "0.png", out=tmp_path / "out")


def test_apply_needs_files_and_a_folder_for_results(capsys: pytest.CaptureFixture[str]) -> None:
    refused(["run", "--out", "x"], 2, "apply needs FILE", capsys)
    refused(["run", "a.png"], 2, "apply needs --out DIR", capsys)
    with pytest.raises(SelfsightError, match="does not exist"):
        selfsight.apply("nowhere", "a.png", out="x")
