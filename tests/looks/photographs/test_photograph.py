"""Photographs: what files are asked for, where results go, and what holes are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from selfsight.data.source import Unreadable
from selfsight.errors import SelfsightError, UsageError
from selfsight.looks.photographs.photograph import (
    check_places,
    hole_of_boxes,
    listed,
    read_mask,
    read_photograph,
    write_png,
)


def save(path: Path, *size: int, value: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), value, dtype=np.uint8)).save(path)
    return path


def test_results_of_a_folder_lie_in_folders_like_its_own(tmp_path: Path) -> None:
    save(tmp_path / "album" / "a" / "1.png", 9, 9)
    save(tmp_path / "album" / "b" / "1.jpg", 9, 9)
    single = save(tmp_path / "v1.2 last.png", 9, 9)
    found = listed([str(tmp_path / "album"), str(single)])

    assert [one.name for one in found] == ["a/1", "b/1", "v1.2 last"]
    assert found[1].file == str(tmp_path / "album" / "b" / "1.jpg")


def test_a_list_names_pictures_and_none_of_them_leads_out_of_the_results(tmp_path: Path) -> None:
    save(tmp_path / "far" / "x.png", 9, 9)
    (tmp_path / "lists").mkdir()
    absolute = save(tmp_path / "y.png", 9, 9)
    (tmp_path / "lists" / "all.txt").write_text(f"../far/x.png\n{absolute}\nz.png\n")
    found = listed([str(tmp_path / "lists" / "all.txt")])

    assert [one.name for one in found] == ["x", "y", "z"]
    assert Path(found[0].file).samefile(tmp_path / "far" / "x.png")
    assert read_photograph(found[0], 3).shape == (3, 9, 9)
    with pytest.raises(Unreadable, match="does not exist"):
        read_photograph(found[2], 3)


def test_pictures_in_one_table_have_names_by_their_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "some.npz", images=np.zeros((2, 12, 12, 3), dtype=np.uint8))
    found = listed([str(tmp_path / "some.npz")])

    assert len({one.name for one in found}) == 2
    assert {one.file for one in found} == {str(tmp_path / "some.npz")}


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(SelfsightError, match="no file or folder 'nowhere'"):
        listed(["nowhere"])


def test_nothing_that_is_read_is_written_over(tmp_path: Path) -> None:
    found = listed([str(save(tmp_path / "a.png", 9, 9))])

    with pytest.raises(UsageError, match=r"would be written over .*a\.png, which is read"):
        check_places(found, [[tmp_path / "x" / ".." / "a.png"]])
    with pytest.raises(UsageError, match=r"written over mask\.png"):
        check_places(found, [[Path("mask.png")]], "mask.png")


def test_two_results_never_share_a_file(tmp_path: Path) -> None:
    found = listed([str(save(tmp_path / place / "a.png", 9, 9)) for place in ("x", "y")])

    with pytest.raises(UsageError, match=r"both .*x/a\.png and .*y/a\.png"):
        check_places(found, [[tmp_path / "out.png"], [tmp_path / "out.png"]])


def test_boxes_are_holes_in_pixels_from_the_left_and_the_top() -> None:
    hole = hole_of_boxes(["1,0,2,1", "4,3,1,1"], 4, 5, "it")

    assert hole.nonzero().tolist() == [[0, 1], [0, 2], [3, 4]]
    with pytest.raises(UsageError, match=r"--box 4,0,2,1 must lie within it, which is 5 x 4"):
        hole_of_boxes(["4,0,2,1"], 4, 5, "it")
    with pytest.raises(UsageError, match="leaves nothing of it"):
        hole_of_boxes(["0,0,5,4"], 4, 5, "it")


def test_masks_are_holes_where_they_are_white(tmp_path: Path) -> None:
    painted = np.zeros((8, 9), dtype=np.uint8)
    painted[2, 3], painted[5, 6] = 255, 100
    Image.fromarray(painted).save(tmp_path / "mask.png")

    assert read_mask(str(tmp_path / "mask.png")).nonzero().tolist() == [[2, 3]]


def test_masks_without_a_hole_are_refused(tmp_path: Path) -> None:
    black, white = (
        save(tmp_path / "b.png", 9, 9, value=0),
        save(tmp_path / "w.png", 9, 9, value=255),
    )

    with pytest.raises(UsageError, match="has no hole: paint white"):
        read_mask(str(black))
    with pytest.raises(UsageError, match="white all over"):
        read_mask(str(white))
    with pytest.raises(SelfsightError, match=r"--mask .*none\.png cannot be read"):
        read_mask(str(tmp_path / "none.png"))


def test_a_picture_written_and_read_is_the_same(tmp_path: Path) -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    for channels in (1, 3):
        picture = levels.expand(channels, -1, -1)
        path = tmp_path / f"{channels}.png"
        write_png(path, picture)
        assert read_photograph(listed([str(path)])[0], channels).equal(picture)
