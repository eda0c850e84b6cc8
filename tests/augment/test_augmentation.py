"""Augmentation: each ingredient does its part, with the same result for one picture and many."""

import pytest
import torch
from torch import Tensor

from selfsight.augment import (
    Augmentation,
    ColorJitter,
    affine,
    augmented,
    blur,
    jitter_colors,
    random_view,
    solarise,
)
from selfsight.augment.color import say_that_colors_stay
from selfsight.augment.views import centre_view
from selfsight.data.pictures.batch import Images, LabelledImages
from selfsight.draws import Draws
from selfsight.errors import UsageError

ALL = ("crop", "flip", "turn", "jitter", "grey", "blur", "solarise")
FULL = Augmentation(degrees=15, shear=5, blur=0.5, solarise=0.2)


def canvases(count: int = 6, side: int = 44, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(
        0, 256, (count, channels, side, side), dtype=torch.uint8, generator=generator
    )


def test_the_recipe_is_its_parts_in_the_papers_order() -> None:
    batch = Images.of(canvases())

    found = augmented(batch, 32, FULL)

    views = random_view(batch, 32, scale=(0.08, 1.0), degrees=15, shear=5)
    views = jitter_colors(views, batch, ColorJitter())
    views = solarise(blur(views, batch), batch, share=0.2)
    assert torch.equal(found, views)


@pytest.mark.parametrize("exact", [False, True])
def test_a_picture_alone_has_the_bits_it_has_in_a_batch(exact: bool) -> None:
    augmentation = Augmentation(colors=ColorJitter(exact=exact), degrees=10, blur=0.5, solarise=0.5)
    images = canvases(9)
    together = augmented(Images.of(images), 24, augmentation)

    for row in range(9):
        index = torch.tensor([row])
        extent = torch.tensor([[44, 44]])
        alone = Images(images[row : row + 1], extent, index, Draws(0, 0, index))
        assert torch.equal(augmented(alone, 24, augmentation)[0], together[row])


@pytest.mark.parametrize("few", [1, 2, 4])
def test_a_few_at_a_time_give_the_same_bits(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Images.of(canvases(7))
    at_once = augmented(batch, 24, FULL)

    monkeypatch.setattr(affine, "AT_A_TIME", few * 3 * 44 * 44)

    assert torch.equal(augmented(batch, 24, FULL), at_once)


def test_the_same_draws_give_the_same_bits_and_others_other_views() -> None:
    images = canvases()
    once = augmented(Images.of(images, seed=3, epoch=2), 24, FULL)

    assert torch.equal(augmented(Images.of(images, seed=3, epoch=2), 24, FULL), once)
    for other in (Images.of(images, seed=4, epoch=2), Images.of(images, seed=3, epoch=3)):
        assert not torch.allclose(augmented(other, 24, FULL), once, atol=0.1)
    renamed = augmented(Images.of(images, seed=3, epoch=2), 24, FULL, name="other")
    assert not torch.allclose(renamed, once, atol=0.1)


def test_nothing_left_is_the_centred_square() -> None:
    batch = Images.of(canvases())._replace(extent=torch.tensor([[44, 30]] * 6))

    found = augmented(batch, 24, FULL.without(*ALL))

    assert torch.allclose(found, centre_view(batch.images, batch.extent, 24), atol=1e-5)


@pytest.mark.parametrize("ingredient", ALL)
def test_every_ingredient_changes_views_and_can_be_left_out(ingredient: str) -> None:
    batch = Images.of(canvases(20))
    others = [name for name in ALL if name != ingredient]
    plain = augmented(batch, 24, FULL.without(*ALL))

    alone = augmented(batch, 24, FULL.without(*others))

    assert not torch.allclose(alone, plain, atol=0.01)


def test_leaving_out_is_said_by_name() -> None:
    assert Augmentation().without("jitter", "grey").colors == ColorJitter(share=0.0, grey=0.0)
    assert Augmentation().without("jitter, grey", "") == Augmentation().without("jitter", "grey")
    assert Augmentation().without() == Augmentation()
    with pytest.raises(UsageError, match="unknown ingredient 'colour'"):
        Augmentation().without("colour")


@pytest.mark.parametrize(("size", "share"), [(32, 0.0), (95, 0.0), (96, 0.5), (224, 0.5)])
def test_blur_is_for_pictures_from_96_pixels_on(size: int, share: float) -> None:
    assert Augmentation().blurred_share(size) == share
    assert Augmentation(blur=0.1).blurred_share(size) == 0.1


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channels_keep_their_colours_and_are_cropped_and_blurred(
    channels: int, caplog: pytest.LogCaptureFixture
) -> None:
    say_that_colors_stay.cache_clear()
    batch = Images.of(canvases(channels=channels))

    found = augmented(batch, 24, FULL)
    augmented(batch, 24, FULL)

    assert found.shape == (6, channels, 24, 24)
    assert torch.equal(found, augmented(batch, 24, FULL.without("jitter", "grey")))
    assert len(caplog.messages) == 1


def test_sixteen_bits_give_the_views_of_their_fractions() -> None:
    stored = torch.randint(0, 65536, (4, 1, 30, 30))
    augmentation = FULL.without("solarise")  # a threshold may fall on either side by rounding

    found = augmented(Images.of(stored.to(torch.uint16)), 24, augmentation)

    assert torch.allclose(found, augmented(Images.of(stored / 65535), 24, augmentation), atol=1e-5)


def test_labels_change_no_view() -> None:
    images = canvases()

    labelled = augmented(LabelledImages.of(images, torch.zeros(6).long()), 24, FULL)

    assert torch.equal(labelled, augmented(Images.of(images), 24, FULL))


def test_autocast_changes_no_view_and_values_stay_in_range() -> None:
    batch = Images.of(canvases())
    plain = augmented(batch, 24, FULL)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = augmented(batch, 24, FULL)

    assert torch.equal(found, plain)
    assert found.dtype == torch.float32
    assert plain.min() >= 0
    assert plain.max() <= 1 + 1e-6


def test_one_and_two_threads_give_the_same_bits() -> None:
    batch, before = Images.of(canvases(40, side=70)), torch.get_num_threads()
    augmentation = Augmentation(blur=0.5, solarise=0.2)
    try:
        torch.set_num_threads(1)
        one = augmented(batch, 64, augmentation)
        torch.set_num_threads(2)
        two = augmented(batch, 64, augmentation)
    finally:
        torch.set_num_threads(before)

    assert torch.equal(one, two)


def test_the_stored_pictures_are_left_as_they_were() -> None:
    images = canvases() / 255
    before = images.clone()

    augmented(Images.of(images), 44, FULL.without("crop", "flip", "turn", "jitter"))

    assert torch.equal(images, before)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_a_gpu_makes_the_same_views(dtype: torch.dtype) -> None:
    canvases = torch.randint(0, 256, (64, 3, 170, 170)).to(dtype)
    here, there = Images.of(canvases), Images.of(canvases.cuda())
    augmentation = Augmentation(degrees=20, shear=10, solarise=0.2)

    expected = augmented(here, 96, augmentation)
    assert torch.allclose(augmented(there, 96, augmentation).cpu(), expected, atol=1e-4)
