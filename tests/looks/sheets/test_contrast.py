"""Partners: the nearest of the other views is the answer, and every picture is asked once."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from selfsight.data.pictures import Pictures
from selfsight.data.pictures.batch import Images
from selfsight.errors import SelfsightError
from selfsight.looks.held_out import HeldOut
from selfsight.looks.sheet import CROSS, TICK, draw_sheet
from selfsight.looks.sheets import contrast
from selfsight.looks.task_sheet import Question
from selfsight.tasks.base import Needs

SIDE = 8


class ByAngle(nn.Module):
    """Embeds a picture by an angle: its red, and views differ by so much that is added to it."""

    needs = Needs(batch=Images)

    def __init__(self, *, between_views: float, collapsed: bool = False) -> None:
        super().__init__()
        self.between_views, self.collapsed = between_views, collapsed

    def views(self, batch: Images) -> tuple[Tensor, Tensor]:
        first = batch.images.float() / 255
        second = first.clone()
        second[:, 0] += self.between_views
        return first, second

    def embed(self, pictures: Tensor) -> Tensor:
        angle = pictures[:, 0].mean(dim=(1, 2)) * (0 if self.collapsed else 1)
        return torch.stack([angle.cos(), angle.sin()], dim=1)


def held_out(reds: list[int]) -> HeldOut:
    images = torch.zeros(len(reds), 3, SIDE, SIDE, dtype=torch.uint8)
    images[:, 0] = torch.tensor(reds, dtype=torch.uint8)[:, None, None]
    extent = torch.tensor([SIDE, SIDE]).expand(len(reds), 2)
    return HeldOut(Pictures(images, extent, None, (), (), (), "some", ""), "all of DATA", False)


def asked(task: nn.Module, held: HeldOut, count: int = 8) -> tuple[contrast.Sheet, dict]:
    return contrast.SHEET.ask("some", task, Question(held, count))


def test_places_by_hand() -> None:
    cosine = torch.tensor([[0.9, 0.1, 0.2], [0.9, 0.1, 0.2], [0.3, 0.1, 0.2]])

    assert contrast.places(cosine).tolist() == [1, 3, 2]


def test_views_that_are_all_the_same_find_no_partner() -> None:
    """Else a network that says the same of everything would get full marks."""
    assert contrast.places(torch.ones(4, 4)).tolist() == [4, 4, 4, 4]
    _, figures = asked(ByAngle(between_views=0.0, collapsed=True), held_out([0, 50, 100, 150]))
    assert figures["found"] == 0
    assert figures["partners"] == figures["others"] == 1


def test_equal_views_of_different_pictures_are_all_found() -> None:
    _, figures = asked(ByAngle(between_views=0.0), held_out([0, 80, 160, 240]))

    assert figures["found"] == 1
    assert figures["chance"] == 1 / 4
    assert figures["partners"] == pytest.approx(1)


def test_figures_of_two_pictures_by_hand() -> None:
    """First views lie at angles 0 and 1, second ones at 0.7 and 1.7.

    The first finds its partner, 0.7 away where the other view is 1.7 away. The second finds that of
    the first, 0.3 away, where its own is 0.7 away.
    """
    sheet, figures = asked(ByAngle(between_views=0.7), held_out([0, 255]))
    cosine = torch.tensor([0.7, 1.7, 0.3]).cos()

    assert figures["found"] == 0.5
    assert figures["among"] == 2
    assert figures["partners"] == pytest.approx(float(cosine[0]), abs=1e-5)
    assert figures["others"] == pytest.approx(float(cosine[1:].mean()), abs=1e-5)
    assert list(sheet.columns) == ["a view", "nearest", "second", "its partner"]
    first, second = sheet.samples
    assert [cell.right for cell in first] == [None, True, None, None]
    assert [cell.right for cell in second] == [None, False, True, None]
    assert first[1].note == f"{TICK} 0.76"
    assert second[1].note == f"{CROSS} 0.96"
    assert second[3].note == "0.76, place 2 of 2"
    assert second[1].picture.equal(first[3].picture)
    assert second[2].picture.equal(second[3].picture)


@pytest.mark.parametrize("among", [2, 3, 4, 5])
def test_every_picture_is_asked_once(among: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the batches; the last is filled up with pictures that were asked already."""
    monkeypatch.setattr(contrast, "BATCH", among)
    held, task = held_out([0, 60, 120, 180, 240]), ByAngle(between_views=0.3)
    sheet, figures = asked(task, held)
    reds = [round(255 * float(cells[0].picture[0].mean())) for cells in sheet.samples]
    angles = torch.tensor(reds, dtype=torch.float64) / 255
    found = 0
    for row in range(5):
        # A plain loop over the pictures of the row's batch.
        last = min((row // among + 1) * among, 5)
        others = range(last - among, last)
        nearest = max(others, key=lambda other: float((angles[row] - angles[other] - 0.3).cos()))
        found += nearest == row

    assert reds == [0, 60, 120, 180, 240]
    assert figures["found"] == found / 5
    assert figures["chance"] == 1 / among
    assert figures["partners"] == pytest.approx(float(torch.tensor(0.3).cos()), abs=1e-5)


def test_random_embeddings_stay_at_chance() -> None:
    noise = torch.Generator().manual_seed(0)

    class Random(ByAngle):
        def embed(self, pictures: Tensor) -> Tensor:
            return F.normalize(torch.randn(len(pictures), 16, generator=noise), dim=1)

    _, figures = asked(Random(between_views=0.0), held_out(list(range(256)) * 2))

    assert figures["chance"] == 1 / 64
    assert figures["found"] < 0.05  # 8 of 512 are expected; 25 are six standard deviations more
    assert abs(figures["others"]) < 0.05


def test_a_sheet_holds_as_many_views_as_wanted(tmp_path: Path) -> None:
    held = held_out(list(range(0, 200, 10)))
    sheet, figures = asked(ByAngle(between_views=0.1), held, count=3)
    draw_sheet(
        sheet, tmp_path / "sheet.png", caption=contrast.SHEET.in_words(None, figures, held.among)
    )

    assert len(sheet.samples) == 3
    with Image.open(tmp_path / "sheet.png") as picture:
        assert min(picture.size) > 150


def test_the_words_hold_the_figures() -> None:
    figures = {"found": 0.41, "chance": 1 / 64, "among": 64, "partners": 0.823, "others": 0.1}
    words = contrast.SHEET.in_words(None, figures, "500 held-out pictures")

    assert words.startswith("On 500 held-out pictures, 41 % of the views find the other view")
    assert "the nearest among those of 64; a blind guess finds 1.6 %" in words
    assert "0.82 between partners, and 0.10 between those of different pictures" in words


def test_one_picture_alone_has_nothing_to_be_told_apart_from() -> None:
    with pytest.raises(SelfsightError, match="among several pictures, and there is 1"):
        asked(ByAngle(between_views=0.0), held_out([0]))
