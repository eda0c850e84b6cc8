"""Members: the samples in a tar file, and where the bytes of each lie.

A damaged or cut tar gives the samples that lie whole before the damage.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from selfsight.data.decode import Unreadable
from selfsight.data.suffixes import is_picture_name
from selfsight.errors import SelfsightError


class Place(NamedTuple):
    """Where a member's bytes are: which shard, from where, how many."""

    shard: int
    start: int
    size: int


@dataclass
class Sample:
    """The members of one sample that count, as they are found.

    Attributes:
        title: The picture's name: its shard's, and its own in there; "" while it has none.
        picture: Where the picture is.
        label: Where its class is.
        is_json: Whether that is in a .json member.
    """

    title: str = ""
    picture: Place | None = None
    label: Place | None = None
    is_json: bool = False


def samples_in(path: Path, shard: int, title: str) -> list[Sample]:
    """Group the members of a shard by their keys: -> those with a picture, in order.

    Where a shard is cut short or damaged, the sample that this befell is left out: it may lack its
    class. So is the last one, where the next member's name cannot be read.
    """
    samples: dict[str, Sample] = {}
    key, whole = "", True
    for name, place in _members(path, shard):
        key, suffix = _parted(name) if name else (key, "")
        if place is None:
            whole = False
            samples.pop(key, None)
        elif key:
            _place(samples.setdefault(key, Sample()), name, suffix, place)
    found = [sample for sample in samples.values() if sample.picture]
    for sample in found:  # two shards may both hold a 0.jpg
        sample.title = f"{title}/{sample.title}"
    if not whole and not found:
        raise SelfsightError(f"{path} is damaged or cut short: no picture lies whole in it.")
    return found


def _parted(name: str) -> tuple[str, str]:
    """Part a member's name at the first dot of its last part: -> key, "" for none, and suffix."""
    folder, _, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    return (f"{folder}/{stem}" if stem and dot else ""), suffix.lower()


def _place(sample: Sample, name: str, suffix: str, place: Place) -> None:
    """Note what a member is to its sample. A .cls member is preferred to a .json one."""
    if is_picture_name(name.rpartition("/")[2]) and sample.picture is None:
        sample.title, sample.picture = name, place
    elif suffix == "cls":
        sample.label, sample.is_json = place, False
    elif suffix == "json" and sample.label is None:
        sample.label, sample.is_json = place, True


def _members(path: Path, shard: int) -> Iterator[tuple[str, Place | None]]:
    """Go through the regular files of a tar: -> names and places, in their order.

    Where it is damaged the last one has no place, nor a name if that cannot be read either.
    """
    size, end = path.stat().st_size, 0
    try:
        # "r:" never decompresses, so what is read is bounded by the file.
        with tarfile.open(path, "r:", errorlevel=2) as tar:
            while (member := tar.next()) is not None:
                # Else every header stays in memory.
                tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue] -- its stub lacks it
                start = member.offset_data
                if member.size < 0 or start < end or start + member.size > size:
                    yield member.name, None
                    return
                end = start
                if member.isreg() and not member.issparse():
                    yield member.name, Place(shard, start, member.size)
            if _has_more(path, tar.offset):
                yield "", None
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, RecursionError):
        if end == 0:
            raise SelfsightError(
                f"{path} cannot be read as a tar file; give an uncompressed tar of pictures."
            ) from None
        yield "", None


def _has_more(path: Path, offset: int) -> bool:
    """Tell a tar that stopped at a damaged header from one that ends in zeros, or just ends."""
    with path.open("rb") as file:
        file.seek(offset)
        return any(file.read(tarfile.BLOCKSIZE))


def read_member(file: BinaryIO, place: Place) -> bytes:
    """Read a member from its shard."""
    file.seek(place.start)
    data = file.read(place.size)
    if len(data) < place.size:
        raise Unreadable("the shard has become shorter")
    return data
