"""Jigsaw: shuffles by hand, the price of a blind guess, and no way to solve it by the edges."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noise import noise_fields, smooth_fields
from selfsight.data.pictures.batch import Images
from selfsight.draws import Draws
from selfsight.encoders import Encoder, build
from selfsight.tasks.base import Facts
from selfsight.tasks.jigsaw import Jigsaw

PARTS = {"stem": 16, "widths": (16, 32)}


def jigsaw(size: int = 32, channels: int = 3, **settings: Any) -> Jigsaw:
    encoder = build("small", size=size, channels=channels, arguments=PARTS)
    return Jigsaw(encoder, encoder.dim, size=size, **settings)


def quadrants(count: int = 8) -> Images:
    """Make pictures whose four quarters are of grey 0, 1/4, 1/2 and 3/4."""
    quarter = torch.tensor([[0.0, 0.25], [0.5, 0.75]])
    picture = quarter.repeat_interleave(16, dim=0).repeat_interleave(16, dim=1)
    return Images.of(picture.expand(count, 3, 32, 32).contiguous())


def test_a_permutation_says_which_cell_is_shown_where() -> None:
    task = jigsaw(tile=0.5, least_scale=1.0)

    tiles, numbers = task.hide(quadrants())

    shown = (4 * tiles.unflatten(0, (-1, 4)).mean(dim=(2, 3, 4))).round().long()
    assert torch.equal(shown, task.permutations[numbers])
    assert len(set(numbers.tolist())) > 1  # every picture has its own


def test_tiles_put_together_again_are_in_their_places() -> None:
    task, batch = jigsaw(tile=0.5, least_scale=1.0), quadrants()

    solved = task.put_together(*task.hide(batch))

    torch.testing.assert_close(solved, F.avg_pool2d(batch.images, 2), atol=1e-3, rtol=0)


def test_blind_guess_costs_log_of_the_permutations() -> None:
    small, large = jigsaw(), jigsaw(size=96, grid=3)

    assert (len(small.permutations), len(large.permutations)) == (24, 100)
    assert (small.blind, small.chance) == (pytest.approx(math.log(24)), 1 / 24)
    assert (large.blind, large.chance) == (pytest.approx(math.log(100)), 1 / 100)
    loss = large.score(torch.zeros(8, 100), torch.arange(8)).loss
    assert loss.item() == pytest.approx(math.log(100))


def test_accuracy_is_the_share_of_puzzles_solved() -> None:
    logits = torch.eye(24)[[0, 1, 2, 0]]

    assert jigsaw().score(logits, torch.arange(4)).metrics["accuracy"].item() == 0.75


def test_tiles_have_the_sides_they_should() -> None:
    assert jigsaw().hide(quadrants(2))[0].shape == (8, 3, 12, 12)
    assert jigsaw(size=96, grid=3).hide(quadrants(2))[0].shape == (18, 3, 24, 24)


def test_every_permutation_is_drawn_equally_often() -> None:
    _, numbers = jigsaw().hide(Images.of(torch.zeros(2400, 3, 32, 32, dtype=torch.uint8)))

    counts = numbers.bincount(minlength=24)
    assert ((counts - 100).abs() < 50).all()


def test_some_pictures_are_grey() -> None:
    task = jigsaw(grey=0.25)

    tiles = task.cut(Images.of(torch.rand(400, 3, 32, 32)))

    grey = (tiles.amax(dim=2) - tiles.amin(dim=2)).amax(dim=(2, 3)) < 1e-5  # (400, 4)
    assert torch.equal(grey.any(dim=1), grey.all(dim=1))  # a picture's tiles alike
    assert grey[:, 0].float().mean().item() == pytest.approx(0.25, abs=0.08)


def test_the_grid_follows_the_side() -> None:
    facts = Facts(samples=100, classes=0, channels=3, side=48, batch=8)

    assert Jigsaw.derive(facts) == {"grid": 2, "permutations": 24}
    assert Jigsaw.derive(replace(facts, side=96)) == {"grid": 3, "permutations": 100}
    asked = replace(facts, chosen={"grid": 3})
    assert Jigsaw.derive(asked)["permutations"] == 100


def test_the_encoder_is_fed_standardised_tiles() -> None:
    task, plain = jigsaw(), jigsaw(standardised=False)

    assert isinstance(task.encoder, Encoder)
    assert isinstance(plain.encoder, Encoder)
    assert task.encoder.recipe.feed.standardised == "channel"
    assert plain.encoder.recipe.feed.standardised is None


def test_a_tile_is_encoded_without_looking_at_the_others() -> None:
    task = jigsaw().eval()
    tiles, _ = task.hide(Images.of(torch.rand(2, 3, 32, 32)))

    together = task.encoder(tiles)

    torch.testing.assert_close(together[5:6], task.encoder(tiles[5:6]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": 4}, "grid must be 2 or 3 tiles a side, got 4"),
        ({"permutations": 25}, "permutations must be from 2 to 24, all those of 4 tiles, got 25"),
        ({"permutations": 0}, "permutations must be from 2 to 24, all those of 4 tiles, got 0"),
        ({"tile": 0.0}, "share of its cell must be above 0 and at most 1, got 0.0"),
        ({"grey": 1.5}, "grey must be a share of the pictures, from 0 to 1, got 1.5"),
        ({"hidden_width": 0}, "tile_width and hidden_width must be at least 1, got 0"),
        ({"least_scale": 0.0}, "least_scale must be above 0 and at most 1, got 0.0"),
        ({"least_scale": math.nan}, "least_scale must be above 0 and at most 1, got nan"),
    ],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jigsaw(**settings)


def test_logits_are_those_of_a_plain_loop_over_pictures_and_tiles() -> None:
    task = jigsaw().double().eval()
    tiles, numbers = task.hide(Images.of(torch.rand(3, 3, 32, 32)))
    tiles = tiles.double()

    logits = task.predict(tiles)

    costs: list[Tensor] = []
    for picture in range(3):
        parts = [task.each(task.encoder(tiles[4 * picture + j][None]))[0] for j in range(4)]
        alone = task.joint(torch.cat(parts)[None])[0]
        torch.testing.assert_close(logits[picture], alone)
        costs.append(torch.logsumexp(alone, dim=0) - alone[numbers[picture]])
    loss = task.score(logits, numbers).loss
    assert loss.item() == pytest.approx(torch.stack(costs).mean().item(), rel=1e-5)


def ramps(generator: torch.Generator, count: int) -> Tensor:
    """Make pictures that get brighter to the right and downward by the same amount everywhere."""
    line = torch.arange(32.0) / 64
    ramp = line[:, None] / 2 + line
    return ramp + 0.2 * torch.rand(count, 1, 32, 32, generator=generator)


def accuracy_after_training(
    make: Callable[[torch.Generator, int], Tensor], *, steps: int, **settings: Any
) -> float:
    """Train on fresh pictures every step, then solve fresh puzzles: -> share solved."""
    generator = torch.Generator().manual_seed(0)

    def fresh(first: int, count: int) -> Images:
        batch = Images.of(make(generator, count))
        index = batch.index + first
        return batch._replace(index=index, draws=Draws(0, 0, index))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Flatten(), nn.LazyLinear(64), nn.ReLU())
        side = round(16 * settings.get("tile", 0.75))
        encoder(torch.zeros(1, 1, side, side))
        task = Jigsaw(encoder, 64, size=32, **settings)
    optimizer = torch.optim.Adam(task.parameters(), lr=3e-3)
    for step in range(steps):
        loss = task(fresh(64 * step, 64)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return task(fresh(10**6, 1000)).metrics["accuracy"].item()


def test_noise_is_solved_by_chance_only() -> None:
    found = accuracy_after_training(partial(noise_fields, side=32), steps=60)

    assert found == pytest.approx(1 / 24, abs=0.025)


@pytest.mark.slow
def test_lines_that_go_on_solve_puzzles_without_a_gap_and_none_with_it() -> None:
    # Two permutations: with all 24 a short training does not find how to use the edges.
    smooth = partial(smooth_fields, side=32, cell=4)
    with_gap = accuracy_after_training(smooth, steps=250, permutations=2)
    without = accuracy_after_training(smooth, steps=250, permutations=2, tile=1.0)

    assert with_gap == pytest.approx(0.5, abs=0.06)
    assert without > 0.7


def test_brightness_solves_puzzles_only_where_tiles_are_not_standardised() -> None:
    cured = accuracy_after_training(ramps, steps=60)
    plain = accuracy_after_training(ramps, steps=60, standardised=False)

    assert cured == pytest.approx(1 / 24, abs=0.025)
    assert plain > 0.3
