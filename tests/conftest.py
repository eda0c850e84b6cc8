"""What all tests share: where the real data lies, two processes, and what the suite costs."""

import gc
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # what tests share lies here

from pair import Pair
from real_data import REQUIRED, real_data

LONGEST = (  # as the last run told
    "test_lessons.py",
    "test_resume.py",
    "test_demo.py",
    "test_probing.py",
    "test_processes.py",
    "test_compiling.py",
    "test_forms.py",
)

COSTLIEST = 10  # files that are told

torch.set_num_threads(1)  # the suites compute little at a time: waking more threads costs more


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files: whoever works beside is not to wait for them at the end."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


def pytest_collection_finish() -> None:
    """Take what is loaded out of the search for garbage: it stays, and looking at it is slow."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a session that passed no test where the data is required: all were skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    tested = reporter is None or reporter.stats.get("passed")
    if session.exitstatus == 0 and os.environ.get(REQUIRED) and not tested:
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the costliest files, so that growth is seen."""
    costs: defaultdict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                file = report.nodeid.partition("::")[0]
                costs[file] += report.duration
    terminalreporter.section("costliest files, in seconds")
    for file in sorted(costs, key=lambda file: -costs[file])[:COSTLIEST]:
        terminalreporter.line(f"{costs[file]:8.1f}  {file}")
    terminalreporter.line(f"{sum(costs.values()):8.1f}  all")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, see `real_data.py`."""
    return real_data()


@pytest.fixture(scope="session")
def two() -> Iterator[Pair]:
    """Two processes that train together, see `pair.py`; started for the first test that asks."""
    both = Pair()
    yield both
    both.close()
