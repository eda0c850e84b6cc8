"""Shards: tar files in the layout of WebDataset, read in place.

The members of a sample stand together and share a key, their path up to the first dot of the file
name: `0001.jpg`, `0001.cls`. The picture is the sample's first member with a picture's suffix; its
class is in `.cls`, a number or a word, or in `.json` under `label` or `cls`. Each shard is gone
through once, for the places of its members; after that any picture is one read at a known place,
and nothing is ever unpacked to the disk.
"""

import io
import itertools
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from torch import Tensor

from selfsight.data.classes import numbered_words
from selfsight.data.decode import Unreadable
from selfsight.data.folder import is_picture_name
from selfsight.data.source import EncodedSource, Parts, Source, same_classes, stamp_of
from selfsight.errors import SelfsightError

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
PART = re.compile(r"(train|test|val|valid|validation)(?![a-z])", re.IGNORECASE)
BRACES = re.compile(r"\{([^{}]*)\}")
MOST_SHARDS = 100_000
MOST_LABEL = 1 << 20  # bytes of a .cls or .json member
LABEL_KEYS = ("label", "cls")  # of a .json member


class Place(NamedTuple):
    """Where a member's bytes are: which shard, from where, how many."""

    shard: int
    start: int
    size: int


@dataclass
class Sample:
    """The members of one sample that count, as they are found.

    Attributes:
        title: The picture's name in its shard; "" while it has none.
        picture: Where the picture is.
        label: Where its class is.
        is_json: Whether that is in a .json member.
    """

    title: str = ""
    picture: Place | None = None
    label: Place | None = None
    is_json: bool = False


class Shards(EncodedSource):
    """The pictures of some tar files, in their order.

    Args:
        name: Where they come from, as the user wrote it.
        paths: The files.

    Raises:
        SelfsightError: If there is no picture in them, or some have a class and some have none.
    """

    def __init__(self, name: str, paths: list[Path]) -> None:
        self.name = name
        self.paths = paths
        samples = [s for k, path in enumerate(paths) for s in _samples(path, k)]
        if not samples:
            raise SelfsightError(
                f"{name} holds no pictures; a sample's members share a name, such as 0001.jpg and "
                "0001.cls. Give tar files like that."
            )
        self._titles = [sample.title for sample in samples]
        self._places = [sample.picture for sample in samples]
        self.classes, self.labels = self._labelled(samples)

    def __len__(self) -> int:
        return len(self._places)

    def title(self, i: int) -> str:
        """Name picture i for messages."""
        return self._titles[i]

    def opened(self, i: int) -> BinaryIO:
        """Open its bytes for reading."""
        place = self._places[i]
        assert place is not None  # samples without a picture are left out
        return io.BytesIO(self._read(place))

    def stamp(self) -> Iterator[str]:
        """Stamp every shard."""
        return map(stamp_of, self.paths)

    def _read(self, place: Place) -> bytes:
        """Read a member; each time through a file of its own, so that threads may."""
        with self.paths[place.shard].open("rb") as file:
            file.seek(place.start)
            data = file.read(place.size)
        if len(data) < place.size:
            raise Unreadable("the shard has become shorter")
        return data

    def _labelled(self, samples: list[Sample]) -> tuple[tuple[str, ...], Tensor | None]:
        """Read and number the classes, if there are any."""
        words = [self._label(sample) for sample in samples]
        bare = next((k for k, word in enumerate(words) if word is None), None)
        if bare is None:
            return numbered_words([word for word in words if word is not None])
        if any(word is not None for word in words):
            raise SelfsightError(
                f"every sample must have a class or none; {self.name} has none for "
                f"{samples[bare].title}. Add a .cls member to it, or remove the others."
            )
        return (), None

    def _label(self, sample: Sample) -> str | None:
        """Read a class in words; None where a sample has none."""
        if sample.label is None:
            return None
        if sample.label.size > MOST_LABEL:
            raise SelfsightError(f"the class of {sample.title} in {self.name} is too long.")
        try:
            text = self._read(sample.label).decode().strip()
            return _label_in_json(text) if sample.is_json else text or None
        except (ValueError, RecursionError) as error:  # JSON, UTF-8
            raise SelfsightError(
                f"the class of {sample.title} in {self.name} cannot be read: {error}"
            ) from error


def _label_in_json(text: str) -> str | None:
    """Find a class in a JSON object: a whole number or a word."""
    held = json.loads(text)
    if not isinstance(held, dict):
        return None
    value = next((held[key] for key in LABEL_KEYS if key in held), None)
    if value is None or (type(value) in (int, str) and str(value).strip()):
        return None if value is None else str(value).strip()
    raise ValueError(f"a class is a whole number or a word, not {value!r}")


def _samples(path: Path, shard: int) -> list[Sample]:
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
                # Else every header stays in memory. (An attribute that the stubs leave out.)
                tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
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


def open_shard(path: Path) -> Parts:
    """Open one tar file."""
    return Parts(Shards(str(path), [path]), None)


def open_shard_folder(root: Path) -> Parts | None:
    """Open the tar files of a folder, in parts by their names; None where there are none."""
    paths = sorted(p for p in root.iterdir() if _is_shard(p))
    if not paths:
        refuse_compressed(*root.iterdir())
        return None
    parts: dict[str, list[Path]] = {}
    for path in paths:
        match = PART.match(path.name)
        parts.setdefault(match[1].lower() if match else "", []).append(path)
    other = next((parts[p] for p in ("test", "val", "valid", "validation") if p in parts), None)
    if "train" not in parts or "" in parts:
        return Parts(Shards(str(root), paths), None)
    train: Source = Shards(str(root), parts["train"])
    return Parts(train, same_classes(train, Shards(str(root), other)) if other else None)


def _is_shard(path: Path) -> bool:
    return path.suffix.lower() == ".tar" and not path.name.startswith(".") and path.is_file()


def open_braces(pattern: str) -> Parts:
    """Open the shards that a pattern such as `train-{0000..0146}.tar` names.

    Raises:
        SelfsightError: If one of them is not there.
    """
    paths = [Path(name) for name in expanded(pattern)]
    refuse_compressed(*paths)
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise SelfsightError(
            f"{pattern} names {len(paths)} shards, of which {len(missing)} are not there, such as "
            f"{missing[0]}. Correct the numbers, or fetch these."
        )
    return Parts(Shards(pattern, paths), None)


def has_braces(where: str) -> bool:
    """Tell whether the text names several shards."""
    return BRACES.search(where) is not None and where.lower().endswith((".tar", *COMPRESSED))


def expanded(pattern: str) -> list[str]:
    """Write out `{00..12}` and `{a,b}` in a pattern, in order.

    >>> expanded("s-{08..10}.tar")
    ['s-08.tar', 's-09.tar', 's-10.tar']

    Raises:
        SelfsightError: If there are more than `MOST_SHARDS`, or a range is no range.
    """
    pieces = BRACES.split(pattern)  # text, braces, text, ...
    choices = [[piece] if k % 2 == 0 else _choices(piece) for k, piece in enumerate(pieces)]
    count = 1
    for choice in choices:
        count *= len(choice)
    if count > MOST_SHARDS:
        raise SelfsightError(
            f"at most {MOST_SHARDS} shards can be named at once; {pattern} names {count}."
        )
    return ["".join(parts) for parts in itertools.product(*choices)]


def _choices(piece: str) -> list[str]:
    """Write out what stands between braces."""
    match = re.fullmatch(r"(\d{1,18})\.\.(\d{1,18})", piece)
    if match is None:
        return piece.split(",")
    first, last = int(match[1]), int(match[2])
    if not 0 <= last - first < MOST_SHARDS:
        raise SelfsightError(
            f"a range of shards goes up, by at most {MOST_SHARDS}; got {{{piece}}}."
        )
    return [str(k).zfill(len(match[1])) for k in range(first, last + 1)]


def refuse_compressed(*paths: Path) -> None:
    """Say what to do with compressed tar files, in which nothing has a known place."""
    for path in paths:
        if path.name.lower().endswith(COMPRESSED):
            raise SelfsightError(
                f"a shard must be an uncompressed tar, so that any picture can be read alone; "
                f"{path} is compressed. Unpack it once, with gunzip for .gz or .tgz."
            )
