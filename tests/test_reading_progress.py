"""Reading aloud: what a user should know of the data is said once, on standard error."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from selfsight.data.pictures import Header
from selfsight.data.pictures.reading_progress import read_with_progress
from selfsight.data.pictures.source import PictureSource
from selfsight.data.pictures.storing import read


class Stacks(PictureSource):
    """Four pictures, of which the second and the last have further pages."""

    classes = ()
    labels = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.notes = (f"{name} lies on a shelf",)

    def __len__(self) -> int:
        return 4

    def title(self, i: int) -> str:
        return f"{i}.tif"

    def header(self, i: int) -> Header:
        return Header(9, 9, 1, besides=("pages",) if i % 2 else ())

    def decode(self, i: int) -> Tensor:
        return torch.full((1, 9, 9), i, dtype=torch.uint8)

    def stamp(self) -> Iterator[str]:
        yield self.name


def test_pictures_carry_the_notes_of_their_source_and_what_their_files_hold_besides() -> None:
    found = read(Stacks("stacks"), side=16)

    assert found.notes == (
        "stacks lies on a shelf",
        "of 4 files of stacks that were examined, 2 hold further pages, which are not read; the "
        "first: 1.tif",
    )


def test_notes_go_with_a_part_of_the_pictures() -> None:
    found = read(Stacks("stacks").subset(torch.tensor([2, 3])), side=16)

    assert [note.partition(",")[0] for note in found.notes] == [
        "stacks lies on a shelf",
        "of 2 files of stacks that were examined",
    ]


def test_notes_are_said_once_however_often_the_pictures_are_read(
    capfd: pytest.CaptureFixture[str],
) -> None:
    source = Stacks("read twice")

    for rows in ([0, 1], [2, 3]):
        read_with_progress(source.subset(torch.tensor(rows)), side=16, listed_in="nowhere")

    said, printed = capfd.readouterr().err.splitlines(), "read twice lies on a shelf"
    assert said.count(printed) == 1
    assert said.index(printed) < next(k for k, line in enumerate(said) if "reading" in line)
