"""Batches: every sample once in an epoch, the same rows for the same step."""

import subprocess
import sys

import pytest
import torch

from selfsight.data.batches import Order
from selfsight.data.pictures import Pictures, open_data, read
from selfsight.data.pictures.batch import Images, LabelledImages
from selfsight.errors import SelfsightError, UsageError


@pytest.fixture(scope="module")
def digits() -> Pictures:
    return read(open_data("digits").train, side=8, limit=40)


def test_an_epoch_shows_every_sample_once() -> None:
    steps = [Order(12, 4, 0).at(step) for step in range(3)]

    assert [epoch for epoch, _ in steps] == [0, 0, 0]
    assert torch.cat([rows for _, rows in steps]).sort().values.tolist() == list(range(12))


def test_the_remainder_of_an_epoch_is_dropped() -> None:
    steps = [Order(10, 4, 0).at(step) for step in range(4)]

    assert [epoch for epoch, _ in steps] == [0, 0, 1, 1]
    assert all(len(rows) == 4 for _, rows in steps)
    assert len(torch.cat([rows for _, rows in steps[:2]]).unique()) == 8


def test_epochs_and_seeds_differ_in_order() -> None:
    orders = [Order(50, 50, seed).at(step)[1].tolist() for step, seed in ((0, 0), (1, 0), (0, 1))]

    assert len({tuple(order) for order in orders}) == 3


def test_a_remembered_order_equals_a_fresh_one() -> None:
    order = Order(20, 6, seed=3)

    for step in (0, 1, 2, 7, 3, 0):  # back and forth, as a resume would
        epoch, rows = order.at(step)
        again = Order(20, 6, 3).at(step)
        assert epoch == again[0]
        assert torch.equal(rows, again[1])


@pytest.mark.parametrize("batch", [0, 11])
def test_a_batch_beyond_the_data_is_refused(batch: int) -> None:
    with pytest.raises(UsageError, match="between 1 and the 10 samples"):
        Order(10, batch, 0).at(0)


def test_a_batch_holds_the_rows_asked_for(digits: Pictures) -> None:
    index = torch.tensor([5, 0, 9])

    batch = LabelledImages.from_rows(digits, index, seed=1, epoch=2)

    assert isinstance(batch, LabelledImages)
    assert digits.labels is not None
    assert torch.equal(batch.images, digits.images[index])
    assert torch.equal(batch.labels, digits.labels[index])
    assert batch.extent.tolist() == [[8, 8]] * 3
    assert batch.index.tolist() == [5, 0, 9]
    assert (batch.draws.seed, batch.draws.epoch) == (1, 2)


def test_a_samples_draws_do_not_depend_on_its_batch(digits: Pictures) -> None:
    one = Images.from_rows(digits, torch.tensor([7]), seed=0, epoch=0)
    two = Images.from_rows(digits, torch.tensor([3, 7]), seed=0, epoch=0)

    assert torch.equal(one.draws.uniform("crop", 4)[0], two.draws.uniform("crop", 4)[1])


def test_labels_that_are_not_there_are_asked_for() -> None:
    photos = read(open_data("photos").train, side=16, limit=2)

    with pytest.raises(
        SelfsightError, match="needs a class for every picture, and photos has none"
    ):
        LabelledImages.from_rows(photos, torch.tensor([0]), seed=0, epoch=0)


def test_importing_data_leaves_the_heavy_packages_alone() -> None:
    heavy = "{'timm', 'lightning', 'lightning_fabric', 'matplotlib', 'sklearn', 'skimage'}"
    code = f"import sys, selfsight.data; print(sorted({heavy} & set(sys.modules)))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"
