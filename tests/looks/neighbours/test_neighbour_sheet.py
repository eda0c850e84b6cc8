"""Neighbours: the closest by cosine, and frames that tell right from wrong."""

from pathlib import Path

import torch
from PIL import Image

from selfsight.looks.neighbours.neighbour_sheet import draw_neighbours, nearest, shared_class


def test_the_closest_comes_first_whatever_its_length() -> None:
    bank = torch.tensor([[0.0, 5.0], [9.0, 1.0], [1.0, 1.0]])

    assert nearest(bank, torch.tensor([[0.1, 0.0]]), 3).tolist() == [[1, 2, 0]]


def test_the_share_of_the_same_class_is_counted() -> None:
    found = torch.tensor([[0, 1], [1, 2]])

    assert shared_class(found, torch.tensor([7, 8, 8]), torch.tensor([7, 8])) == 0.75


def test_the_sheet_is_a_picture_with_green_and_red_frames(tmp_path: Path) -> None:
    bank = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    found = {"trained": torch.tensor([[0, 1]]), "untrained": torch.tensor([[2, 3]])}
    path = tmp_path / "sheet.png"
    labels = torch.tensor([0, 0, 1, 1])
    draw_neighbours(bank, bank[:1], found, path, bank_labels=labels, query_labels=torch.tensor([0]))

    with Image.open(path) as sheet:
        seen = {pixel for _, pixel in sheet.convert("RGB").getcolors(1 << 20) or []}
    assert (0x2A, 0x9D, 0x3A) in seen
    assert (0xD1, 0x49, 0x5B) in seen
