"""Side by side: what was hidden of a photograph is seen beside it."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from selfsight.looks.photographs.side_by_side import draw_side_by_side

RED = torch.tensor([200, 30, 30], dtype=torch.uint8).view(3, 1, 1).expand(3, 60, 90)


def share_of_red(path: Path) -> float:
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    return float((pixels[..., 0] > pixels[..., 1] + 60).mean())


def drawn(path: Path, after: list[Tensor], hole: Tensor | None = None, grey: bool = False) -> float:
    draw_side_by_side("a red one", RED, after, path, hole=hole, grey=grey)
    return share_of_red(path)


def test_what_was_seen_of_a_coloured_photograph_is_grey(tmp_path: Path) -> None:
    two = drawn(tmp_path / "two.png", [RED])
    three = drawn(tmp_path / "three.png", [RED], grey=True)

    assert 0.6 < three / two < 0.75  # two of three pictures are red, then


def test_holes_are_white(tmp_path: Path) -> None:
    hole = torch.zeros(60, 90, dtype=torch.bool)
    narrow = drawn(tmp_path / "without.png", [RED], hole=hole)
    hole[:, :45] = True
    assert 0.8 < drawn(tmp_path / "with.png", [RED], hole=hole) / narrow < 0.87  # 5 halves of 6


def test_pictures_of_sixteen_bits_are_not_stretched(tmp_path: Path) -> None:
    dim = torch.full((3, 40, 40), 9000).to(torch.uint16)
    draw_side_by_side(
        "dim", dim, [torch.full((3, 40, 40), 35, dtype=torch.uint8)], tmp_path / "d.png"
    )
    with Image.open(tmp_path / "d.png") as sheet:
        pixels = np.asarray(sheet.convert("L")).astype(int)

    middle = pixels[pixels.shape[0] * 2 // 3]
    quarter = len(middle) // 4
    assert abs(middle[quarter] - 35) <= 1
    assert abs(middle[3 * quarter] - 35) <= 1
