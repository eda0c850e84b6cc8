"""Locks: one at a time, also when the lock's file is removed while others wait for it."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from selfsight.data.locks import alone, alone_if_free


def test_a_lock_is_free_once_its_block_is_left(tmp_path: Path) -> None:
    place = tmp_path / "x.lock"

    with alone(place), alone_if_free(place) as free:
        assert not free
    with alone_if_free(place) as free:
        assert free
        with alone_if_free(place) as again:
            assert not again


def test_a_lock_that_cannot_be_made_is_not_free(tmp_path: Path) -> None:
    with alone_if_free(tmp_path / "nowhere" / "x.lock") as free:
        assert not free


def test_one_at_a_time_though_the_file_is_removed(tmp_path: Path) -> None:
    place = tmp_path / "x.lock"
    inside: list[int] = []
    most: list[int] = []

    def work(i: int) -> None:
        with alone(place):
            inside.append(i)
            most.append(len(inside))
            time.sleep(0.002)  # long enough for the others to wait for this file
            inside.remove(i)
            place.unlink()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))

    assert most == [1] * 40
