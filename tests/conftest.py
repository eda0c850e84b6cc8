"""What all tests share: where the real data lies."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # the suites compute little at a time: waking more threads costs more


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: $SELFSIGHT_DATA, or shared/data beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SELFSIGHT_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real data: SELFSIGHT_DATA is not set and {beside} is not there")
    return folder
