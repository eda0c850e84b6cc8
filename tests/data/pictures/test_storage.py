"""Storage: memory, map and stream give the same pictures, and maps survive crashes and damage."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from selfsight.data.batches import Ahead
from selfsight.data.pictures import Pictures, open_data, read
from selfsight.data.pictures.batch import LabelledImages
from selfsight.data.pictures.forms.folder import Folder
from selfsight.data.pictures.forms.walking import walked
from selfsight.data.pictures.storing import fitting
from selfsight.data.pictures.streaming import Streamed
from selfsight.data.samples import Storage
from selfsight.errors import SelfsightError
from selfsight.system.locks import alone

EVERYWHERE: tuple[Storage, ...] = ("memory", "map", "stream")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty grey and coloured pictures of many sizes, in two classes."""
    noise = np.random.default_rng(0)
    root = tmp_path / "pictures"
    for i in range(40):
        height, width = noise.integers(8, 60, 2)
        shape = (height, width) if i % 3 else (height, width, 3)
        place = root / "ab"[i % 2] / f"{i:02d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, shape, dtype=np.uint8)).save(place)
    return root


def everything(pictures: Pictures) -> Tensor:
    return pictures.tensor


def maps(cache: Path) -> list[Path]:
    return [place for place in (cache / "maps").iterdir() if place.is_dir()]


@pytest.mark.parametrize("fit", ["canvas", "square"])
@pytest.mark.parametrize("storage", ["map", "stream"])
def test_pictures_are_the_same_wherever_they_are_kept(
    folder: Path, storage: Storage, fit: str
) -> None:
    source = open_data(folder).train
    plain = read(source, side=32, fit=fit, storage="memory")  # pyright: ignore[reportArgumentType] -- parametrized

    other = read(source, side=32, fit=fit, storage=storage)  # pyright: ignore[reportArgumentType] -- as above

    assert other.storage == storage
    assert other.images.shape == plain.images.shape == (40, 3, 32, 32)
    assert torch.equal(everything(other), everything(plain))
    assert torch.equal(other.extent, plain.extent)
    assert (other.titles, other.classes) == (plain.titles, plain.classes)
    rows = torch.tensor([7, 3, 39, 3])
    for one, two in zip(other.taken(rows), plain.taken(rows), strict=True):
        assert torch.equal(one, two)
    assert torch.equal(other.rows(rows).tensor, plain.rows(rows).tensor)


def test_a_map_has_the_fingerprint_of_memory_and_a_stream_its_own(folder: Path) -> None:
    source = open_data(folder).train
    plain, mapped, stream = (read(source, side=32, storage=s) for s in EVERYWHERE)

    assert mapped.fingerprint == plain.fingerprint
    assert stream.fingerprint == read(source, side=32, storage="stream").fingerprint


def test_the_fingerprint_of_a_stream_is_of_pictures_wherever_they_lie(folder: Path) -> None:
    def now(place: Path) -> str:
        return read(open_data(place).train, side=32, storage="stream").fingerprint

    before, path = now(folder), folder / "a" / "00.png"
    shutil.copytree(folder, folder.parent / "copy")  # with times of its own
    os.utime(path, (1, 1))

    assert now(folder) == now(folder.parent / "copy") == before
    path.write_bytes(path.read_bytes() + b"\0")
    assert now(folder) != before


@pytest.mark.parametrize("storage", EVERYWHERE)
def test_broken_pictures_are_counted_wherever_they_are_kept(folder: Path, storage: Storage) -> None:
    (folder / "a" / "zero.png").write_bytes(b"")
    (folder / "b" / "text.jpg").write_text("no picture")

    found = read(open_data(folder).train, side=32, storage=storage)

    assert len(found) == 40
    assert [skipped.title for skipped in found.skipped] == ["a/zero.png", "b/text.jpg"]
    assert found.fingerprint  # of 40 pictures, though 42 were expected
    if storage == "map":
        plain = read(open_data(folder).train, side=32, storage="memory")
        assert found.fingerprint == plain.fingerprint
        again = read(open_data(folder).train, side=32, storage="map")
        assert again.skipped == found.skipped


def test_a_picture_that_breaks_in_a_stream_has_the_next_in_its_place(folder: Path) -> None:
    whole = (folder / "a" / "02.png").read_bytes()
    (folder / "a" / "02.png").write_bytes(whole[:60])  # the header is whole
    source = open_data(folder).train
    found = read(source, side=32, storage="stream")
    place = found.titles.index("a/02.png")

    images, extent, rows = found.taken(torch.tensor([0, place]))

    assert found.skipped == ()
    assert rows.tolist() == [0, place + 1]
    assert torch.equal(images[1], found.images[torch.tensor([place + 1])][0])
    assert extent[1].tolist() == found.extent[place + 1].tolist()
    assert isinstance(found.images, Streamed)
    assert [f.title for f in found.images.failed.values()] == ["a/02.png"]
    batch = LabelledImages.from_rows(found, torch.tensor([place]), seed=0, epoch=0)
    assert batch.index.tolist() == [place]


def test_a_stream_of_broken_pictures_stops_with_a_sentence(folder: Path) -> None:
    for path in sorted(folder.rglob("*.png"))[::4]:
        path.write_bytes(path.read_bytes()[:60])
    found = read(open_data(folder).train, side=32, storage="stream")

    with pytest.raises(SelfsightError, match=r"of 40 pictures .* cannot be read"):
        everything(found)


def test_a_map_is_written_once_and_anew_when_a_file_changes(folder: Path, cache: Path) -> None:
    seen: list[int] = []

    def counted() -> Pictures:
        seen.clear()
        source = open_data(folder).train
        return read(source, side=32, storage="map", progress=lambda done, _: seen.append(done))

    first = everything(counted())
    assert seen[-1] == 40
    counted()
    assert seen == []  # nothing was decoded
    Image.new("RGB", (20, 20), "red").save(folder / "a" / "00.png")
    os.utime(folder / "a" / "00.png", (1, 1))
    assert not torch.equal(everything(counted()), first)
    assert len(maps(cache)) == 2


def test_a_map_widens_when_a_late_picture_has_colour_or_depth(tmp_path: Path) -> None:
    for i in range(100):
        Image.new("L", (16, 16), i).save(tmp_path / f"{i:03d}.png")
    Image.new("RGB", (16, 16), (9, 8, 7)).save(tmp_path / "0501.png")
    sixteen = np.full((16, 16), 40_000, dtype=np.uint16)
    Image.fromarray(sixteen).save(tmp_path / "0502.png")

    plain, mapped, stream = (
        read(open_data(tmp_path).train, side=16, storage=s) for s in EVERYWHERE
    )

    assert mapped.images.shape == (102, 3, 16, 16)
    assert mapped.images.dtype == torch.uint16
    pixels = everything(mapped).int()
    assert pixels[[50, 51, 52, 53], :, 0, 0].tolist() == [
        [50 * 257] * 3,
        [9 * 257, 8 * 257, 7 * 257],
        [40_000] * 3,
        [51 * 257] * 3,
    ]
    assert torch.equal(pixels, everything(plain).int())
    assert torch.equal(pixels, everything(stream).int())


KILLED = """
import sys, time
from pathlib import Path
from selfsight.data.pictures import open_data, read

def slowly(done, total):
    Path(sys.argv[2]).write_text(str(done))
    time.sleep(0.05)

read(open_data(sys.argv[1]).train, side=32, storage="map", progress=slowly)
"""


@pytest.mark.slow
def test_a_kill_while_writing_leaves_no_half_map(folder: Path, tmp_path: Path, cache: Path) -> None:
    signs = tmp_path / "signs"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder), str(signs)])
    while not signs.exists() or int(signs.read_text() or 0) < 10:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all(place.suffix == ".part" for place in maps(cache))

    found = read(open_data(folder).train, side=32, storage="map")

    plain = read(open_data(folder).train, side=32, storage="memory")
    assert torch.equal(everything(found), everything(plain))
    assert [place.suffix for place in maps(cache)] == [""]


SHARED = """
import sys
from selfsight.data.pictures import open_data, read

print(read(open_data(sys.argv[1]).train, side=32, storage="map").fingerprint)
"""


@pytest.mark.slow
def test_processes_at_once_share_a_map(folder: Path, cache: Path) -> None:
    command = [sys.executable, "-c", SHARED, str(folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]

    found = [process.communicate(timeout=120)[0] for process in both]

    assert found[0] == found[1] != ""
    assert len(maps(cache)) == 1


def test_a_map_that_cannot_be_kept_says_so(folder: Path, cache: Path) -> None:
    cache.write_text("a file where the folder should be")

    told = r"cache/maps cannot keep the memory map of .*: .*/cache is in the way. Move .*_CACHE"
    with pytest.raises(SelfsightError, match=told):
        read(open_data(folder).train, side=32, storage="map")


def test_a_map_cut_short_says_so(folder: Path, cache: Path) -> None:
    found = read(open_data(folder).train, side=32, storage="map")
    images = maps(cache)[0] / "images"
    os.truncate(images, images.stat().st_size - 1)

    with pytest.raises(SelfsightError, match="cut short"):
        everything(found)


def test_a_flipped_bit_in_a_map_is_found_and_the_map_written_anew(
    folder: Path, cache: Path
) -> None:
    found = read(open_data(folder).train, side=32, storage="map")
    whole = everything(found)
    images = maps(cache)[0] / "images"
    content = bytearray(images.read_bytes())
    content[3 * 32 * 32 * 7 + 5] ^= 4  # of the picture in row 7
    images.write_bytes(content)

    again = read(open_data(folder).train, side=32, storage="map")
    assert torch.equal(again.images[torch.arange(7)], whole[:7])
    with pytest.raises(SelfsightError, match=r"images is damaged: .* Start again"):
        everything(again)
    assert torch.equal(everything(read(open_data(folder).train, side=32, storage="map")), whole)


def steps_of(folder: Path, side: int = 32) -> tuple[Pictures, int]:
    """Read pictures into a map: -> the map, and how many pictures were decoded for it."""
    seen: list[int] = []
    found = read(
        open_data(folder).train,
        side=side,
        storage="map",
        progress=lambda done, _: seen.append(done),
    )
    return found, len(seen)


def test_a_picture_that_can_be_read_again_is_added_to_the_map(folder: Path) -> None:
    path = folder / "a" / "02.png"
    whole, times = path.read_bytes(), (1, 1)
    path.write_bytes(bytes(len(whole)))  # a fault that leaves size and time as they are
    os.utime(path, times)
    assert len(steps_of(folder)[0]) == 39
    assert steps_of(folder)[1] == 0
    path.write_bytes(whole)
    os.utime(path, times)

    found, steps = steps_of(folder)

    assert (len(found), steps) == (40, 40)
    assert found.skipped == ()
    plain = read(open_data(folder).train, side=32, storage="memory")
    assert torch.equal(everything(found), everything(plain))
    assert steps_of(folder)[1] == 0


def test_a_picture_of_other_channels_does_not_write_the_map_anew(tmp_path: Path) -> None:
    for i in range(11):
        Image.new("RGB", (16, 16)).save(tmp_path / f"{i:02d}.png")
    tifffile = pytest.importorskip("tifffile")
    five = np.zeros((16, 16, 5), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "five.tif", five, planarconfig="contig")

    assert [steps_of(tmp_path)[1] for _ in range(2)] == [12, 0]


@pytest.mark.parametrize("name", ["about.npz", "images"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_damaged_map_is_written_anew(folder: Path, cache: Path, name: str, share: float) -> None:
    whole = everything(steps_of(folder)[0])
    place = maps(cache)[0] / name
    os.truncate(place, int(place.stat().st_size * share))

    found, steps = steps_of(folder)

    assert steps == 40
    assert torch.equal(everything(found), whole)
    assert steps_of(folder)[1] == 0


def test_what_crashes_left_is_taken_away_unless_somebody_writes_it(
    folder: Path, cache: Path
) -> None:
    place = cache / "maps"
    for key in ("dead", "alive"):
        (place / f"{key}.part").mkdir(parents=True)
        (place / f"{key}.part" / "images").write_bytes(b"half")
        (place / f"{key}.lock").touch()
    (place / "alone.lock").touch()

    with alone(place / "alive.lock"):
        steps_of(folder)

    (key,) = (path.name for path in maps(cache) if path.suffix == "")
    left = {path.name for path in place.iterdir()}
    assert left == {key, f"{key}.lock", "alive.part", "alive.lock"}


def test_a_link_in_place_of_a_map_is_none_of_ours(folder: Path, cache: Path) -> None:
    steps_of(folder)
    (place,) = maps(cache)
    theirs = place.rename(cache / "theirs")
    before = {path.name: path.read_bytes() for path in theirs.iterdir()}
    place.symlink_to(theirs)

    assert steps_of(folder)[1] == 40
    assert not place.is_symlink()
    assert {path.name: path.read_bytes() for path in theirs.iterdir()} == before


def test_links_among_what_crashes_left_are_taken_away_and_not_followed(
    folder: Path, cache: Path
) -> None:
    (cache / "maps").mkdir(parents=True)
    (cache / "theirs").mkdir()
    (cache / "theirs" / "images").write_text("theirs")
    link = cache / "maps" / f"dead.{'0' * 16}.part"
    link.symlink_to(cache / "theirs")

    steps_of(folder)

    assert not link.is_symlink()
    assert (cache / "theirs" / "images").read_text() == "theirs"


def test_a_map_in_a_cache_that_may_only_be_read_is_used(folder: Path, cache: Path) -> None:
    steps_of(folder)
    (place,) = maps(cache)
    lock = place.with_name(f"{place.name}.lock")
    lock.unlink()
    lock.mkdir()  # so that there can be no lock, for root either

    assert steps_of(folder)[1] == 0
    os.truncate(place / "images", 0)
    with pytest.raises(SelfsightError, match=r"maps cannot keep the memory map of .*pictures: "):
        steps_of(folder)


def test_a_map_larger_than_the_free_disk_is_refused_before_anything_is_decoded(
    folder: Path, cache: Path
) -> None:
    with pytest.raises(
        SelfsightError, match=r"needs \d+\.\d GB, and .* free in .*--storage stream"
    ):
        steps_of(folder, side=2_000_000)

    assert maps(cache) == []


class Failing(Folder):
    """Pictures on a disk that fails while they are read."""

    def decode(self, i: int) -> Tensor:
        if i == 20:
            raise OSError(5, "the pictures' disk has failed")
        return super().decode(i)


def test_the_cache_is_not_blamed_for_the_disk_of_the_pictures(folder: Path, cache: Path) -> None:
    with pytest.raises(OSError, match="the pictures' disk has failed"):
        read(Failing(folder, walked(folder).paths), side=32, storage="map")

    assert maps(cache) == []


def test_the_cache_is_not_blamed_for_who_watches(folder: Path) -> None:
    def gone(done: int, total: int) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        read(open_data(folder).train, side=32, storage="map", progress=gone)


def test_maps_unused_for_long_are_taken_away(folder: Path, cache: Path) -> None:
    read(open_data(folder).train, side=32, storage="map")
    (old,) = maps(cache)
    os.utime(old, (1, 1))

    read(open_data(folder).train, side=16, storage="map")

    assert len(maps(cache)) == 1
    assert not old.exists()


def test_pictures_go_to_the_first_place_they_fit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_data(folder).train

    assert fitting(1000, 1000) == "memory"
    assert fitting(1001, 1000) == "map"
    assert fitting(1 << 62, 1000) == "stream"
    assert fitting(1, 1000, held=True) == "stream"
    assert read(source, side=32, memory=1000).storage == "map"


def test_channels_that_do_not_go_together_are_skipped(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    for i in range(11):
        pixels = np.full((16, 16, 5), i, dtype=np.uint8)
        tifffile.imwrite(tmp_path / f"{i:02d}.tif", pixels, planarconfig="contig")
    Image.new("RGB", (16, 16)).save(tmp_path / "rgb.png")

    for storage in EVERYWHERE:
        found = read(open_data(tmp_path).train, side=16, storage=storage)
        assert found.images.shape == (11, 5, 16, 16)
        assert [(s.title, "channels" in s.reason) for s in found.skipped] == [("rgb.png", True)]


def test_statistics_are_of_pictures_not_of_their_margins(tmp_path: Path) -> None:
    grey = np.zeros((10, 20), dtype=np.uint16)
    grey[:, :10] = 30_000
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(grey).save(tmp_path / "b.png")
    found = read(open_data(tmp_path).train, side=32)

    mean, deviation = found.statistics(torch.arange(2))

    assert found.bits == 16
    assert mean == pytest.approx((15_000 / 65_535,))
    assert deviation == pytest.approx((15_000 / 65_535,))


def test_batches_are_made_ahead_in_order() -> None:
    made: list[int] = []

    def make(step: int) -> int:
        made.append(step)
        return step * step

    ahead = Ahead(make, steps=2)
    assert [ahead(step) for step in (0, 1, 2, 7, 8, 0)] == [0, 1, 4, 49, 64, 0]
    ahead.close()
    assert made[:4] == [0, 1, 2, 3]
    assert {7, 8, 9} <= set(made)


def test_an_error_in_a_batch_ahead_is_raised_when_it_is_asked_for() -> None:
    def make(step: int) -> int:
        if step == 1:
            raise SelfsightError("broken")
        return step

    ahead = Ahead(make)
    assert ahead(0) == 0
    with pytest.raises(SelfsightError, match="broken"):
        ahead(1)
    ahead.close()


def test_one_photograph_is_a_data_set_of_crops(tmp_path: Path) -> None:
    from selfsight.data.pictures.forms.photo import CROPS, Photo

    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "one.png")
    photo = Photo(tmp_path / "one.png")
    found = read(photo, side=32)

    assert found.storage == "stream"
    assert len(found) == len(photo) == CROPS
    for i in range(300):
        header = photo.header(i)
        crop = photo.decode(i)
        assert crop.shape == (3, header.height, header.width)
        assert min(crop.shape[1:]) >= 8
        assert max(crop.shape[1:]) <= 100  # half the shorter side
    some = torch.tensor([5, 99_999])
    images, extent, _ = found.taken(some)
    assert torch.equal(extent, found.extent[some])
    height, width = extent[0].tolist()
    again = Photo(tmp_path / "one.png").scaled(5, 32, "canvas")
    assert torch.equal(images[0, :, :height, :width], again)


def test_a_crop_from_a_reduced_copy_looks_like_one_from_the_photograph(tmp_path: Path) -> None:
    from selfsight.data.pictures.forms.photo import Photo
    from selfsight.data.pictures.scaling import fitted

    ramp = np.linspace(0, 255, 400 * 400).reshape(400, 400).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    photo = Photo(tmp_path / "ramp.png")

    for i in range(50):
        plain = fitted(photo.decode(i), 16, "square").int()
        quick = photo.scaled(i, 16, "square").int()
        assert (plain - quick).abs().max() <= 4


def test_what_must_keep_its_place_is_never_streamed(folder: Path) -> None:
    assert fitting(1 << 62, 1000, steady=True) == "map"
    assert fitting(1, 1000, held=True, steady=True) == "memory"
    found = read(open_data(folder).train, side=32, memory=1000, steady=True)
    assert found.storage == "map"


def test_pictures_know_their_rows_of_the_source(folder: Path) -> None:
    (folder / "a" / "00.png").write_bytes(b"")
    for storage in EVERYWHERE:
        found = read(open_data(folder).train, side=32, storage=storage)
        assert found.origins is not None
        assert found.origins.tolist() == list(range(1, 40))
        assert found.rows(torch.tensor([5])).origins.tolist() == [6]  # pyright: ignore[reportOptionalMemberAccess] -- as above
