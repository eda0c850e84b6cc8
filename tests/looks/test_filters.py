"""Filters: zero is grey, the strongest weight spans the range, and the sheet is a picture."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from selfsight.encoders import Feed, build
from selfsight.encoders.feed import colors_projected, gradients
from selfsight.encoders.patch_dictionary import LEAST_VARIANCE
from selfsight.looks.filters import ACROSS, GAP, as_pictures, draw_filters, first_filters, tiled


def test_zero_is_grey_and_the_strongest_weight_black_or_white() -> None:
    filters = torch.tensor([0.0, 2.0, -1.0]).view(1, 3, 1, 1)

    assert as_pictures(filters).flatten().tolist() == [0.5, 1.0, 0.25]


def test_filters_for_one_channel_are_drawn_in_grey() -> None:
    picture = as_pictures(torch.tensor([[1.0, -1.0]]).view(1, 1, 1, 2))

    assert picture.shape == (1, 3, 1, 2)
    assert picture[0, :, 0, 0].tolist() == [1.0, 1.0, 1.0]


def test_an_all_zero_filter_does_not_divide_by_zero() -> None:
    assert as_pictures(torch.zeros(2, 3, 3, 3)).eq(0.5).all()


def test_tiles_stand_in_rows_with_gaps() -> None:
    sheet = tiled(torch.zeros(ACROSS + 1, 3, 4, 5))

    assert sheet.shape == (2 * (4 + GAP) + GAP, ACROSS * (5 + GAP) + GAP, 3)
    assert sheet[0].eq(1).all()  # the gap above is white
    assert sheet[-2, -2].eq(1).all()  # and so is what no filter fills


def test_the_sheet_is_a_picture(tmp_path: Path) -> None:
    encoder = build("small", size=16)
    draw_filters(encoder, encoder, tmp_path / "filters.png")

    assert first_filters(encoder).shape == (32, 3, 3, 3)
    with Image.open(tmp_path / "filters.png") as sheet:
        assert min(sheet.size) > 200


def test_colours_that_are_not_fed_are_left_out_of_filters() -> None:
    encoder = build("small", size=16)
    weight = next(m for m in encoder.modules() if isinstance(m, torch.nn.Conv2d)).weight.detach()
    grey = first_filters(encoder.fed(Feed("lightness")))
    projected = first_filters(encoder.fed(Feed("projected")))

    assert torch.allclose(grey, weight.sum(dim=1, keepdim=True))
    green_magenta = torch.tensor([-1.0, 2.0, -1.0]).view(1, 3, 1, 1)
    assert (projected * green_magenta).sum(dim=1).abs().max() < 1e-6
    # Of a picture without that axis both filters say the same.
    picture = colors_projected(torch.rand(2, 3, 9, 9))
    both = [torch.nn.functional.conv2d(picture, one) for one in (weight, projected)]
    assert torch.allclose(both[0], both[1], atol=1e-5)


def test_filters_of_gradients_are_drawn_as_filters_of_grey() -> None:
    """Away from the border they say what the network says of the gradients, their length aside."""
    encoder = build("small", size=16)
    weight = next(m for m in encoder.modules() if isinstance(m, torch.nn.Conv2d)).weight.detach()
    with torch.no_grad():
        weight[:, 2] = 0
    filters = first_filters(encoder.fed(Feed("sobel")))
    picture = torch.rand(2, 3, 9, 9)
    of_gradients = torch.nn.functional.conv2d(gradients(picture), weight)
    of_grey = torch.nn.functional.conv2d(picture.mean(dim=1, keepdim=True), filters)

    assert filters.shape == (32, 1, 5, 5)
    assert torch.allclose(of_grey, of_gradients[..., 1:-1, 1:-1], atol=1e-5)


def test_filters_of_a_dictionary_say_what_its_centroids_say(tmp_path: Path) -> None:
    """z . c of its whitened patches: the filter times the patch, over its deviation, and no more
    than a constant beside it."""
    encoder = build("patch-dictionary", size=16, arguments={"centroids": 70, "patch": 4})
    model: Any = encoder.model
    numbers = 3 * 4 * 4
    noise = torch.Generator().manual_seed(0)
    mix = torch.eye(numbers) + 0.1 * torch.randn(numbers, numbers, generator=noise)
    model.take(torch.randn(numbers, generator=noise), mix, model.centroids.clone())
    filters = first_filters(encoder)
    patches = torch.rand(2, 3, 4, 4, generator=noise)
    deviations = [(p.var() + LEAST_VARIANCE).sqrt() for p in patches]
    by_filters = [
        (filters * patch).sum(dim=(1, 2, 3)) / s
        for patch, s in zip(patches, deviations, strict=True)
    ]
    by_centroids = model.whitened(patches) @ model.centroids.T

    assert filters.shape == (70, 3, 4, 4)
    constant = model.middle @ model.whitening @ model.centroids.T
    assert torch.allclose(torch.stack(by_filters) - constant, by_centroids, atol=1e-4)
    draw_filters(encoder, encoder, tmp_path / "filters.png")
    with Image.open(tmp_path / "filters.png") as sheet:
        assert min(sheet.size) > 200


def test_many_filters_make_a_square() -> None:
    assert tiled(torch.zeros(400, 3, 6, 6)).shape == (20 * 7 + 1, 20 * 7 + 1, 3)
