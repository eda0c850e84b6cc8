"""Relative position: sides by hand, the price of a blind guess, and no way to tell by the edges."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from noise import noise_fields, smooth_fields
from selfsight.augment.tile_grid import cut_tiles
from selfsight.augment.views import random_view
from selfsight.data.pictures.batch import Images
from selfsight.draws import Draws
from selfsight.encoders import Encoder, build
from selfsight.tasks.relative_position import (
    GAP,
    JITTER,
    SIDES,
    RelativePosition,
    layout_of,
    neighbouring_pairs,
)

PARTS = {"stem": 16, "widths": (16, 32)}


def relative_position(size: int = 32, channels: int = 3, **settings: Any) -> RelativePosition:
    encoder = build("small", size=size, channels=channels, arguments=PARTS)
    return RelativePosition(encoder, encoder.dim, size=size, **settings)


def side_of(first: int, second: int) -> int:
    pairs, sides = neighbouring_pairs()
    return int(sides[(pairs == torch.tensor([first, second])).all(dim=1)].item())


def test_sides_go_round_in_reading_order() -> None:
    around_the_middle = [0, 1, 2, 3, 5, 6, 7, 8]

    assert [side_of(4, second) for second in around_the_middle] == list(range(8))
    assert SIDES[side_of(0, 4)] == (1, 1)  # below, to the right
    assert SIDES[side_of(4, 3)] == (0, -1)  # level, to the left


def test_the_other_way_round_is_the_opposite_side() -> None:
    pairs, sides = neighbouring_pairs()

    assert len(pairs) == len({(a, b) for a, b in pairs.tolist()}) == 40
    for (first, second), side in zip(pairs.tolist(), sides.tolist(), strict=True):
        assert side_of(second, first) == 7 - side


def test_patches_come_from_their_places() -> None:
    line = torch.arange(36.0) / 36
    ramp = torch.stack([line[:, None].expand(36, 36), line.expand(36, 36)])
    batch = Images.of(ramp.expand(6, 2, 36, 36).contiguous())
    task = RelativePosition(nn.Identity(), 1, size=36, coarse=0.0, least_scale=1.0)

    patches, sides = task.hide(batch)

    middle = patches.unflatten(0, (-1, 9)).mean(dim=(-2, -1))  # (6, 9, 2) down, across
    mirrored = middle[:, 0, 1] > middle[:, 2, 1]
    assert 0 < mirrored.sum() < 6
    middle[mirrored, :, 1] = 1 - middle[mirrored, :, 1]
    cells = (middle * 3).long()
    assert torch.equal(cells[..., 0] * 3 + cells[..., 1], torch.arange(9).expand(6, 9))
    assert torch.equal(sides, neighbouring_pairs()[1].expand(6, 40))


def test_blind_guess_costs_log8() -> None:
    task = relative_position()
    _, sides = neighbouring_pairs()

    score = task.score(torch.zeros(3, 40, 8), sides.expand(3, 40))

    assert score.loss.item() == pytest.approx(math.log(8))
    assert (task.blind, task.chance) == (pytest.approx(math.log(8)), 1 / 8)


@pytest.mark.parametrize("side", [0, 1])
def test_always_naming_one_side_is_right_an_eighth_of_the_time(side: int) -> None:
    logits = torch.zeros(2, 40, 8)
    logits[..., side] = 1

    found = relative_position().score(logits, neighbouring_pairs()[1].expand(2, 40))

    assert found.metrics["accuracy"].item() == pytest.approx(1 / 8)


def test_patches_have_the_side_they_should() -> None:
    images = Images.of(torch.rand(2, 3, 40, 40))

    assert relative_position(size=112).hide(images)[0].shape == (18, 3, 26, 26)
    assert relative_position(size=32).hide(images)[0].shape == (18, 3, 7, 7)
    assert relative_position(size=24).hide(images)[0].shape == (18, 3, 5, 5)


@pytest.mark.parametrize("size", [24, 32, 48, 96, 112, 224, 400])
def test_gaps_are_the_papers(size: int) -> None:
    """Of patches of 96 pixels the gaps are 48 on the average, each patch moved by at most 7."""
    line = torch.arange(float(size))
    place = torch.stack([line[:, None].expand(size, size), line.expand(size, size)])
    batch = Images.of(place.expand(400, 2, size, size).contiguous())
    task = RelativePosition(nn.Identity(), 1, size=size, coarse=0.0)
    side, gap, play = task.layout

    tiles = cut_tiles(batch.images, batch, 3, side, pitch=side + gap, play=play)

    first = tiles[..., 0, 0].unflatten(1, (3, 3))  # (400, 3, 3, 2) top and left
    down, across = (first[..., axis].diff(dim=axis + 1).flatten() - side for axis in (0, 1))
    # To half a pixel, which is what patches of whole pixels can have.
    for found in (down, across):
        assert found.min() >= 48 / 96 * side - 14 / 96 * side - 0.5
        assert found.max() <= 48 / 96 * side + 14 / 96 * side + 1
        assert found.mean().item() == pytest.approx(side / 2, abs=0.5 + 0.1)
        # Of the difference of two even draws from 0 to the play, the middle is likeliest.
        shares = (found - gap + play).long().bincount(minlength=2 * play + 1) / len(found)
        steps = torch.arange(-play, play + 1)
        torch.testing.assert_close(
            shares, (play + 1 - steps.abs()) / (play + 1) ** 2, rtol=0, atol=0.03
        )
    assert first.amax() + side <= size


def test_patches_are_cut_where_the_layout_says() -> None:
    task = RelativePosition(nn.Identity(), 1, size=112, coarse=0.0)

    assert task.layout == (26, 13, 4)
    batch = Images.of(torch.rand(3, 3, 150, 150))
    crops = random_view(batch, 112, scale=(0.5, 1.0), ratio=(1.0, 1.0))
    name = "relative-position/patches"
    expected = cut_tiles(crops, batch, 3, 26, pitch=39, play=4, name=name)
    assert torch.equal(task.hide(batch)[0], expected.flatten(0, 1))


@pytest.mark.parametrize(
    ("settings", "colours", "over"),
    [
        ({}, "projected", "picture"),
        ({"colours": "lightness"}, "lightness", "picture"),
        ({"colours": "dropped"}, "all", "picture"),
        ({"colours": "all", "standardised": False}, "all", None),
    ],
)
def test_the_encoder_is_fed_as_the_settings_say(
    settings: dict[str, Any], colours: str, over: str | None
) -> None:
    encoder = relative_position(**settings).encoder

    assert isinstance(encoder, Encoder)
    assert (encoder.recipe.feed.colours, encoder.recipe.feed.standardised) == (colours, over)


def test_dropped_colours_leave_one_channel() -> None:
    task = relative_position(colours="dropped", coarse=0.0)

    patches, _ = task.hide(Images.of(torch.rand(4, 3, 32, 32)))

    noisy = patches.amax(dim=(2, 3)) - patches.amin(dim=(2, 3)) < 1 / 200  # (36, 3)
    assert (noisy.sum(dim=1) == 2).all()


def test_some_patches_are_coarse() -> None:
    batch = Images.of(torch.rand(50, 3, 48, 48))
    sharp, _ = relative_position(size=48, coarse=0.0).hide(batch)

    found, _ = relative_position(size=48, coarse=0.25).hide(batch)

    changed = (found != sharp).flatten(1).any(dim=1).float().mean().item()
    assert changed == pytest.approx(0.25, abs=0.08)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gap": -0.1}, "gap must be at least 0 and finite, got -0.1"),
        ({"gap": 40.0}, "crops must have 3 pixels or more for 3 patches, got 32"),
        ({"jitter": 0.3}, "jitter must be from 0 to half the gap, 0.25, got 0.3"),
        ({"jitter": math.nan}, "jitter must be from 0 to half the gap, 0.25, got nan"),
        ({"colours": "red"}, "colours must be one of projected, dropped, lightness, all, got 'red"),
        ({"coarse": 1.5}, "coarse must be a share of the patches, from 0 to 1, got 1.5"),
        ({"least_scale": math.nan}, "least_scale must be above 0 and at most 1, got nan"),
        ({"hidden_width": 0}, "hidden_width must be at least 1, got 0"),
    ],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        relative_position(**settings)


@pytest.mark.parametrize("channels", [2, 4])
def test_lightness_of_other_channels_is_refused_by_name(channels: int) -> None:
    match = (
        f"relative-position shows lightness of pictures of 1 or 3 channels alone, got {channels}"
    )
    with pytest.raises(ValueError, match=match):
        relative_position(channels=channels, colours="lightness")
    for known in (1, 3):
        task = relative_position(channels=known, colours="lightness")
        assert task(Images.of(torch.rand(2, known, 32, 32))).loss.isfinite()


def test_tiny_pictures_make_no_sense() -> None:
    assert 16 < RelativePosition.needs.least_side <= 28


def test_logits_are_those_of_one_linear_layer_on_each_pair() -> None:
    task = relative_position().double().eval()
    patches, sides = task.hide(Images.of(torch.rand(2, 3, 32, 32)))
    patches = patches.double()

    logits = task.predict(patches)

    features = task.encoder(patches).view(2, 9, -1)
    weight = torch.cat([task.first.weight, task.second.weight], dim=1)
    costs: dict[int, list[Tensor]] = {side: [] for side in range(8)}
    for picture in range(2):
        for number, (first, second) in enumerate(task.pairs.tolist()):
            pair = torch.cat([features[picture, first], features[picture, second]])
            alone = task.joint((weight @ pair)[None])[0]
            torch.testing.assert_close(logits[picture, number], alone)
            side = int(sides[picture, number])
            costs[side].append(torch.logsumexp(alone, dim=0) - alone[side])
    expected = torch.stack([torch.stack(of).mean() for of in costs.values()]).mean()
    assert task.score(logits, sides).loss.item() == pytest.approx(expected.item(), rel=1e-5)


def ramps(generator: torch.Generator, count: int) -> Tensor:
    """Make pictures that get brighter downward by the same amount everywhere."""
    ramp = (torch.arange(36.0) / 48)[:, None].expand(36, 36)
    return ramp + 0.2 * torch.rand(count, 1, 36, 36, generator=generator)


def accuracy_after_training(
    make: Callable[[torch.Generator, int], Tensor], *, steps: int, **settings: Any
) -> float:
    """Train on fresh pictures every step, then answer for fresh ones: -> share of sides told."""
    generator = torch.Generator().manual_seed(0)

    def fresh(first: int, count: int) -> Images:
        batch = Images.of(make(generator, count))
        index = batch.index + first
        return batch._replace(index=index, draws=Draws(0, 0, index))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        side = layout_of(36, settings.get("gap", GAP), settings.get("jitter", JITTER)).side
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(side * side, 64), nn.ReLU())
        task = RelativePosition(encoder, 64, size=36, coarse=0.0, **settings)
    optimizer = torch.optim.Adam(task.parameters(), lr=3e-3)
    for step in range(steps):
        loss = task(fresh(32 * step, 32)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return task(fresh(10**6, 500)).metrics["accuracy"].item()


def test_noise_is_told_by_chance_only() -> None:
    noise = partial(noise_fields, side=36)
    assert accuracy_after_training(noise, steps=50) == pytest.approx(1 / 8, abs=0.02)


@pytest.mark.slow
def test_lines_that_go_on_tell_the_side_without_a_gap_and_not_with_it() -> None:
    smooth = partial(smooth_fields, side=36, cell=3)
    with_gap = accuracy_after_training(smooth, steps=200, gap=1.0)
    without = accuracy_after_training(smooth, steps=200, gap=0.0, jitter=0.0)

    assert with_gap == pytest.approx(1 / 8, abs=0.03)
    assert without > 0.3


def test_brightness_tells_the_side_only_where_patches_are_not_standardised() -> None:
    cured = accuracy_after_training(ramps, steps=50)
    plain = accuracy_after_training(ramps, steps=50, standardised=False)

    assert cured == pytest.approx(1 / 8, abs=0.03)
    assert plain > 0.25
