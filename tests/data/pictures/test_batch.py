"""Batch: pictures wrapped for a test fill their canvas and are numbered from 0."""

import torch

from selfsight.data.pictures.batch import Images, LabelledImages


def test_wrapped_pictures_fill_their_canvas() -> None:
    batch = Images.of(torch.zeros(3, 1, 8, 8), seed=4, epoch=2)

    assert batch.extent.tolist() == [[8, 8]] * 3
    assert batch.index.tolist() == [0, 1, 2]
    assert (batch.draws.seed, batch.draws.epoch) == (4, 2)


def test_labels_change_no_draw() -> None:
    images = torch.zeros(3, 1, 8, 8)

    plain = Images.of(images, seed=4)
    labelled = LabelledImages.of(images, torch.arange(3), seed=4)

    assert labelled.labels.tolist() == [0, 1, 2]
    assert torch.equal(plain.draws.uniform("view", 3), labelled.draws.uniform("view", 3))
