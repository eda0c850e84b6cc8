"""Real data: where it lies, and whether tests may do without."""

import os
from pathlib import Path

import pytest

REQUIRED = "SELFSIGHT_DATA_REQUIRED"  # a variable; set, to do without the data is to fail


def real_data() -> Path:
    """Find the folder of real data: $SELFSIGHT_DATA, or shared/data beside the repository.

    Without it the test that asks is skipped, or fails where the data is required.
    """
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SELFSIGHT_DATA", beside))
    if folder.is_dir():
        return folder
    told = f"no real data: {folder} is not there; SELFSIGHT_DATA names its folder"
    if os.environ.get(REQUIRED):
        pytest.fail(f"{told}, and {REQUIRED} is set")
    pytest.skip(told)
