"""Memory budget: the memory of pictures being decoded, one by one and all at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile

from selfsight.data.pictures.files.header import LEAST_BOMB, check_weight
from selfsight.data.pictures.files.tiff_pixels import check_inflated
from selfsight.data.pictures.memory_budget import LARGE, SMALL, MemoryBudget
from selfsight.data.source import Unreadable

MIB = 1 << 20


def taken_at_once(room: MemoryBudget, needed: int, packed: int, count: int = 8) -> int:
    """Let each thread take room for a picture: -> how many held it at the same time."""
    there, most, lock = 0, 0, threading.Lock()

    def decode(_: int) -> None:
        nonlocal there, most
        with room.turn():
            room.take(needed, needed, packed)
            with lock:
                there += 1
                most = max(most, there)
            pause.wait(0.01)
            with lock:
                there -= 1

    pause = threading.Event()
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(decode, range(3 * count)))
    return most


def test_large_pictures_are_decoded_as_many_at_once_as_there_is_room_for() -> None:
    assert taken_at_once(MemoryBudget(100 * MIB), 40 * MIB, 10 * MIB) <= 2
    assert (
        taken_at_once(MemoryBudget(100 * MIB), 300 * MIB, 100 * MIB) == 1
    )  # more than there ever is
    assert taken_at_once(MemoryBudget(10**12), LARGE, 1000) == 1  # of a small file: alone


def test_small_pictures_do_not_wait() -> None:
    room = MemoryBudget(1)
    with room.turn():
        room.take(SMALL, SMALL, SMALL)  # fills it
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: room.take(SMALL - 1, SMALL - 1, 1)).result(timeout=60)


def test_a_thread_that_has_room_is_given_more_at_once_and_gives_all_back() -> None:
    room = MemoryBudget(10 * MIB)
    for _ in range(3):
        with room.turn():
            room.take(8 * MIB, 8 * MIB, 8 * MIB)
            with room.turn():
                room.take(8 * MIB, 8 * MIB, 8 * MIB)


def test_memory_that_runs_out_is_the_fault_of_a_large_picture_alone() -> None:
    room = MemoryBudget(2 * LARGE)

    def fail(needed: int, error: Exception) -> None:
        with room.turn():
            room.take(needed, needed, needed)
            raise error

    with pytest.raises(Unreadable, match="more memory than there is"):
        fail(LARGE, MemoryError())
    with pytest.raises(MemoryError):
        fail(SMALL, MemoryError())
    with pytest.raises(RuntimeError, match="other"):
        fail(LARGE, RuntimeError("other"))


def test_a_picture_is_weighed_by_what_it_takes_and_what_its_file_is() -> None:
    check_weight(LEAST_BOMB, LEAST_BOMB, 1)
    check_weight(LEAST_BOMB + 1, LEAST_BOMB, LEAST_BOMB // 100 + 1)
    with pytest.raises(Unreadable, match="over 100 times as much"):
        check_weight(LEAST_BOMB + 1, LEAST_BOMB, LEAST_BOMB // 101)
    with pytest.raises(Unreadable, match="more than half"):
        check_weight(1 << 50, 1 << 50, 1 << 50)


@pytest.mark.parametrize("compression", ["zlib", "lzma"])
def test_a_strip_that_inflates_to_more_than_it_holds_is_refused(
    tmp_path: Path, compression: str
) -> None:
    if compression == "lzma":
        pytest.importorskip("imagecodecs")  # with which tifffile writes it
    zeros = np.zeros((16, 16, 5), np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", zeros, compression=compression, planarconfig="contig")
    with (tmp_path / "x.tif").open("rb") as file, tifffile.TiffFile(file) as tiff:
        page = tiff.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        check_inflated(file, page, 16 * 16 * 5 * 2)
        with pytest.raises(Unreadable, match="inflates to more"):
            check_inflated(file, page, 16 * 16 * 5 * 2 - 1)
