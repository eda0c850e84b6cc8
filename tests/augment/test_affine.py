"""Affine: crops by hand and against torchvision's, and nothing from beyond the edge."""

import math
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import affine as by_torchvision
from torchvision.transforms.v2.functional import resized_crop

from selfsight.augment import affine
from selfsight.augment.affine import crop_matrix, sample, turned


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
    ("reduction", "most"),
    [(1, 1e-5), (1.25, 0.004), (1.5, 0.006), (2, 0.01), (3, 0.008), (4, 0.015)],
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


def test_a_quarter_turn_is_a_transpose_and_a_flip() -> None:
    images = torch.rand(1, 3, 9, 9)
    whole = crop_matrix(torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([False]), 9)

    matrix = turned(whole, torch.tensor([math.pi / 2]), torch.zeros(1), 9)

    found = sample(images, torch.tensor([[9, 9]]), matrix, 9)
    assert torch.allclose(found, torch.rot90(images, -1, dims=(-2, -1)), atol=1e-5)  # clockwise


def test_a_shear_by_hand() -> None:
    # A lean of 45 degrees on 4 x 4: a row one further down than the centre moves one to the left.
    # Row centres lie at -1.5, -0.5, 0.5, 1.5 from the middle.
    whole = crop_matrix(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([False]), 4)

    matrix = turned(whole, torch.zeros(1), torch.tensor([math.pi / 4]), 4)

    corner = matrix[0] @ torch.tensor([0.5, 0.5, 1.0])
    assert torch.allclose(matrix[0], torch.tensor([[1.0, 1, -2], [0, 1, 0]]), atol=1e-6)
    assert torch.allclose(corner, torch.tensor([-1.0, 0.5]), atol=1e-6)


@pytest.mark.parametrize(("degrees", "shear"), [(20, 0), (0, 25), (-33, 12), (170, 5)])
def test_turns_and_shears_are_torchvisions(photo: Tensor, degrees: float, shear: float) -> None:
    side, size = 192, 192
    whole = crop_matrix(torch.tensor([[0.0, 0, side, side]]), torch.tensor([False]), size)
    angle, lean = (torch.tensor([math.radians(x)]) for x in (degrees, shear))

    found = sample(photo, torch.tensor([[side, side]]), turned(whole, angle, lean, size), size)

    expected = by_torchvision(
        photo, degrees, [0, 0], 1.0, [shear, 0.0], interpolation=InterpolationMode.BILINEAR
    )
    inside = (slice(None), slice(None), slice(60, 132), slice(60, 132))  # no corner reaches in here
    assert torch.allclose(found[inside], expected[inside], atol=2e-4)


def test_a_turned_crop_shows_the_picture_beyond_its_box_and_the_edge_beyond_that() -> None:
    across = torch.arange(24.0).expand(1, 1, 24, 24) / 24  # rises by 1/24 a pixel to the right
    middle = crop_matrix(torch.tensor([[8.0, 8, 8, 8]]), torch.tensor([False]), 8)
    matrix = turned(middle, torch.tensor([math.pi / 4]), torch.zeros(1), 8)

    found = sample(across, torch.tensor([[24, 24]]), matrix, 8)
    at_edge = sample(across, torch.tensor([[24, 14]]), matrix, 8)

    centre = torch.arange(8) + 0.5 - 4
    reached = 12 + (centre[None, :] + centre[:, None]) * math.sqrt(0.5)  # x on the canvas
    assert torch.allclose(found[0, 0], (reached - 0.5) / 24, atol=1e-5)
    assert torch.allclose(at_edge[0, 0], (reached.clamp(max=13.5) - 0.5) / 24, atol=1e-5)


@pytest.mark.parametrize(
    ("span", "level"), [(0.5, 0), (1.0, 0), (1.69, 0), (1.71, 1), (3.39, 1), (3.41, 2)]
)
def test_the_copy_is_halved_from_a_span_of_1_7_on(span: float, level: int) -> None:
    matrix = crop_matrix(torch.tensor([[0.0, 0, 8 * span, 8 * span]]), torch.tensor([True]), 8)

    found = affine._level(matrix)  # pyright: ignore[reportPrivateUsage] -- the rule under test

    assert found.tolist() == [level]


@pytest.mark.parametrize(("dtype", "full"), [(torch.uint8, 255), (torch.uint16, 65535)])
def test_stored_whole_numbers_give_fractions(dtype: torch.dtype, full: int) -> None:
    values = torch.randint(0, full + 1, (5, 2, 20, 20))
    boxes = torch.tensor(
        [[0.0, 0, 20, 20], [3, 4, 8, 8], [0, 0, 8, 16], [1, 1, 9, 9], [0, 0, 8, 8]]
    )
    matrix = crop_matrix(boxes, torch.tensor([True, False] * 2 + [True]), 8)
    extent = torch.tensor([[20, 20]] * 5)

    found = sample(values.to(dtype), extent, matrix, 8)

    assert found.dtype == torch.float32
    assert torch.allclose(found, sample(values / full, extent, matrix, 8), atol=1e-6)


def test_a_few_at_a_time_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(7, 3, 40, 40)
    corner, side = torch.rand(7, 2) * 5, 5 + torch.rand(7, 2) * 30
    matrix = crop_matrix(torch.cat([corner, side], dim=1), torch.rand(7) < 0.5, 9)
    extent = torch.tensor([[40, 40]] * 7)
    at_once = sample(images, extent, matrix, 9)

    monkeypatch.setattr(affine, "AT_A_TIME", 2 * 3 * 40 * 40)

    assert torch.equal(sample(images, extent, matrix, 9), at_once)


def test_a_straight_view_has_the_same_bits_beside_a_turned_one() -> None:
    images, extent = torch.rand(2, 3, 20, 20), torch.tensor([[20, 20], [13, 17]])
    straight = crop_matrix(
        torch.tensor([[1.3, 2.1, 9.7, 8.2], [0.4, 0.6, 11, 12]]), torch.tensor([True, False]), 8
    )
    mixed = torch.stack([straight[0], turned(straight, torch.ones(2), torch.zeros(2), 8)[1]])

    beside = sample(images, extent, mixed, 8)

    assert torch.equal(beside[0], sample(images, extent, straight, 8)[0])
    assert not torch.allclose(beside[1], sample(images, extent, straight, 8)[1], atol=0.01)
