"""File arrays and maps: rows are read by position, even while others read the same file."""

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight.data.file_array import FileArray
from selfsight.data.pictures.maps import Mapped

WANTED = np.arange(6 * 3 * 8 * 8).astype(np.uint8).reshape(6, 3, 8, 8)


def check(folder: Path) -> None:
    """Read rows of an array and of a map, in no order."""
    (folder / "array").write_bytes(b"head" + WANTED.tobytes())
    (folder / "map").write_bytes(WANTED.tobytes())
    rows = FileArray(folder / "array", WANTED.shape, WANTED.dtype, 4)
    sums = [zlib.crc32(row.tobytes()) for row in WANTED]
    pictures = Mapped(folder / "map", (6, 3, 8, 8), 8, torch.full((6, 2), 8), sums)

    assert all(np.array_equal(rows[i], WANTED[i]) for i in (5, 0, 3))
    assert np.array_equal(rows.whole(), WANTED)
    assert np.array_equal(pictures.taken(torch.tensor([4, 1])).images.numpy(), WANTED[[4, 1]])


def test_what_the_system_gives_in_parts_is_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, rows, at: preadv(file, [rows[0][:50]], at))

    check(tmp_path)


def test_who_moves_in_the_same_file_gets_nobody_another_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preadv = os.preadv

    def moved(file: int, rows: list[memoryview], at: int) -> int:  # as by a process that was forked
        os.lseek(file, 7, os.SEEK_SET)
        return preadv(file, rows, at)

    monkeypatch.setattr(os, "preadv", moved)
    check(tmp_path)


def test_a_system_that_reads_at_no_place_reads_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "preadv")

    check(tmp_path)
