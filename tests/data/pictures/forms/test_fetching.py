"""Fetching: one download for all processes, and an interrupted one leaves no partial data."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from selfsight.data.pictures.forms.fetching import fetched

LOG = "log"  # beside the data: a line a fetch


class Pairs:
    """A data set by torchvision's rules: a folder that exists counts as complete."""

    breaks = False

    def __init__(self, root: str, download: bool) -> None:
        folder = Path(root) / "pairs"
        if download and not (folder / "images").exists():
            folder.mkdir(exist_ok=True)
            if not (folder / "pairs.zip").exists():
                (folder / "pairs.zip").write_text("fetched")
            (folder / "images").mkdir()
            (folder / "images" / "1").write_text((folder / "pairs.zip").read_text())
            if self.breaks:
                raise KeyboardInterrupt
            (folder / "images" / "2").write_text("b")
            with (Path(root).parent / LOG).open("a") as log:
                log.write("fetched\n")
        if not (folder / "images").exists():
            raise RuntimeError("Dataset not found. You can use download=True to download it")
        self.found = sorted(path.name for path in (folder / "images").iterdir())


class Interrupted(Pairs):
    """The same data set, interrupted while it unpacks."""

    breaks = True


def everything(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


WHOLE = {"pairs", "pairs/pairs.zip", "pairs/images", "pairs/images/1", "pairs/images/2"}


def test_an_interrupted_fetch_does_not_count_as_whole(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fetched(Interrupted, tmp_path, "Pairs")
    assert not (tmp_path / "pairs" / "images").exists()

    held = fetched(Pairs, tmp_path, "Pairs")

    assert held.found == ["1", "2"]
    assert everything(tmp_path) - {".Pairs.lock", LOG} == WHOLE


def test_what_a_killed_process_left_does_not_count(tmp_path: Path) -> None:
    half = tmp_path / ".Pairs.part" / "pairs" / "images"
    half.mkdir(parents=True)
    (half / "1").write_text("half")

    assert fetched(Pairs, tmp_path, "Pairs").found == ["1", "2"]
    assert (tmp_path / "pairs/images/1").read_text() == "fetched"


def test_an_archive_put_there_by_hand_is_used_and_stays(tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "pairs.zip").write_text("by hand")

    fetched(Pairs, tmp_path, "Pairs")

    assert (tmp_path / "pairs/images/1").read_text() == "by hand"
    assert (tmp_path / "pairs/pairs.zip").read_text() == "by hand"


def test_those_who_ask_at_once_share_one_fetch(tmp_path: Path) -> None:
    root, barrier = tmp_path / "downloads", Barrier(6)

    def ask(_: int) -> list[str]:
        barrier.wait()
        return fetched(Pairs, root, "Pairs").found

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(ask, range(6)))

    assert found == [["1", "2"]] * 6
    assert (root / LOG).read_text() == "fetched\n"


def test_what_is_there_needs_no_lock(tmp_path: Path) -> None:
    (
        tmp_path / ".Pairs.lock"
    ).mkdir()  # so that it cannot be opened, as where nothing may be written
    (tmp_path / "pairs" / "images").mkdir(parents=True)
    (tmp_path / "pairs" / "images" / "9").touch()

    assert fetched(Pairs, tmp_path, "Pairs").found == ["9"]
