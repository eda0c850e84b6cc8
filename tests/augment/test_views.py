"""Views: boxes are distributed as torchvision's, each drawn for its sample."""

import math
from typing import Any

import pytest
import torch
from scipy.stats import ks_2samp, kstest, uniform
from torch import Tensor
from torchvision.transforms.v2 import RandomResizedCrop

from selfsight.augment.views import centre_view, random_boxes, random_view
from selfsight.data.pictures.batch import Images
from selfsight.data.pictures.scaling import as_float
from selfsight.draws import Draws
from selfsight.errors import UsageError

SCALE, RATIO = (0.2, 1.0), (3 / 4, 4 / 3)
MANY = 4000


def sized(height: int, width: int, count: int = MANY) -> Images:
    """Pictures of which only the size is used."""
    index = torch.arange(count)
    extent = torch.tensor([[height, width]]).expand(count, 2)
    return Images(torch.zeros(count, 1, 1, 1), extent, index, Draws(0, 0, index))


def by_torchvision(height: int, width: int, scale: tuple[float, float] = SCALE) -> Tensor:
    """Draw boxes (N, 4) as torchvision does, in whole pixels."""
    picture = torch.zeros(1, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [
            RandomResizedCrop.get_params(picture, scale=list(scale), ratio=list(RATIO))
            for _ in range(MANY)
        ]
    return torch.tensor(drawn, dtype=torch.float32)


def apart(a: Tensor, b: Tensor) -> float:
    """Measure the greatest distance between two empirical distributions, in [0, 1]."""
    grid = torch.cat([a, b]).sort().values
    below = [torch.searchsorted(x.sort().values, grid, right=True) / len(x) for x in (a, b)]
    return (below[0] - below[1]).abs().max().item()


# Heights and widths large enough that torchvision's rounding to whole pixels hardly matters.
@pytest.mark.parametrize("size", [(900, 900), (400, 1200), (1200, 400)])
def test_boxes_spread_as_torchvisions(size: tuple[int, int]) -> None:
    ours, theirs = random_boxes(sized(*size), SCALE, RATIO, "view").round(), by_torchvision(*size)

    chance = 1.95 * math.sqrt(2 / MANY)  # Kolmogorov and Smirnov: 1 in 1,000 lies above
    for quantity in (
        lambda box: box[:, 2] * box[:, 3],  # area
        lambda box: box[:, 3] / box[:, 2],  # ratio of width to height
        lambda box: box[:, 0],
        lambda box: box[:, 1],
    ):
        a, b = quantity(ours), quantity(theirs)
        assert apart(a, b) < chance
        levels = torch.tensor([0.1, 0.25, 0.75, 0.9])
        spread = (b.max() - b.min()).item()
        assert torch.allclose(a.quantile(levels), b.quantile(levels), atol=0.06 * spread)
    area = torch.stack([(box[:, 2] * box[:, 3]).mean() for box in (ours, theirs)])
    assert area[0] / area[1] == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("size", [(37, 37), (20, 61), (61, 20), (5, 64)])
def test_boxes_lie_within_the_picture(size: tuple[int, int]) -> None:
    top, left, tall, wide = random_boxes(sized(*size), SCALE, RATIO, "view").unbind(dim=1)

    assert min(top.min(), left.min()) >= 0
    assert (top + tall).max() <= size[0] + 1e-4
    assert (left + wide).max() <= size[1] + 1e-4
    ratio = wide / tall
    assert ratio.min() >= RATIO[0] - 1e-4
    assert ratio.max() <= RATIO[1] + 1e-4


def test_a_picture_where_no_try_fits_gives_its_largest_central_box() -> None:
    # All of a 10 x 60 strip was asked for: ten boxes that do not fit, so 10 x 13.3 in the middle.
    box = random_boxes(sized(10, 60, 3), (1.0, 1.0), RATIO, "view")

    assert torch.allclose(box, torch.tensor([0, (60 - 40 / 3) / 2, 10, 40 / 3]).expand(3, 4))


def test_about_half_of_the_crops_are_mirrored() -> None:
    ramp = torch.linspace(0, 1, 8).expand(MANY, 1, 8, 8)

    crops = random_view(Images.of(ramp), 4)

    mirrored = (crops[..., 0] > crops[..., -1]).all(dim=(1, 2)).float().mean()
    assert mirrored == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(MANY))


def test_crops_do_not_depend_on_batch_mates() -> None:
    images, index = torch.rand(6, 3, 24, 24), torch.arange(6)
    extent = torch.tensor([[24, 24], [24, 11], [13, 24], [24, 24], [9, 9], [24, 17]])
    rows = torch.tensor([4, 1, 5])
    together = Images(images, extent, index, Draws(0, 0, index))
    apart = Images(images[rows], extent[rows], index[rows], Draws(0, 0, index[rows]))

    assert torch.allclose(random_view(together, 16)[rows], random_view(apart, 16), atol=1e-5)


def test_another_epoch_or_name_gives_other_crops() -> None:
    images = torch.rand(4, 3, 24, 24)
    base = random_view(Images.of(images), 16)

    assert not torch.allclose(base, random_view(Images.of(images, epoch=1), 16), atol=0.1)
    assert not torch.allclose(base, random_view(Images.of(images), 16, name="other"), atol=0.1)
    assert torch.equal(base, random_view(Images.of(images), 16))


def test_stored_bytes_give_the_crops_of_their_fractions() -> None:
    stored = torch.randint(0, 256, (4, 3, 24, 24), dtype=torch.uint8)

    from_bytes = random_view(Images.of(stored), 16)

    assert from_bytes.dtype == torch.float32
    assert torch.allclose(from_bytes, random_view(Images.of(stored / 255), 16), atol=1e-6)
    assert from_bytes.min() >= 0
    assert from_bytes.max() <= 1 + 1e-6


def test_autocast_changes_no_crop() -> None:
    batch = Images.of(torch.rand(4, 3, 40, 40))
    plain, centre = random_view(batch, 16), centre_view(batch.images, batch.extent, 16)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(random_view(batch, 16), plain)
        assert torch.equal(centre_view(batch.images, batch.extent, 16), centre)


@pytest.mark.parametrize("size", [8, 13, 32, 64])
def test_no_crop_shows_what_lies_beyond_its_picture(size: int) -> None:
    index = torch.arange(240)
    extent = 1 + (Draws(1, 0, index).uniform("extent", 2) * 64).long()
    inside = torch.arange(64)
    rows, columns = inside < extent[:, :1], inside < extent[:, 1:]  # each (B, 64)
    picture = rows[:, :, None] & columns[:, None, :]
    canvas = torch.where(picture, 0.25, 1.0)[:, None]
    batch = Images(canvas, extent, index, Draws(0, 0, index))

    for crops in (random_view(batch, size), centre_view(canvas, extent, size)):
        assert torch.allclose(crops, torch.full_like(crops, 0.25), atol=1e-4)


def test_the_centre_is_the_largest_centred_square() -> None:
    canvas = torch.rand(2, 3, 16, 16)
    extent = torch.tensor([[16, 8], [10, 14]])

    found = centre_view(canvas, extent, 8)

    assert torch.allclose(found[0], canvas[0, :, 4:12, :8], atol=1e-5)
    assert torch.allclose(centre_view(canvas, extent, 10)[1], canvas[1, :, :10, 2:12], atol=1e-5)


@pytest.mark.parametrize("size", [(900, 900), (400, 1200)])
def test_areas_and_ratios_pass_kolmogorov_and_smirnov_at_simclrs_scale(
    size: tuple[int, int],
) -> None:
    ours = random_boxes(sized(*size), (0.08, 1.0), RATIO, "view")
    theirs = by_torchvision(*size, scale=(0.08, 1.0))

    for quantity in (lambda box: box[:, 2] * box[:, 3], lambda box: (box[:, 3] / box[:, 2]).log()):
        found: Any = ks_2samp(quantity(ours.round()), quantity(theirs))
        assert found.pvalue > 1e-3


@pytest.mark.parametrize("flip", [0.0, 0.25, 1.0])
def test_the_share_mirrored_is_the_one_asked_for(flip: float) -> None:
    ramp = torch.linspace(0, 1, 8).expand(MANY, 1, 8, 8)

    crops = random_view(Images.of(ramp), 4, flip=flip)

    mirrored = (crops[..., 0] > crops[..., -1]).all(dim=(1, 2)).float().mean()
    assert mirrored == pytest.approx(flip, abs=4 * 0.5 / math.sqrt(MANY) * (0 < flip < 1))


def test_angles_come_evenly_from_both_sides() -> None:
    # Turned by t, a ramp rising to the right rises by cos t across and by sin t down.
    ramp = torch.arange(64.0).expand(MANY, 1, 64, 64) / 64
    whole = {"scale": (0.25, 0.25), "ratio": (1.0, 1.0), "flip": 0.0}

    crops = random_view(Images.of(ramp), 4, degrees=30, **whole)[:, 0]

    angle = torch.atan2(crops[:, 2, 1] - crops[:, 1, 1], crops[:, 1, 2] - crops[:, 1, 1])
    assert kstest((angle / math.pi * 180).numpy(), uniform(-30, 60).cdf).pvalue > 1e-3


def test_leans_come_evenly_from_both_sides() -> None:
    # Leaning by s, what is at (x, y) from the centre comes from (x + y tan s, y).
    ramp = torch.arange(64.0).expand(MANY, 1, 64, 64) / 64

    crops = random_view(Images.of(ramp), 4, scale=(0.25, 0.25), ratio=(1.0, 1.0), flip=0, shear=20)[
        :, 0
    ]

    lean = torch.atan((crops[:, 2, 1] - crops[:, 1, 1]) / (crops[:, 1, 2] - crops[:, 1, 1]))
    assert kstest((lean / math.pi * 180).numpy(), uniform(-20, 40).cdf).pvalue > 1e-3


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_no_turned_crop_shows_what_lies_beyond_its_picture(channels: int) -> None:
    canvas = torch.ones(50, channels, 40, 40)
    canvas[..., :23, :31] = 0.25
    batch = Images.of(canvas)._replace(extent=torch.tensor([[23, 31]] * 50))

    crops = random_view(batch, 13, degrees=180, shear=30)

    assert torch.allclose(crops, torch.full_like(crops, 0.25), atol=1e-4)


def test_a_turned_view_alone_is_the_same_to_the_bit() -> None:
    images = torch.rand(6, 3, 24, 24)
    together = random_view(Images.of(images), 8, degrees=20, shear=10)

    for row in range(6):
        index = torch.tensor([row])
        alone = Images(images[row : row + 1], torch.tensor([[24, 24]]), index, Draws(0, 0, index))
        assert torch.equal(random_view(alone, 8, degrees=20, shear=10)[0], together[row])


def test_sixteen_bits_become_fractions() -> None:
    stored = torch.tensor([0, 1, 65535]).to(torch.uint16)

    assert torch.equal(as_float(stored), torch.tensor([0, 1 / 65535, 1]))
    assert torch.equal(
        as_float(torch.tensor([0, 51, 255], dtype=torch.uint8)) * 5, torch.tensor([0, 1.0, 5])
    )


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"scale": (0.0, 1.0)}, r"scale must be shares .* got \(0.0, 1.0\)"),
        ({"scale": (0.5, 0.2)}, r"0 < least <= most <= 1, got \(0.5, 0.2\)"),
        ({"scale": (0.2, 1.5)}, "scale must be shares"),
        ({"scale": (math.nan, 1.0)}, "scale must be shares"),
        ({"ratio": (0.0, 1.0)}, "ratio must be two numbers"),
        ({"ratio": (2.0, 1.0)}, "ratio must be two numbers"),
        ({"flip": 1.1}, "flip must be a share of the pictures, from 0 to 1, got 1.1"),
        ({"degrees": -1.0}, "degrees must be from 0 to 180, got -1.0"),
        ({"degrees": math.nan}, "degrees must be from 0 to 180, got nan"),
        ({"shear": 90.0}, "shear must be from 0 to below 90 degrees, got 90.0"),
    ],
)
def test_settings_outside_their_ranges_are_refused(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        random_view(sized(8, 8, 2), 4, **setting)


def test_a_view_of_no_pixels_is_refused() -> None:
    with pytest.raises(UsageError, match="side must be at least 1 pixel, got 0"):
        random_view(sized(8, 8, 2), 0)
