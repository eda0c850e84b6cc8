"""Tar samples: the samples in a tar file, and the positions of their bytes.

The members of a sample share a key, their path up to the first dot of the file name. Where names
themselves contain a dot (`22.05.png`, `22.10.png`), so that several pictures would share a key, the
key is the path up to the last dot. Of two members with the same name the last one counts, as in
tar; a link counts as its target in the same tar. From a damaged or cut tar the samples that are
complete before the damage are read.
"""

import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from selfsight.data.pictures.forms.left_out import LeftOut
from selfsight.data.pictures.forms.suffixes import is_picture_name
from selfsight.data.source import Lost, Unreadable, open_regular
from selfsight.errors import SelfsightError

# Errors that tarfile raises for damaged headers.
DAMAGE = (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError)
LONG_HEADERS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
MOST_HEADER = 1 << 20  # bytes of a long header
LABELS = ("cls", "json")  # suffixes of members that may hold a class, the preferred one first


class Place(NamedTuple):
    """Where a member's bytes are: shard, position, number of bytes."""

    shard: int
    start: int
    size: int


class Sample(NamedTuple):
    """The picture and the class of one sample.

    Attributes:
        title: The picture's name: its shard's, and its own within it.
        picture: Where the picture is.
        label: Where its class is, if it has one.
        is_json: Whether the class is in a .json member.
    """

    title: str
    picture: Place
    label: Place | None
    is_json: bool


@dataclass
class _Group:
    """Members that share their path up to the first dot, by their names."""

    pictures: dict[str, Place] = field(default_factory=dict)
    labels: dict[str, Place] = field(default_factory=dict)


def samples_in(path: Path, shard: int, title: str, left_out: LeftOut) -> list[Sample]:
    """Group the members of a shard by their keys: -> samples with a picture, in order.

    If a shard is cut short or damaged, the affected sample is left out, since it may lack its
    class. So is the last sample if the next member's name cannot be read.

    Args:
        path: The shard.
        shard: Its number.
        title: Its name in titles, since two shards may both hold a 0.jpg.
        left_out: Counts what is left out.
    """
    groups: dict[str, _Group] = {}
    links: list[tuple[str, str]] = []
    key, whole = "", True
    for member in _members(path, shard, left_out):
        key = _key(member.name) if member.name else key
        if member.place is None and not member.leads_to:
            whole = False
            groups.pop(key, None)
        elif key and _counts(member.name, left_out):
            if member.leads_to:
                links.append((member.name, member.leads_to))
            else:
                _put(groups, member.name, member.place, left_out)
    for name, leads_to in links:
        place = _place_of(groups, leads_to)
        if place is None:
            left_out.links.append(f"{title}/{name}")
        else:
            _put(groups, name, place, left_out)
    found = [s for group in groups.values() for s in _samples(group, title, left_out)]
    if not whole and not found:
        raise SelfsightError(f"{path} is damaged or cut short: no picture in it is complete.")
    if not whole:
        left_out.cut.append(str(path))
    return found


def _key(name: str) -> str:
    """Give a member's path up to the first dot of its file name; "" if the name has no dot."""
    folder, _, base = name.rpartition("/")
    stem, dot, _ = base.partition(".")
    return f"{folder}/{stem or base}" if dot else ""


def _counts(name: str, left_out: LeftOut) -> bool:
    """Tell whether a member may be a picture or a class; count it if it is left out."""
    *folders, file = name.split("/")
    if file.rpartition(".")[2].lower() in LABELS and not file.startswith("."):
        return True
    return not left_out.take(folders, file)


def _put(groups: dict[str, _Group], name: str, place: Place | None, left_out: LeftOut) -> None:
    """Record where a member is; it replaces an earlier one with the same name."""
    assert place is not None  # links have been resolved
    group = groups.setdefault(_key(name), _Group())
    kind = group.pictures if is_picture_name(posixpath.basename(name)) else group.labels
    if name in kind:
        left_out.twice += kind is group.pictures
    kind[name] = place


def _place_of(groups: dict[str, _Group], name: str) -> Place | None:
    """Find a recorded member."""
    group = groups.get(_key(name), _Group())
    return group.pictures.get(name) or group.labels.get(name)


def _samples(group: _Group, title: str, left_out: LeftOut) -> Iterator[Sample]:
    """Make the sample of a group, or several samples if its names contain dots."""
    if not group.pictures:
        return
    stems = {name: _stem(name) for name in (*group.pictures, *group.labels)}
    if len(group.pictures) == 1 or not _have_dots(group, stems):
        name, place = next(iter(group.pictures.items()))
        left_out.further += len(group.pictures) - 1
        yield _sample(title, name, place, group.labels)
        return
    for name, place in group.pictures.items():
        labels = {n: p for n, p in group.labels.items() if stems[n] == stems[name]}
        yield _sample(title, name, place, labels)


def _have_dots(group: _Group, stems: dict[str, str]) -> bool:
    """Tell whether the names contain dots, rather than being several pictures of one sample.

    Pictures of one sample (`1.png`, `1.seg.png`, `1.cls`; `1.rgb.png`, `1.depth.png`) have a member
    with only the key before its suffix, or words after the key; `22.05` has a digit there.
    """
    if any("." not in posixpath.basename(stem) for stem in stems.values()):
        return False
    paired = {stems[name] for name in group.labels} & {stems[name] for name in group.pictures}
    if len(paired) > 1:
        return True
    return all(posixpath.basename(stems[n]).split(".")[1][:1].isdigit() for n in group.pictures)


def _stem(name: str) -> str:
    """Give a member's path up to its last dot."""
    return name.rpartition(".")[0]


def _sample(title: str, name: str, place: Place, labels: dict[str, Place]) -> Sample:
    """Make a sample, with the class of the same name as its picture, else with the first one."""
    stem = _stem(name)

    def rank(label: str) -> tuple[bool, int]:
        return _stem(label) != stem, LABELS.index(label.rpartition(".")[2].lower())

    best = min(labels, key=rank, default=None)
    is_json = best is not None and best.lower().endswith(".json")
    return Sample(f"{title}/{name}", place, labels.get(best) if best else None, is_json)


class _Header(tarfile.TarInfo):
    """A tar header whose long names and attributes are not read into memory if they are huge."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in LONG_HEADERS and self.size > MOST_HEADER:
            raise tarfile.ReadError("a header longer than any name")
        return super()._proc_member(archive)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType] -- its stub lacks it


class _Member(NamedTuple):
    """A file or a link in a tar.

    Attributes:
        name: Its path; "" if it cannot be read.
        place: Where its bytes are; None if they are cut short, and for links.
        leads_to: A link's target.
    """

    name: str
    place: Place | None
    leads_to: str = ""


def _members(path: Path, shard: int, left_out: LeftOut) -> Iterator[_Member]:
    """Iterate over the files of a tar, and the links to them, in order.

    In a damaged tar the last one has no place, and no name if that cannot be read. A tar without
    the zeros at its end, as if it were cut between two files, is recorded in `left_out`.
    """
    size, end = path.stat().st_size, 0
    try:
        with open_regular(path) as file, open_tar(file) as tar:
            while (member := tar.next()) is not None:
                # Otherwise every header would stay in memory.
                tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue] -- its stub lacks it
                name, start = member.name.removeprefix("./"), member.offset_data
                if member.size < 0 or start < end or start + member.size > size:
                    yield _Member(name, None)
                    return
                end = start
                if member.isreg() and not member.issparse():
                    yield _Member(name, Place(shard, start, member.size))
                elif member.islnk():
                    yield _Member(name, None, member.linkname.removeprefix("./"))
                elif member.issym():
                    near = posixpath.join(posixpath.dirname(name), member.linkname)
                    yield _Member(name, None, posixpath.normpath(near))
            if _has_more(path, tar.offset):
                yield _Member("", None)
            elif tar.offset >= size:
                left_out.cut.append(str(path))
    except (Unreadable, OSError, *DAMAGE):
        if end == 0:
            raise SelfsightError(
                f"{path} cannot be read as a tar file; give an uncompressed tar of pictures."
            ) from None
        yield _Member("", None)


def open_tar(file: BinaryIO) -> tarfile.TarFile:
    """Open an uncompressed tar, so that no more can be read than the file holds."""
    return tarfile.open(fileobj=file, mode="r:", errorlevel=2, tarinfo=_Header)


def _has_more(path: Path, offset: int) -> bool:
    """Tell whether a tar stopped at a damaged header, rather than at zeros or its end."""
    with open_regular(path) as file:
        file.seek(offset)
        return any(file.read(tarfile.BLOCKSIZE))


def read_member(file: BinaryIO, place: Place) -> bytes:
    """Read a member from its shard."""
    file.seek(place.start)
    data = file.read(place.size)
    if len(data) < place.size:
        raise Lost("the shard has become shorter")
    return data
