"""Decoding: results come in order, and nothing more is started once the caller has stopped."""

import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from selfsight.data.pictures.canvases import Form
from selfsight.data.pictures.decoding import Wanted, workers
from selfsight.data.pictures.forms.folder import Folder


class Counted(Folder):
    """Pictures that count how many were decoded; Ctrl-C comes with one of them."""

    def __init__(self, root: Path, count: int, *, stops: int = -1, seconds: float = 0) -> None:
        Image.new("L", (8, 8), 7).save(root / "a.png")
        super().__init__(root, ("a.png",) * count)
        self.decoded: list[int] = []
        self.stops, self.seconds = stops, seconds

    def decode(self, i: int) -> Tensor:
        self.decoded.append(i)
        if i == self.stops:
            raise KeyboardInterrupt
        time.sleep(self.seconds)
        return super().decode(i)


def wanted(source: Folder) -> Wanted:
    return Wanted(source, list(range(len(source))), 8, "canvas", None, Form(1, 8))


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfsight.system.machine.processors", lambda: 1)


def test_pictures_come_in_the_order_of_the_rows(tmp_path: Path) -> None:
    source = Counted(tmp_path, 50)
    rows = torch.randperm(50, generator=torch.Generator().manual_seed(0)).tolist()

    with workers() as pool:
        found = list(wanted(source).decoded(rows, pool))

    assert [row for row, _ in found] == rows


def test_an_interrupt_in_a_picture_ends_the_others(tmp_path: Path) -> None:
    source = Counted(tmp_path, 10_000, stops=0, seconds=0.02)

    with pytest.raises(KeyboardInterrupt), workers() as pool:
        list(wanted(source).decoded(wanted(source).rows, pool))

    assert len(source.decoded) < 25  # all that were queued, less what follows in its bundle


def test_an_interrupt_in_the_caller_ends_what_is_queued(tmp_path: Path) -> None:
    source = Counted(tmp_path, 500, seconds=0.01)

    def interrupted() -> None:
        with workers() as pool:
            for i in range(500):
                pool.submit(source.decode, i)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert len(source.decoded) < 400


def test_a_caller_that_stops_asking_ends_what_is_queued(tmp_path: Path) -> None:
    source = Counted(tmp_path, 10_000, seconds=0.02)

    with workers() as pool:
        results = wanted(source).decoded(wanted(source).rows, pool)
        next(results)
        results.close()
        pool.submit(int).result()  # behind all that was queued

    assert len(source.decoded) < 32
