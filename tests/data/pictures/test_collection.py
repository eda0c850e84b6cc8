"""Pictures: subsets, and a fingerprint that tells data apart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight.data.pictures import Pictures, open_data, read


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 9, 3), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(6) % 2)
    return read(open_data(tmp_path / "x.npz").train, side=16)


def test_rows_are_taken_in_the_order_asked(pictures: Pictures) -> None:
    some = pictures.rows(torch.tensor([4, 1, 1]))

    assert torch.equal(some.tensor, pictures.tensor[[4, 1, 1]])
    assert some.labels is not None
    assert some.labels.tolist() == [0, 1, 1]
    assert some.titles == ("row 4", "row 1", "row 1")
    assert len(some) == len(some.extent) == 3
    assert some.classes == pictures.classes


def test_the_fingerprint_is_of_what_a_task_can_see(pictures: Pictures) -> None:
    everything = torch.arange(6)
    other = replace(pictures, images=pictures.tensor.clone())
    other.tensor[5, 2, 7, 8] += 1
    relabelled = replace(pictures, labels=torch.zeros(6, dtype=torch.int64))

    assert pictures.rows(everything).fingerprint == pictures.fingerprint
    assert pictures.rows(everything.flip(0)).fingerprint != pictures.fingerprint
    assert other.rows(everything).fingerprint != pictures.fingerprint
    assert relabelled.rows(everything).fingerprint != pictures.fingerprint
