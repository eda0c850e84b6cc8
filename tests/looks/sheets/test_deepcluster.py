"""Clusters: the largest come first, and purity stands beside that of clusters filled at random."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from selfsight.augment.views import centre_view
from selfsight.data.pictures import Pictures
from selfsight.data.pictures.batch import Images
from selfsight.looks.held_out import HeldOut
from selfsight.looks.sheet import draw_sheet
from selfsight.looks.sheets import deepcluster
from selfsight.looks.task_sheet import Question
from selfsight.tasks.base import Needs

SIDE = 8


class ByRed(nn.Module):
    """Takes pictures of a like red for the same."""

    needs = Needs(batch=Images)
    size, weights = SIDE, torch.ones(10)

    def clusters_of(self, pictures: Tensor) -> Tensor:
        assert pictures.shape[1:] == (3, SIDE, SIDE)
        return (pictures[:, 0].mean(dim=(1, 2)) * 9.99).long()


def held_out(groups: list[int], labels: list[int] | None = None) -> HeldOut:
    images = torch.zeros(len(groups), 3, SIDE, SIDE, dtype=torch.uint8)
    images[:, 0] = (25 * torch.tensor(groups) + 15).to(torch.uint8)[:, None, None]
    images[:, 1] = torch.arange(len(groups), dtype=torch.uint8)[:, None, None]  # to tell them by
    extent = torch.tensor([SIDE, SIDE]).expand(len(groups), 2)
    classes = () if labels is None else ("cat", "dog", "a very long name")
    known = None if labels is None else torch.tensor(labels)
    return HeldOut(
        Pictures(images, extent, known, classes, (), (), "some", ""), "the test part", False
    )


def asked(held: HeldOut, count: int = 8) -> tuple[deepcluster.Sheet, dict[str, float]]:
    return deepcluster.find_answers(ByRed(), Question(held, count))


def numbers(sheet: deepcluster.Sheet) -> list[list[int]]:
    return [[round(255 * float(c.picture[1].mean())) for c in cells] for cells in sheet.samples]


def test_purity_by_hand() -> None:
    """Cluster 0 holds classes 0, 0, 1, cluster 2 holds 1 and 2: 3 of 5 are of the most frequent."""
    found = deepcluster.purity(torch.tensor([0, 0, 0, 2, 2]), torch.tensor([0, 0, 1, 1, 2]))

    assert found == pytest.approx(3 / 5)


def test_single_pictures_are_pure_by_accident_and_the_chance_says_so() -> None:
    alone, labels = torch.arange(20), torch.arange(20) % 2

    assert deepcluster.purity(alone, labels) == 1
    assert deepcluster.purity_by_chance(alone, labels, seed=0) == 1


def test_of_two_large_clusters_the_chance_is_near_the_larger_class() -> None:
    labels = torch.arange(1000) % 4
    halves = (torch.arange(1000) < 500).long()

    assert deepcluster.purity_by_chance(halves, labels, seed=0) == pytest.approx(0.26, abs=0.02)


def test_the_largest_clusters_come_first() -> None:
    sheet, figures = asked(held_out([3, 7, 7, 3, 7, 1]))

    assert numbers(sheet) == [[1, 2, 4], [0, 3], [5]]
    assert list(sheet.headings) == ["3 pictures", "2 pictures", "1 picture"]
    assert figures == {"clusters": 10, "used": 3, "largest": 0.5}
    shown = sheet.samples[0][0]
    assert shown.note == ""
    whole = held_out([3, 7]).pictures
    assert shown.picture.equal(centre_view(whole.tensor, whole.extent, SIDE)[1])


def test_of_known_classes_the_purity_and_the_names_are_said() -> None:
    held = held_out([3, 7, 7, 3, 7, 1], [0, 1, 1, 2, 0, 2])
    sheet, figures = asked(held)

    assert figures["purity"] == pytest.approx((2 + 1 + 1) / 6)
    assert figures["purity"] >= figures["chance"] > 0
    assert sheet.headings[0] == "3 pictures\n67 % of class dog"
    assert [cell.note for cell in sheet.samples[0]] == ["dog", "dog", "cat"]
    assert sheet.samples[2][0].note == "a very long n\u2026"
    words = deepcluster.in_words(None, figures, held.among)
    assert words.startswith("Of 6 held-out pictures, the largest of 10 clusters holds 50 %, and 7")
    assert "67 % are of the most frequent class of their cluster" in words


def test_without_classes_no_purity_is_said() -> None:
    _, figures = asked(held_out([3, 7, 7]))

    assert "class" not in deepcluster.in_words(None, figures, "3 held-out pictures")


def test_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    held = held_out([3, 7, 7, 3, 7, 1, 2], [0, 1, 1, 2, 0, 2, 1])
    whole = asked(held)
    monkeypatch.setattr(deepcluster, "BATCH", 2)
    parts = asked(held)

    assert parts[1] == whole[1]
    assert numbers(parts[0]) == numbers(whole[0])


def test_a_sheet_shows_some_pictures_of_the_largest_clusters(tmp_path: Path) -> None:
    held = held_out([1] * 30 + [2] * 20 + [3] * 10)
    sheet, figures = asked(held, count=2)
    draw_sheet(
        sheet, tmp_path / "sheet.png", caption=deepcluster.in_words(None, figures, held.among)
    )

    assert numbers(sheet) == [list(range(8)), list(range(30, 38))]
    with Image.open(tmp_path / "sheet.png") as picture:
        assert min(picture.size) > 150
