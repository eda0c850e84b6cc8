"""Run: a loaded encoder takes pictures in [0, 1], and says so where others are given."""

from pathlib import Path

import pytest
import torch

import selfsight
from selfsight import encoders
from selfsight.encoders import Encoder, build
from selfsight.run import Run

SMALL = {"stem": 8, "widths": (8, 8)}


@pytest.fixture
def loaded(tmp_path: Path) -> Encoder:
    run = Run.create(tmp_path / "run")
    run.write_settings({"plan": {}})
    encoders.save(build("small", size=16, arguments=SMALL), run.path)
    return selfsight.load(run.path)


@pytest.mark.parametrize("ask", ["forward", "layers"])
def test_a_loaded_encoder_refuses_whole_numbers_with_the_remedy(loaded: Encoder, ask: str) -> None:
    pictures = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)

    with pytest.raises(TypeError, match=r"floats in \[0, 1\], got torch.uint8; divide .* by 255"):
        getattr(loaded, ask)(pictures)


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 255.0), (-2.1, 2.6), (0.0, 1.01), (-0.01, 1.0), (0.0, float("nan"))]
)
def test_a_loaded_encoder_refuses_other_ranges_and_says_which(
    loaded: Encoder, low: float, high: float
) -> None:
    pictures = torch.full((2, 3, 16, 16), low)
    pictures[0, 0, 0, 0] = high

    told = f"got values from {low:.4g} to {high:.4g}" if high == high else "got values from nan"
    with pytest.raises(ValueError, match=told):
        loaded(pictures)


def test_pictures_in_range_pass_and_so_does_the_rounding_of_a_resize(loaded: Encoder) -> None:
    ends = torch.tensor([0.0, 1.0, -1e-6, 1 + 1e-6]).repeat(2 * 3 * 16 * 4).view(2, 3, 16, 16)

    assert loaded(ends).isfinite().all()


def test_training_on_looks_at_no_range_since_that_makes_a_gpu_wait(loaded: Encoder) -> None:
    assert loaded.train()(2 * torch.rand(2, 3, 16, 16)).isfinite().all()
