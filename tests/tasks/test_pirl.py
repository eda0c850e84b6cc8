"""PIRL: what a puzzle holds, that both branches meet in the bank, and the paper's formula."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from making import features_of
from selfsight.data.pictures.batch import Images
from selfsight.draws import Draws
from selfsight.encoders import build
from selfsight.tasks.base import Epoch, Facts
from selfsight.tasks.instance_discrimination import Asked
from selfsight.tasks.pirl import PIRL, Embedded

SIZE = 26  # nine cells of 8 pixels, and two pixels over


def task_of(samples: int = 20, size: int = SIZE, **settings: Any) -> PIRL:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build("small", size=size, arguments={"stem": 8, "widths": (8, 16)})
        settings = {"samples": samples, "width": 8, "tile_width": 8} | settings
        return PIRL(encoder, encoder.dim, size=size, **settings)


def places(count: int, cell: int) -> Tensor:
    """Pictures in which every cell of a 3 x 3 grid is of one value: its number over 10."""
    numbers = torch.arange(9.0).view(3, 3) / 10
    spread = numbers.repeat_interleave(cell, 0).repeat_interleave(cell, 1)
    return spread.expand(count, 3, -1, -1).contiguous()


def orders(task: PIRL, batch: Images) -> list[list[int]]:
    """Read from puzzles of `places` which cell lies where."""
    laid = task.puzzles(batch)[:, 0, task.side // 2 :: task.side, task.side // 2 :: task.side]
    return (laid[:, :3, :3].flatten(1) * 10).round().int().tolist()


def test_a_puzzle_holds_every_tile_once_in_an_order_of_its_own() -> None:
    task = task_of(size=24, least_scale=1.0, without="crop,flip,jitter,grey")
    task.puzzle_augmentation = task.augmentation  # whole pictures, unchanged

    found = orders(task, Images.of(places(64, 8)))

    assert all(sorted(order) == list(range(9)) for order in found)
    assert len({tuple(order) for order in found}) == 64
    # Every cell comes to every place: a place of 64 puzzles is spared by a cell by chance once in
    # nine tries of (8/9)^64 = 0.0005.
    assert all(len({order[place] for order in found}) == 9 for place in range(9))


def test_tiles_are_seen_in_the_order_in_which_they_lie() -> None:
    task = task_of(size=24)
    seen: list[Tensor] = []
    task.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    puzzle = torch.zeros(1, 3, 24, 24)
    for place in range(9):
        row, column = divmod(place, 3)
        rows = slice(row * task.side, (row + 1) * task.side)
        columns = slice(column * task.side, (column + 1) * task.side)
        puzzle[..., rows, columns] = place / 10

    task.eval().embed_puzzles(puzzle.expand(2, -1, -1, -1))

    assert seen[0].shape == (18, 3, task.side, task.side)
    first = [tile.unique().tolist() for tile in seen[0][:9]]
    assert first == [pytest.approx([place / 10]) for place in range(9)]


def test_views_come_first_and_what_is_beyond_a_puzzle_is_black() -> None:
    task, batch = task_of(), Images.of(torch.rand(4, 3, 30, 30) / 2 + 0.5)

    pictures, asked = task.hide(batch)

    assert pictures.shape == (8, 3, SIZE, SIZE)
    assert pictures[:4].equal(task.views(batch)[0])
    assert pictures[4:].equal(task.puzzles(batch))
    extent = 3 * task.side
    assert task.side == 6  # three quarters of a cell of 8
    assert pictures[4:, :, extent:].abs().max() == pictures[4:, :, :, extent:].abs().max() == 0
    assert asked.places.tolist() == [0, 1, 2, 3]


def test_what_is_beyond_a_puzzle_is_not_looked_at() -> None:
    task = task_of().eval()
    puzzles = task.puzzles(Images.of(torch.rand(4, 3, 30, 30)))
    scribbled = puzzles.clone()
    scribbled[..., 3 * task.side :, :] = 1

    assert task.embed_puzzles(scribbled).equal(task.embed_puzzles(puzzles))


def softmax_cost(vector: list[float], place: int, entries: list[list[float]], t: float) -> float:
    weights = [
        math.exp(sum(m * v for m, v in zip(entry, vector, strict=True)) / t) for entry in entries
    ]
    return -math.log(weights[place] / sum(weights))


def test_the_loss_weighs_both_comparisons_with_the_memory() -> None:
    task = task_of(samples=6, temperature=0.5, puzzle_weight=0.25)
    pictures, asked = task.hide(
        Images.of(torch.rand(2, 3, 30, 30))._replace(index=torch.tensor([4, 1]))
    )
    embedded = task.predict(pictures)

    loss = task.score(embedded, asked).loss.item()

    entries = task.bank.entries.tolist()
    whole, tiles = (
        [softmax_cost(v, i, entries, 0.5) for v, i in zip(part.tolist(), (4, 1), strict=True)]
        for part in embedded
    )
    assert loss == pytest.approx((0.75 * sum(whole) + 0.25 * sum(tiles)) / 2, rel=1e-5)


def test_pictures_and_tiles_are_found_apart() -> None:
    task = task_of()
    index = torch.tensor([3, 17])
    embedded = Embedded(task.bank.entries[index], task.bank.entries[index.flip(0)])

    score = task.score(embedded, Asked(index, None))

    assert score.metrics["accuracy"].item() == 1
    assert score.metrics["accuracy_by_tiles"].item() == 0


def test_the_bank_follows_the_whole_picture() -> None:
    task = task_of(momentum=0.0, objective="nce", negatives=7)
    batch = Images.of(torch.rand(2, 3, 30, 30))
    before = task.bank.entries.clone()
    pictures, asked = task.hide(batch)
    embedded = task.predict(pictures)
    first = task.score(embedded, asked).loss

    assert task.score(embedded, asked).loss.equal(first)
    assert task.bank.entries.equal(before)
    told = task.after_step(0, 1)

    torch.testing.assert_close(task.bank.entries[:2], embedded.whole)
    assert task.bank.entries[2:].equal(before[2:])
    assert told["target_cosine"].isfinite()
    assert task.after_step(1, 2) == {}


def test_the_bank_begins_with_what_the_network_makes_of_the_pictures() -> None:
    task, images = task_of(samples=8), torch.rand(8, 3, SIZE, SIZE)
    task.look_at(Images.of(images))

    task.before_epoch(Epoch(0, 0, features_of(images)))

    torch.testing.assert_close(task.bank.entries, task.eval().embed(images))
    random = task_of(samples=8, filled=False)
    before = copy.deepcopy(random.state_dict())
    random.look_at(Images.of(images))
    random.before_epoch(Epoch(0, 0, features_of(images)))
    assert all(value.equal(before[key]) for key, value in random.state_dict().items())


@pytest.mark.parametrize("samples", [2, 8, 300])
def test_few_pictures_do(samples: int) -> None:
    facts = Facts(samples=samples, classes=0, channels=3, side=SIZE, batch=min(samples, 8))
    task = task_of(**PIRL.derive(facts))

    task(Images.of(torch.rand(facts.batch, 3, 30, 30))).loss.backward()

    assert task.after_step(0, 1)["target_cosine"].isfinite()
    assert task.blind == pytest.approx(math.log(samples))


@pytest.mark.parametrize(
    ("samples", "negatives"),
    [(8192, 8191), (50_000, 4096), (400_000, 10_000), (1_281_167, 32_000), (10**8, 32_000)],
)
def test_negatives_follow_the_data_up_to_the_papers(samples: int, negatives: int) -> None:
    assert PIRL.derive(Facts(samples, 0, 3, 32, 64))["negatives"] == negatives


def test_the_draws_of_a_puzzle_are_not_those_of_the_view() -> None:
    index = torch.arange(3)
    images = torch.rand(3, 3, 30, 30)
    task = task_of()
    first, second = (
        task.puzzles(Images.of(images)._replace(draws=Draws(0, epoch, index))) for epoch in (0, 1)
    )

    assert not first.equal(second)
    assert task.puzzle_augmentation.scale == (0.6, 1.0)
    assert task_of(least_scale=0.8).puzzle_augmentation.scale == (0.8, 1.0)


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"samples": None}, "samples must be at least 2, as many as the data has, got None"),
        ({"grid": 4}, "grid must be 2 or 3 tiles a side, got 4"),
        ({"puzzle_weight": 1.5}, r"puzzle_weight must be from 0 to 1, got 1\.5"),
        ({"puzzle_weight": math.nan}, "puzzle_weight must be from 0 to 1, got nan"),
        ({"tile_width": 0}, "tile_width must be at least 1, got 0"),
        ({"least_scale": 2.0}, r"least_scale must be above 0 and at most 1, got 2\.0"),
        ({"negatives": 0}, "negatives must be from 1 to the 19 other samples, got 0"),
    ],
)
def test_what_is_outside_its_range_is_refused(settings: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        task_of(**settings)
