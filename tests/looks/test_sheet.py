"""Sheet: its size follows from what is on it, and right and wrong differ by more than colour."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from selfsight.looks.mosaic import EMPTY, mosaic
from selfsight.looks.sheet import CROSS, TICK, Cell, Sheet, answered, draw_sheet, percent

GREY = torch.full((3, 16, 16), 0.5)


def drawn(sheet: Sheet, path: Path, caption: str = "") -> np.ndarray:
    draw_sheet(sheet, path, caption=caption)
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_samples_of_few_pictures_stand_side_by_side(tmp_path: Path) -> None:
    pair = (Cell(GREY), Cell(GREY))
    eight = drawn(Sheet("t", ("a", "b"), [pair] * 8), tmp_path / "eight.png")
    four = drawn(Sheet("t", ("a", "b"), [pair] * 4), tmp_path / "four.png")

    assert eight.shape[1] == pytest.approx(four.shape[1], abs=2)  # four samples fill a line
    assert eight.shape[0] > 1.6 * four.shape[0]


def test_a_single_sample_makes_a_narrow_sheet(tmp_path: Path) -> None:
    one = drawn(Sheet("t", ("a",), [(Cell(GREY),)]), tmp_path / "one.png")

    assert 100 < one.shape[1] < 260


def breaks(marked: np.ndarray) -> int:
    """Count where the most marked column of a picture (H, W) bool stops being so."""
    column = marked[:, marked.sum(axis=0).argmax()].astype(int)
    return int((np.diff(column) < 0).sum())


def test_frames_of_right_and_wrong_answers_differ_in_shape(tmp_path: Path) -> None:
    right = drawn(Sheet("t", ("a",), [(Cell(GREY, right=True),)]), tmp_path / "right.png")
    wrong = drawn(Sheet("t", ("a",), [(Cell(GREY, right=False),)]), tmp_path / "wrong.png")

    assert breaks(right[..., 1] > right[..., 0] + 60) == 1  # at its lower end
    assert breaks(wrong[..., 0] > wrong[..., 1] + 60) > 5


def test_a_longer_caption_makes_a_higher_sheet_and_not_a_wider_one(tmp_path: Path) -> None:
    sheet = Sheet("t", ("a",), [(Cell(GREY),)] * 8)
    short = drawn(sheet, tmp_path / "short.png", "words")
    long = drawn(sheet, tmp_path / "long.png", "words and more words " * 40)

    assert long.shape[0] > short.shape[0] + 30
    assert long.shape[1] < 1.05 * short.shape[1]


def test_answers_begin_with_a_tick_or_a_cross() -> None:
    assert answered("cat", right=True) == f"{TICK} cat"
    assert answered("cat", right=False) == f"{CROSS} cat"


def test_small_shares_keep_a_decimal() -> None:
    assert percent(0.917) == "92 %"
    assert percent(0.0417) == "4.2 %"


def test_tiles_are_laid_out_in_reading_order_with_white_lines() -> None:
    tiles = torch.tensor([0.1, 0.2, 0.3, 0.4]).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    picture = mosaic(tiles, 2)[0]

    assert picture.shape == (5, 5)
    assert picture[2].eq(1).all()
    assert picture[:, 2].eq(1).all()
    corners = [picture[0, 0], picture[0, 4], picture[4, 0], picture[4, 4]]
    assert [round(float(value), 1) for value in corners] == [0.1, 0.2, 0.3, 0.4]


def test_empty_places_are_chequered() -> None:
    blank = torch.tensor([False, True, False, False])
    picture = mosaic(torch.zeros(4, 3, 12, 12), 2, blank=blank)

    assert picture[:, :12, :12].eq(0).all()
    assert picture[0, :12, 13:].unique().tolist() == pytest.approx(list(EMPTY))


def test_headings_widen_a_sheet_to_the_left(tmp_path: Path) -> None:
    samples = [[Cell(GREY)] * 8] * 2
    plain = drawn(Sheet("t", ("",) * 8, samples), tmp_path / "plain.png")
    named = Sheet("t", ("",) * 8, samples, headings=("12 pictures", "7 pictures"))
    headed = drawn(named, tmp_path / "headed.png")

    assert headed.shape[1] > plain.shape[1] + 30
    assert headed.shape[0] == pytest.approx(plain.shape[0], abs=2)


def test_samples_with_headings_have_a_line_each(tmp_path: Path) -> None:
    two = [(Cell(GREY),)] * 2
    beside = drawn(Sheet("t", ("a",), two), tmp_path / "beside.png")
    below = drawn(Sheet("t", ("a",), two, headings=("x", "y")), tmp_path / "below.png")

    assert below.shape[0] > beside.shape[0] + 100


def test_the_width_of_a_picture_is_the_sheets(tmp_path: Path) -> None:
    one = drawn(Sheet("t", ("a",), [(Cell(GREY),)], side=1.0), tmp_path / "one.png")
    three = drawn(Sheet("t", ("a",), [(Cell(GREY),)], side=3.0), tmp_path / "three.png")

    assert three.shape[0] > one.shape[0] + 200
