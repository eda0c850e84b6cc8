"""Folder: pictures in a folder and its subfolders, whose names may be classes."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from torch import Tensor

from selfsight.data.classes import numbered_words
from selfsight.data.source import EncodedSource, open_regular, stamp_of

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


class Folder(EncodedSource):
    """The pictures of a folder, in the order of their relative paths.

    Args:
        root: The folder.
        paths: Each picture's path relative to it, with forward slashes.
    """

    by_file = True

    def __init__(self, root: Path, paths: tuple[str, ...]) -> None:
        self.root = root
        self.paths = paths
        self.name = str(root)
        self.classes, self.labels = _classes(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def title(self, i: int) -> str:
        """Name picture i for messages."""
        return self.paths[i]

    def opened(self, i: int) -> BinaryIO:
        """Open its bytes for reading."""
        return open_regular(os.path.join(self.root, self.paths[i]))

    def stamp(self) -> Iterator[str]:
        """Stamp every file."""
        return (stamp_of(self.root / path) for path in self.paths)


def picture_paths(root: Path) -> tuple[str, ...]:
    """List the pictures under a folder by suffix, hidden ones left out, sorted.

    Links to folders are followed, each folder once.
    """
    found: list[str] = []
    seen: set[str] = set()
    for place, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = Path(place).relative_to(root)
        found += [(relative / name).as_posix() for name in files if is_picture_name(name)]
    return tuple(sorted(found))


def is_picture_name(name: str) -> bool:
    """Tell by its suffix whether a visible file should be a picture."""
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)


def _classes(paths: tuple[str, ...]) -> tuple[tuple[str, ...], Tensor | None]:
    """Take first-level folders for classes where every picture is in one and there are several."""
    firsts = [path.split("/")[0] for path in paths if "/" in path]
    if len(firsts) < len(paths) or len(set(firsts)) < 2:
        return (), None
    return numbered_words(firsts)
