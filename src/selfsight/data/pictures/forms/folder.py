"""Folder: pictures in a folder and its subfolders, whose names may be classes or parts.

A single folder around everything, as archives unpack to, is ignored. The folders below it are parts
if one is called train and another test or validation; otherwise they are classes if there are
several. A few pictures beside class folders are left out and named; if there are many, the folders
are not taken for classes, and a note says so.
"""

import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from torch import Tensor

from selfsight.data.pictures.forms.classes import numbered_words
from selfsight.data.pictures.forms.part_names import TEST, TRAIN, VAL, part_of_folder, tested_part
from selfsight.data.pictures.forms.walking import Walked
from selfsight.data.pictures.source import EncodedSource, PictureParts
from selfsight.data.source import open_regular, same_classes, stamp_of
from selfsight.system.escaping import escaped

MOST_STRAY = 0.1  # greatest share of pictures beside class folders that are just left out
NAMED = 3  # most pictures or folders that a message names
FEW_CLASSES = 3  # with more classes, one called train is a vehicle, not a part


class Folder(EncodedSource):
    """The pictures of a folder, in the order of their relative paths.

    Args:
        root: The folder.
        paths: Each picture's path relative to it, with forward slashes.
        words: Each picture's class; None if there are no classes.
        notes: What a user should know of them.
    """

    by_file = True

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        words: Sequence[str] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.root = root
        self.paths = tuple(paths)
        self.name = str(root)
        self.notes = notes
        self.classes: tuple[str, ...] = ()
        self.labels: Tensor | None = None
        if words is not None:
            self.classes, self.labels = numbered_words(words)

    def __len__(self) -> int:
        return len(self.paths)

    def title(self, i: int) -> str:
        """Name picture i for messages."""
        return escaped(self.paths[i])

    def file(self, i: int) -> str:
        """Name the file of picture i."""
        return os.path.join(self.root, self.paths[i])

    def opened(self, i: int) -> BinaryIO:
        """Open its bytes for reading."""
        return open_regular(self.file(i))

    def stamp(self) -> Iterator[str]:
        """Stamp every file."""
        return (stamp_of(self.root / path) for path in self.paths)


class _Tree(NamedTuple):
    """Pictures grouped by the first level of folders with several branches.

    Attributes:
        around: The folders around everything, relative, ending in a slash; "" for none.
        folders: The pictures' paths by the name of the folder below `around`.
        beside: The paths of pictures that lie directly in `around`.
    """

    around: str
    folders: dict[str, list[str]]
    beside: list[str]


def open_pictures(root: Path, there: Walked, notes: tuple[str, ...] = ()) -> PictureParts:
    """Open the pictures that were found below a folder.

    Args:
        root: The folder.
        there: What was found; at least one picture.
        notes: What else a user should know.
    """
    notes = (*there.left_out.notes, *notes)
    tree = _tree(there.paths)
    named: dict[str, list[str]] = {}
    for name in tree.folders:
        named.setdefault(part_of_folder(name), []).append(name)
    parts = {part: names[0] for part, names in named.items() if part and len(names) == 1}
    other = tested_part(parts)
    if TRAIN not in parts or other is None:
        return PictureParts(_labelled(root, there.paths, notes), None)
    used = (parts[TRAIN], parts[other])
    notes += _unused(root, tree, used)
    train = _part(root, tree, parts[TRAIN], notes)
    return PictureParts(train, same_classes(train, _part(root, tree, parts[other], ())))


def _tree(paths: Sequence[str]) -> _Tree:
    """Group pictures by folders."""
    around = posixpath.commonpath({posixpath.dirname(path) for path in paths})
    around = f"{around}/" if around else ""
    folders: dict[str, list[str]] = {}
    beside: list[str] = []
    for path in paths:
        name, slash, _ = path[len(around) :].partition("/")
        if slash:
            folders.setdefault(name, []).append(path)
        else:
            beside.append(path)
    return _Tree(around, folders, beside)


def _part(root: Path, tree: _Tree, name: str, notes: tuple[str, ...]) -> Folder:
    """Open the folder of a part."""
    place = f"{tree.around}{name}/"
    inner = [path[len(place) :] for path in tree.folders[name]]
    return _labelled(root / place, inner, notes)


def _unused(root: Path, tree: _Tree, used: tuple[str, str]) -> tuple[str, ...]:
    """Say which pictures belong to neither part."""
    others = {name: found for name, found in tree.folders.items() if name not in used}
    told = [f"{len(found):,} in {escaped(name)}" for name, found in list(others.items())[:NAMED]]
    if more := sum(len(found) for found in list(others.values())[NAMED:]):
        told.append(f"{more:,} in other folders")
    if tree.beside:
        told.append(f"{len(tree.beside):,} in no folder")
    if not told:
        return ()
    return (
        f"{root}: training uses {used[0]} and testing {used[1]}; of its pictures, "
        f"{' and '.join(told)} are not used",
    )


def _labelled(root: Path, paths: Sequence[str], notes: tuple[str, ...]) -> Folder:
    """Take folders for classes if there are several."""
    tree = _tree(paths)
    if len(tree.folders) < 2:
        return Folder(root, paths, None, notes)
    if tree.beside and len(tree.beside) > MOST_STRAY * len(paths):
        told = (
            f"{root}: {len(tree.beside):,} of {len(paths):,} pictures lie in no subfolder, "
            f"so {_few(tree.folders)} are not taken for classes"
        )
        return Folder(root, paths, None, (*notes, told))
    if tree.beside:
        lie = "lies" if len(tree.beside) == 1 else "lie"
        told = (
            f"left out of {root}: {_few(tree.beside)}, which {lie} beside the folders of the "
            f"{len(tree.folders)} classes"
        )
        notes = (*notes, told)
    words = {path: name for name, found in tree.folders.items() for path in found}
    notes = (*notes, *_like_parts(root, tuple(tree.folders)))
    return Folder(root, tuple(words), tuple(words.values()), notes)


def _few(names: Sequence[str] | dict[str, list[str]]) -> str:
    """Name the first few."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(escaped, list(names)[:NAMED])) + more


def _like_parts(root: Path, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Say that classes are called like parts, except train among many classes, a vehicle."""
    parts = {name: part_of_folder(name) for name in classes}
    like = [name for name, part in parts.items() if part]
    if not like or (len(classes) > FEW_CLASSES and set(parts.values()) <= {"", TRAIN}):
        return ()
    counts = Counter(parts[name] for name in like)
    twice = next((part for part, count in counts.items() if count > 1), None)
    why = (
        f"several are called like {twice}"
        if twice
        else f"beside {TRAIN} one of {TEST} and {VAL} is needed"
        if TRAIN in counts
        else f"none is called {TRAIN}"
    )
    return (
        f"{root}: its folders {_few(classes)} are taken for classes, though {_few(like)} "
        f"{'is' if len(like) == 1 else 'are'} called like parts of the data, as {why}; rename them "
        f"to {TRAIN} and {TEST} if they are parts",
    )
