"""What all tests share: where the real data lies."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # tests share making.py and pair.py

from pair import Pair

LONGEST = ("test_telling_apart.py", "test_resume.py", "test_processes.py")  # minutes each

torch.set_num_threads(1)  # the suites compute little at a time: waking more threads costs more


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files: whoever works beside is not to wait for them at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: $SELFSIGHT_DATA, or shared/data beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SELFSIGHT_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real data: SELFSIGHT_DATA is not set and {beside} is not there")
    return folder


@pytest.fixture(scope="session")
def two() -> Iterator[Pair]:
    """Two processes that train together, see `pair.py`; started for the first test that asks."""
    both = Pair()
    yield both
    both.close()
