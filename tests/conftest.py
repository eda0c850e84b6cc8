"""What all tests share: where the real data lies, two processes, and what the suite costs."""

import os
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # tests share making.py and pair.py

from pair import Pair

LONGEST = ("test_telling_apart.py", "test_resume.py", "test_processes.py")  # minutes each

COSTLIEST = 10  # files that are told
SPENT = pytest.StashKey[float]()  # processor time up to the last report

torch.set_num_threads(1)  # the suites compute little at a time: waking more threads costs more


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files: whoever works beside is not to wait for them at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def processor_seconds() -> float:
    """Tell the processor time of this process, and of those it has waited for."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Note with every phase of a test what it cost."""
    report = yield
    now = processor_seconds()
    report.processor_seconds = now - item.config.stash.get(SPENT, 0.0)
    item.config.stash[SPENT] = now
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the costliest files, so that growth is seen."""
    costs: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                file = report.nodeid.partition("::")[0]
                costs[file] += getattr(report, "processor_seconds", 0.0)
    terminalreporter.section("costliest files, seconds of processor time")
    for file, seconds in costs.most_common(COSTLIEST):
        terminalreporter.line(f"{seconds:8.1f}  {file}")
    terminalreporter.line(f"{costs.total():8.1f}  all")


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
