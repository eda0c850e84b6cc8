"""What all lessons share: one cache, and how a training is asked what it learned."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import selfsight
from selfsight.run import Run


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for all lessons: patch dictionaries and untrained networks are probed once."""
    base = tmp_path_factory.getbasetemp()
    home = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    monkeypatch.setenv("SELFSIGHT_CACHE", str(home / "cache"))


@pytest.fixture
def probed() -> Callable[..., dict[str, Any]]:
    """Probe a run on a data set of the shared ones: -> the record."""

    def ask(run: Run, data: Path, **options: Any) -> dict[str, Any]:
        record = selfsight.probe(run, str(data), quick=True, **options)
        assert isinstance(record, dict)
        return record

    return ask
