"""Starting from a run or without a size: pretraining fits encoder and pictures together."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import selfsight
from selfsight.encoders import adapted
from selfsight.errors import UsageError
from selfsight.modalities.pictures import of_pictures
from selfsight.training.plan import Plan
from selfsight.training.weights import built

SIDE = 32
BRIEF: dict[str, Any] = {"task": "rotation", "samples": 8, "batch": 8, "precision": "f32"}


def stored(folder: Path, channels: int) -> str:
    """Store sixteen pictures of noise: -> the file's path."""
    values = np.random.default_rng(0).integers(0, 256, (16, SIDE, SIDE, channels))
    path = folder / f"pictures-{channels}.npz"
    np.savez(path, images=values.astype(np.uint8))
    return str(path)


@pytest.mark.slow
def test_a_run_of_three_channels_goes_on_with_one(tmp_path: Path) -> None:
    first = selfsight.pretrain(stored(tmp_path, 3), out=str(tmp_path / "first"), **BRIEF)

    second = selfsight.pretrain(
        stored(tmp_path, 1), start=str(first.path), out=str(tmp_path / "second"), **BRIEF
    )

    kept = Plan.from_json(second.settings["plan"])
    assert "first convolution adapted from 3 to 1 channel" in kept.notes
    assert second.encoder().recipe.channels == 1
    begun = built(kept)[0].get_submodule("encoder").state_dict()
    expected = adapted(of_pictures(first.encoder()), 1).state_dict()
    assert all(torch.equal(begun[key], value) for key, value in expected.items())


@pytest.mark.slow
def test_a_side_that_was_not_asked_for_is_one_the_encoder_takes(tmp_path: Path) -> None:
    data = stored(tmp_path, 3)
    asked: dict[str, Any] = {"encoder": "alexnet", "out": str(tmp_path / "run"), **BRIEF}

    with pytest.raises(UsageError, match="at least 63 px, got 32; give --size 64"):
        selfsight.pretrain(data, size=32, **asked)
    run = selfsight.pretrain(data, **asked)

    assert run.settings["plan"]["size"] == 64
