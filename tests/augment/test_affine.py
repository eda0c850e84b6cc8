"""Affine: crops by hand and against torchvision's, and nothing from beyond the edge."""

from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import resized_crop

from selfsight.augment.affine import crop_matrix, sample


def look(images: Tensor, box: tuple[float, ...], size: int, *, flipped: bool = False) -> Tensor:
    """Show one box of pictures that fill their canvas."""
    batch = len(images)
    boxes = torch.tensor([box], dtype=torch.float32).expand(batch, 4)
    extent = torch.tensor(images.shape[-2:]).expand(batch, 2)
    return sample(images, extent, crop_matrix(boxes, torch.tensor([flipped] * batch), size), size)


@pytest.fixture(scope="module")
def photo() -> Tensor:
    """The middle of a photograph of an astronaut at full resolution: (1, 3, 192, 192)."""
    path = Path(skimage.__file__).parent / "data" / "astronaut.png"
    pixels = torch.from_numpy(np.array(Image.open(path)))[50:242, 100:292]
    return pixels.permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("side", [1, 7, 8, 33])
def test_the_whole_picture_at_its_own_size_is_unchanged(side: int) -> None:
    images = torch.rand(2, 3, side, side)

    assert torch.allclose(look(images, (0, 0, side, side), side), images, atol=1e-5)


def test_flipped_is_the_mirror() -> None:
    images = torch.rand(2, 3, 9, 9)

    found = look(images, (0, 0, 9, 9), 9, flipped=True)

    assert torch.allclose(found, images.flip(-1), atol=1e-5)


def test_a_flipped_box_is_the_mirror_of_the_box() -> None:
    images = torch.rand(2, 1, 24, 24)
    box = (2.3, 5.1, 13.7, 11.2)

    found = look(images, box, 8, flipped=True)

    assert torch.allclose(found, look(images, box, 8).flip(-1), atol=1e-5)


def test_a_half_box_by_hand() -> None:
    # The right half of a ramp of 4 columns, shown on 4: points lie at 2.25, 2.75, 3.25, 3.75,
    # pixel centres at 2.5 (value 2) and 3.5 (value 3). What is left of the box is seen, and the
    # last point is past the last centre, where the edge repeats.
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)

    found = look(ramp, (0, 2, 4, 2), 4)

    assert torch.allclose(found[0, 0], torch.tensor([1.75, 2.25, 2.75, 3.0]).expand(4, 4))


def test_a_matrix_by_hand() -> None:
    box, size = torch.tensor([[3.0, 5.0, 8.0, 16.0]]), 4

    straight = crop_matrix(box, torch.tensor([False]), size)
    mirrored = crop_matrix(box, torch.tensor([True]), size)

    assert straight.tolist() == [[[4, 0, 5], [0, 2, 3]]]
    assert mirrored.tolist() == [[[-4, 0, 21], [0, 2, 3]]]


@pytest.mark.parametrize("reduction", [2, 4])
def test_whole_reductions_are_plain_means(reduction: int) -> None:
    images = torch.rand(2, 3, 32, 32)

    found = look(images, (0, 0, 32, 32), 32 // reduction)

    assert torch.allclose(found, F.avg_pool2d(images, reduction), atol=1e-5)


@pytest.mark.parametrize("place", [(0, 0), (10, 20), (64, 63)])
@pytest.mark.parametrize(
    ("reduction", "most"), [(1, 1e-5), (1.5, 0.01), (2, 0.01), (3, 0.02), (4, 0.015)]
)
def test_crops_of_a_photograph_are_nearly_torchvisions(
    photo: Tensor, place: tuple[int, int], reduction: float, most: float
) -> None:
    side = round(32 * reduction)

    found = look(photo, (*place, side, side), 32)

    reference = resized_crop(photo, *place, side, side, [32, 32], antialias=True)
    assert (found - reference).abs().mean() < most


@pytest.mark.parametrize("reduction", [3, 4])
def test_strong_reductions_are_nearer_torchvisions_than_skipping_pixels_is(
    photo: Tensor, reduction: int
) -> None:
    side = 32 * reduction

    found = look(photo, (10, 20, side, side), 32)

    reference, skipping = (
        resized_crop(photo, 10, 20, side, side, [32, 32], antialias=a) for a in (True, False)
    )
    assert (found - reference).abs().mean() < 0.8 * (skipping - reference).abs().mean()


@pytest.mark.parametrize("reduction", [2, 4])
@pytest.mark.parametrize("place", [0.0, 0.25, 0.5, 1.0])
def test_a_checkerboard_becomes_grey(reduction: int, place: float) -> None:
    rows, columns = torch.arange(72)[:, None], torch.arange(72)[None, :]
    board = ((rows + columns) % 2).float()[None, None]

    found = look(board, (place, place, 16 * reduction, 16 * reduction), 16)

    assert torch.allclose(found, torch.full_like(found, 0.5), atol=1e-3)


@pytest.mark.parametrize(
    "extent", [(33, 64), (64, 33), (21, 37), (7, 64), (63, 5), (1, 1), (64, 64)]
)
@pytest.mark.parametrize("size", [8, 13, 16, 31, 64])
def test_what_lies_beyond_the_picture_never_shows(extent: tuple[int, int], size: int) -> None:
    height, width = extent
    canvas = torch.ones(1, 1, 64, 64)  # bright beyond the picture
    canvas[..., :height, :width] = 0.25

    box = torch.tensor([[0.0, 0.0, height, width]])
    matrix = crop_matrix(box, torch.tensor([False]), size)
    if min(extent) >= 4:  # a picture thinner than a pixel of the copy has no whole pixel there
        found = sample(canvas, torch.tensor([extent]), matrix, size)
        assert torch.allclose(found, torch.full_like(found, 0.25), atol=1e-5)
    side = min(extent)
    square = crop_matrix(torch.tensor([[0.0, 0.0, side, side]]), torch.tensor([True]), size)
    found = sample(canvas, torch.tensor([extent]), square, size)
    assert torch.allclose(found, torch.full_like(found, 0.25), atol=1e-5)


def test_copies_of_an_odd_canvas_stay_apart() -> None:
    images = torch.full((1, 1, 37, 37), 0.5)

    for size in (4, 5, 9, 18, 36):
        found = look(images, (0, 0, 37, 37), size)
        assert torch.allclose(found, torch.full_like(found, 0.5), atol=1e-5)


def test_every_picture_of_a_batch_takes_its_own_copy() -> None:
    images = torch.rand(3, 2, 32, 32)
    boxes = torch.tensor([[0.0, 0, 8, 8], [3, 4, 16, 16], [0, 0, 32, 32]])
    extent = torch.tensor([[32, 32]] * 3)

    together = sample(images, extent, crop_matrix(boxes, torch.zeros(3, dtype=torch.bool), 8), 8)

    for one, image, box in zip(together, images, boxes, strict=True):
        assert torch.allclose(one, look(image[None], tuple(box.tolist()), 8)[0], atol=1e-5)


def test_the_gradient_comes_back_to_the_pictures() -> None:
    images = torch.rand(1, 1, 16, 16, requires_grad=True)

    look(images, (0, 0, 16, 16), 4).sum().backward()

    assert images.grad is not None
    assert torch.allclose(images.grad, torch.full((1, 1, 16, 16), 1 / 16), atol=1e-5)
