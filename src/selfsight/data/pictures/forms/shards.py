"""Shards: tar files in the layout of WebDataset, read without unpacking.

The members of a sample are adjacent and share a key, their path up to the first dot of the file
name: `0001.jpg`, `0001.cls`. The picture is the sample's first member with a picture's suffix; its
class is in `.cls`, a number or a word, or in `.json` under `label` or `cls`. Each shard is scanned
once for the positions of its members; afterwards any picture is a single read, and nothing is ever
unpacked to the disk.
"""

import io
import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from selfsight.data.pictures.files.header import MOST_BYTES
from selfsight.data.pictures.forms.classes import NO_LABELS, Labels, classes_of, labels_or_reason
from selfsight.data.pictures.forms.left_out import LeftOut
from selfsight.data.pictures.forms.part_names import (
    TRAIN,
    VAL,
    in_parts,
    tested_part,
    told_of_unused,
)
from selfsight.data.pictures.forms.tar_samples import Sample, read_member, samples_in
from selfsight.data.pictures.source import EncodedSource, PictureParts, PictureSource
from selfsight.data.source import Lost, Unreadable, open_regular, same_classes, stamp_of, state_of
from selfsight.errors import SelfsightError
from selfsight.system.escaping import escaped

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
BRACES = re.compile(r"\{([^{}]*)\}")
MOST_SHARDS = 100_000
MOST_LABEL = 1 << 20  # bytes of a .cls or .json member
LABEL_KEYS = ("label", "cls")  # of a .json member


class Shards(EncodedSource):
    """The pictures of some tar files, in their order.

    Args:
        name: Where they come from, as the user wrote it.
        paths: The files.

    Raises:
        SelfsightError: If there is no picture in them.
    """

    def __init__(self, name: str, paths: list[Path]) -> None:
        self.name = name
        self.paths = paths
        titles = _titles(paths)
        self._states = [_state(path) for path in paths]
        left_out = LeftOut(name)
        samples = [s for k, p in enumerate(paths) for s in samples_in(p, k, titles[k], left_out)]
        self.notes = left_out.notes
        if not samples:
            raise SelfsightError(
                f"{name} holds no pictures; the members of a sample must share a name, such as "
                "0001.jpg and 0001.cls. Give tar files like that."
                + "".join(f"\n  {n}" for n in self.notes)
            )
        self._titles = [sample.title for sample in samples]
        self._places = [sample.picture for sample in samples]
        self.classes, self.labels, self.unlabelled = labels_or_reason(
            lambda: self._labelled(samples)
        )

    def __len__(self) -> int:
        return len(self._places)

    def title(self, i: int) -> str:
        """Name picture i for messages."""
        return escaped(self._titles[i])

    def opened(self, i: int) -> BinaryIO:
        """Open its bytes for reading."""
        place = self._places[i]
        if place.size > MOST_BYTES:
            raise Unreadable(f"{place.size} bytes: more than {MOST_BYTES}, not read")
        with open_regular(self.paths[place.shard]) as file:  # separate for each thread
            if state_of(file) != self._states[place.shard]:
                raise Lost("the shard has changed since it was listed")
            return io.BytesIO(read_member(file, place))

    def stamp(self) -> Iterator[str]:
        """Stamp every shard."""
        return map(stamp_of, self.paths)

    def _labelled(self, samples: list[Sample]) -> Labels:
        """Read and number the classes, if there are any."""
        words = list(self._words(samples))
        bare = next((k for k, word in enumerate(words) if word is None), None)
        if bare is None:
            return classes_of(words, f"the classes in {self.name}")
        if any(word is not None for word in words):
            raise SelfsightError(
                f"every sample must have a class, or none may; {self.name} has none for "
                f"{samples[bare].title}. Add a .cls member to it, or remove the others."
            )
        return NO_LABELS

    def _words(self, samples: list[Sample]) -> Iterator[str | None]:
        """Read the classes as words, opening each shard once; None for a sample without class."""
        for shard, some in itertools.groupby(samples, key=_shard_of):
            with _opened(self.paths[shard]) as file:
                for sample in some:
                    yield self._label(sample, file)

    def _label(self, sample: Sample, file: BinaryIO) -> str | None:
        """Read one class from its shard."""
        if sample.label is None:
            return None
        if sample.label.size > MOST_LABEL:
            raise SelfsightError(f"the class of {sample.title} in {self.name} is too long.")
        try:
            text = read_member(file, sample.label).decode().strip()
            return _label_in_json(text) if sample.is_json else text or None
        except (ValueError, RecursionError) as error:  # JSON, UTF-8
            raise SelfsightError(
                f"the class of {sample.title} in {self.name} cannot be read: {error}"
            ) from error


def _opened(path: Path) -> BinaryIO:
    """Open a shard, or explain in a sentence why it cannot be opened."""
    try:
        return open_regular(path)
    except OSError as error:
        raise SelfsightError(f"{path} cannot be opened: {error.strerror or error}.") from error
    except Unreadable as reason:
        raise SelfsightError(f"{path} cannot be read: it is {reason}.") from reason


def _state(path: Path) -> tuple[int, int]:
    """Give what changes when a shard changes."""
    with _opened(path) as file:
        return state_of(file)


def _shard_of(sample: Sample) -> int:
    return sample.picture.shard


def _titles(paths: list[Path]) -> list[str]:
    """Name shards by their paths relative to the folder that contains all of them."""
    places = [os.path.abspath(path) for path in paths]
    above = os.path.commonpath([os.path.dirname(place) for place in places])
    return [Path(place).relative_to(above).as_posix() for place in places]


def _label_in_json(text: str) -> str | None:
    """Find a class in a JSON object: a whole number or a word."""
    held = json.loads(text)
    if not isinstance(held, dict):
        return None
    value = next((held[key] for key in LABEL_KEYS if key in held), None)
    if value is None or (type(value) in (int, str) and str(value).strip()):
        return None if value is None else str(value).strip()
    raise ValueError(f"a class is a whole number or a word, not {value!r}")


def open_shard(path: Path) -> PictureParts:
    """Open one tar file."""
    return PictureParts(Shards(str(path), [path]), None)


def open_shard_folder(root: Path) -> PictureParts | None:
    """Open the tar files of a folder, in parts by their names; None where there are none.

    Raises:
        SelfsightError: If only some names name a part, or none of several parts is for training.
    """
    paths = sorted(p for p in root.iterdir() if _is_shard(p))
    if not paths:
        refuse_compressed(*root.iterdir())
        return None
    return _in_parts(str(root), paths)


def _in_parts(name: str, paths: list[Path]) -> PictureParts:
    """Open shards in parts by their names; all as one if the names name one part or none."""
    parts = in_parts(name, paths)
    train: PictureSource = Shards(name, parts[TRAIN])
    other = tested_part(parts)
    if other is None:
        return PictureParts(train, None)
    unused = parts.get(VAL, [])
    train.notes += told_of_unused(name, f"{len(unused)} shards", parts)
    return PictureParts(train, same_classes(train, Shards(name, parts[other])))


def _is_shard(path: Path) -> bool:
    return path.suffix.lower() == ".tar" and not path.name.startswith(".") and path.is_file()


def open_braces(pattern: str) -> PictureParts:
    """Open the shards that a pattern such as `train-{0000..0146}.tar` names, in parts as well.

    Raises:
        SelfsightError: If one of them does not exist, or the names of parts are inconsistent.
    """
    paths = [Path(name) for name in expanded(pattern)]
    refuse_compressed(*paths)
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise SelfsightError(
            f"{pattern} names {len(paths)} shards, of which {len(missing)} do not exist, such as "
            f"{missing[0]}. Correct the numbers, or fetch these."
        )
    return _in_parts(pattern, paths)


def has_braces(where: str) -> bool:
    """Tell whether the text names several shards."""
    return BRACES.search(where) is not None and where.lower().endswith((".tar", *COMPRESSED))


def expanded(pattern: str) -> list[str]:
    """Expand `{00..12}` and `{a,b}` in a pattern, in order.

    >>> expanded("s-{08..10}.tar")
    ['s-08.tar', 's-09.tar', 's-10.tar']

    Raises:
        SelfsightError: If there are more than `MOST_SHARDS`, or a range is invalid.
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
    """Expand the text between braces."""
    match = re.fullmatch(r"(\d{1,18})\.\.(\d{1,18})", piece)
    if match is None:
        return piece.split(",")
    first, last = int(match[1]), int(match[2])
    if not 0 <= last - first < MOST_SHARDS:
        raise SelfsightError(
            f"a range of shards must rise, by at most {MOST_SHARDS}; got {{{piece}}}."
        )
    return [str(k).zfill(len(match[1])) for k in range(first, last + 1)]


def refuse_compressed(*paths: Path) -> None:
    """Refuse compressed tar files, whose members have no fixed position, and say what to do."""
    for path in paths:
        if path.name.lower().endswith(COMPRESSED):
            raise SelfsightError(
                f"a shard must be an uncompressed tar, so that any picture can be read alone; "
                f"{path} is compressed. Unpack it once, with gunzip for .gz or .tgz."
            )
