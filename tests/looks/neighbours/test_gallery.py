"""Gallery: patches never leave their picture, files are found again, and queries are spread."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from selfsight.data.pictures import open_data
from selfsight.data.pictures.forms.folder import Folder
from selfsight.errors import SelfsightError
from selfsight.looks.neighbours.gallery import (
    chosen_cut,
    owners_among,
    read_gallery,
    spread_over_groups,
)
from selfsight.looks.neighbours.search import NOBODY


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Six pictures of one colour each: five of 40 x 60 pixels, the last of 20 x 30."""
    for number in range(6):
        size = (60, 40) if number < 5 else (30, 20)
        Image.new("RGB", size, (40 * number, 100, 255 - 40 * number)).save(
            tmp_path / f"{number}.png"
        )
    return tmp_path


def test_patches_are_of_the_picture_that_owns_them(photographs: Path) -> None:
    source = open_data(photographs).train
    cut = chosen_cut(source, 16, asked=None, limit=None, seed=0)
    gallery = read_gallery(source, size=16, channels=3, cut=cut)
    reds = gallery.images[torch.arange(len(gallery))][:, 0].flatten(1)

    assert (cut.side, cut.canvas, cut.a_picture) == (16, 60, 64)
    assert len(gallery) == 6 * 64
    assert (reds == 40 * gallery.owners[:, None]).all()
    assert gallery.title(65) == "1.png"


def test_a_patch_of_small_pictures_is_half_of_them(photographs: Path) -> None:
    source = open_data(photographs).train

    assert chosen_cut(source, 96, asked=None, limit=None, seed=0).side == 20
    assert chosen_cut(source, 96, asked=30, limit=None, seed=0).side == 30


def test_pictures_smaller_than_a_patch_are_counted(photographs: Path) -> None:
    source = open_data(photographs).train
    cut = chosen_cut(source, 32, asked=32, limit=None, seed=0)
    gallery = read_gallery(source, size=32, channels=3, cut=cut)

    assert gallery.too_small == 1
    assert gallery.owners.unique().tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(SelfsightError, match=r"side under 64 pixels.*--patch-size"):
        read_gallery(source, size=32, channels=3, cut=cut._replace(side=64, canvas=64))


def test_whole_pictures_are_shown_undistorted(photographs: Path) -> None:
    gallery = read_gallery(open_data(photographs).train, size=16, channels=1)
    shown = gallery.for_sheet(torch.tensor([5, 2, 2]))

    assert gallery.images.shape == (6, 1, 16, 16)
    assert {row: tuple(one.shape) for row, one in shown.items()} == {2: (3, 40, 60), 5: (3, 20, 30)}
    assert int(shown[2][0, 0, 0]) == 80


def test_a_file_asked_for_is_found_among_the_pictures(photographs: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "more"
    elsewhere.mkdir()
    (elsewhere / "link.png").symlink_to(photographs / "3.png")
    Image.fromarray(np.zeros((20, 20), dtype=np.uint8)).save(elsewhere / "other.png")
    bank = read_gallery(Folder(photographs, ("2.png", "3.png")), size=16, channels=3)
    asked = read_gallery(
        Folder(Path(), (str(elsewhere / "link.png"), str(elsewhere / "other.png"))),
        size=16,
        channels=3,
    )

    assert owners_among(bank, asked).tolist() == [1, NOBODY]
    assert owners_among(bank, bank).tolist() == [0, 1]


def test_every_group_comes_once_before_any_comes_twice() -> None:
    rows, groups = torch.tensor([10, 11, 12, 13, 14]), torch.tensor([1, 1, 0, 1, 0])

    assert spread_over_groups(rows, groups).tolist() == [10, 12, 11, 14, 13]
