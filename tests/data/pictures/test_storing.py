"""Storing: where pictures are stored, which are skipped, and when reading fails."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from selfsight.data.pictures import open_data, read, survey
from selfsight.errors import SelfsightError, UsageError


def grey(path: Path, value: int, width: int = 16, height: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (width, height), value).save(path)


def colour(path: Path, value: tuple[int, int, int], width: int = 16, height: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), value).save(path)


def many(folder: Path, count: int, *, broken: int) -> Path:
    for i in range(count):
        grey(folder / f"{i:03d}.png", i)
    for i in range(broken):
        (folder / f"x{i:03d}.jpg").write_text("no picture")
    return folder


def test_pictures_lie_top_left_and_black_is_beyond(tmp_path: Path) -> None:
    grey(tmp_path / "1.png", 100, width=64, height=32)
    grey(tmp_path / "2.png", 200, width=8, height=12)

    found = read(open_data(tmp_path).train, side=32)

    assert found.images.shape == (2, 1, 32, 32)
    assert found.images.dtype == torch.uint8
    assert found.extent.tolist() == [[16, 32], [12, 8]]
    assert found.tensor[0, 0, :16].eq(100).all()
    assert found.tensor[0, 0, 16:].eq(0).all()
    assert found.tensor[1, 0, :12, :8].eq(200).all()
    assert found.tensor[1].sum() == 200 * 12 * 8


def test_squares_fill_their_canvas(tmp_path: Path) -> None:
    grey(tmp_path / "1.png", 100, width=64, height=32)
    grey(tmp_path / "2.png", 200, width=8, height=12)

    found = read(open_data(tmp_path).train, side=32, fit="square")

    assert found.extent.tolist() == [[32, 32], [32, 32]]
    assert found.tensor[1].eq(200).all()


def test_titles_labels_and_classes_follow_the_source(tmp_path: Path) -> None:
    for i, name in enumerate(["a/1.png", "b/1.png", "b/2.png"]):
        grey(tmp_path / name, i)

    found = read(open_data(tmp_path).train, side=16)

    assert found.titles == ("a/1.png", "b/1.png", "b/2.png")
    assert found.classes == ("a", "b")
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 1]
    assert (found.name, found.skipped, len(found)) == (str(tmp_path), (), 3)


def test_a_late_colour_picture_turns_the_store_to_colour(tmp_path: Path) -> None:
    many(tmp_path, 200, broken=0)
    colour(tmp_path / "0501.png", (9, 8, 7))  # between 050 and 051, where no header is looked at

    source = open_data(tmp_path).train
    found = read(source, side=16)

    assert survey(source, at_most=2).channels == 1
    assert found.images.shape == (201, 3, 16, 16)
    assert found.tensor[[0, 50, 51, 52, 200], :, 0, 0].tolist() == [
        [0, 0, 0],
        [50, 50, 50],
        [9, 8, 7],
        [51, 51, 51],
        [199, 199, 199],
    ]


def test_channels_can_be_forced(tmp_path: Path) -> None:
    grey(tmp_path / "1.png", 50)
    colour(tmp_path / "2.png", (255, 0, 0))
    source = open_data(tmp_path).train

    assert read(source, side=16, channels=1).tensor[:, :, 0, 0].tolist() == [[50], [76]]
    assert read(source, side=16, channels=3).tensor[:, :, 0, 0].tolist() == [[50] * 3, [255, 0, 0]]


def test_unreadable_pictures_are_skipped_and_listed(tmp_path: Path) -> None:
    many(tmp_path, 20, broken=1)
    Image.new("L", (20, 7)).save(tmp_path / "small.png")

    found = read(open_data(tmp_path).train, side=16)

    assert len(found) == len(found.images) == len(found.titles) == 20
    assert [skipped.title for skipped in found.skipped] == ["small.png", "x000.jpg"]
    assert "side is under 8" in found.skipped[0].reason
    assert "not a picture" in found.skipped[1].reason
    assert found.tensor[:, 0, 0, 0].tolist() == list(range(20))


def test_more_than_a_tenth_unreadable_stops_with_the_first_ten(tmp_path: Path) -> None:
    many(tmp_path, 50, broken=12)

    with pytest.raises(SelfsightError) as caught:
        read(open_data(tmp_path).train, side=16)

    sentence = str(caught.value)
    assert "12 of 62 pictures" in sentence
    assert "10%" in sentence
    assert sentence.count("not a picture") == 10
    assert "and 2 more" in sentence


def test_nothing_readable_says_so(tmp_path: Path) -> None:
    many(tmp_path, 0, broken=2)

    with pytest.raises(SelfsightError, match="no readable picture in"):
        read(open_data(tmp_path).train, side=16)


def test_pictures_that_are_all_too_small_say_so(tmp_path: Path) -> None:
    for i in range(3):
        grey(tmp_path / f"{i}.png", i, width=7, height=30)

    with pytest.raises(SelfsightError, match="all 3 examined have a side under 8"):
        read(open_data(tmp_path).train, side=16)


def test_too_large_a_store_says_how_much_and_what_to_do(tmp_path: Path) -> None:
    many(tmp_path, 4, broken=0)

    with pytest.raises(SelfsightError, match=r"1\.0 kB.*1000 bytes|1\.0 kB.*1\.0 kB.*--storage"):
        read(open_data(tmp_path).train, side=16, memory=1000, storage="memory")  # needs 4 x 256


def test_a_limit_takes_the_same_pictures_from_all_over(tmp_path: Path) -> None:
    source = open_data(many(tmp_path, 60, broken=0)).train

    first, second = (read(source, side=16, limit=12) for _ in range(2))

    values = first.tensor[:, 0, 0, 0].tolist()
    assert first.titles == second.titles
    assert len(first) == 12
    assert values == sorted(values)
    assert values[0] < 30 < values[-1]


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    read(
        open_data(many(tmp_path, 30, broken=1)).train,
        side=16,
        progress=lambda done, count: seen.append((done, count)),
    )

    assert seen == [(done, 31) for done in range(1, 32)]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"side": 7}, "side must be at least 8"),
        ({"side": 16, "fit": "fill"}, "fit must be"),
        ({"side": 16, "channels": 0}, "channels must be"),
        ({"side": 16, "storage": "tape"}, "storage must be"),
        ({"side": 16, "limit": 0}, "limit must be"),
    ],
)
def test_arguments_outside_their_range_are_refused(wrong: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        read(open_data("digits").train, **wrong)


def test_a_survey_takes_the_median_and_any_colour(tmp_path: Path) -> None:
    for i, width in enumerate([10, 20, 90]):
        grey(tmp_path / f"{i}.png", i, width=width)
    source = open_data(tmp_path).train

    assert survey(source).longer_side == 20
    assert survey(source).channels == 1
    colour(tmp_path / "3.png", (1, 2, 3), height=95)
    (tmp_path / "4.png").write_text("no picture")
    found = survey(open_data(tmp_path).train)
    assert (found.longer_side, found.channels, found.count, found.looked) == (20, 3, 5, 4)


def test_a_survey_looks_at_no_more_than_asked() -> None:
    assert survey(open_data("digits").train, at_most=10).looked == 10


def test_the_digits_are_read_as_they_are() -> None:
    source = open_data("digits").train

    found = read(source, side=32)

    assert found.images.shape == (1797, 1, 32, 32)
    assert found.extent.unique().tolist() == [8]
    assert torch.equal(found.tensor[5, :, :8, :8], source.decode(5))


def test_a_view_is_read_in_its_own_order(tmp_path: Path) -> None:
    source = open_data(many(tmp_path, 10, broken=0)).train

    found = read(source.subset(torch.tensor([7, 2, 5])), side=16)

    assert found.tensor[:, 0, 0, 0].tolist() == [7, 2, 5]
    assert found.titles == ("007.png", "002.png", "005.png")


def test_caltech30_is_read_whole(shared_data: Path) -> None:
    found = read(open_data(shared_data / "caltech30").train, side=64, limit=150)

    assert found.images.shape == (150, 3, 64, 64)
    assert found.skipped == ()
    assert found.extent.max(dim=1).values.eq(64).all()
    assert found.labels is not None
    assert len(found.labels.unique()) > 25
