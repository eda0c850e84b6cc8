"""Text: files of running words, listed, not yet read.

Whatever is text is read: one file, or every file under a folder, as it is or packed by gzip, told
by its first bytes and not by its name. Line ends mean nothing: a sentence may have a line, or a
paragraph, or be broken over several. Text is UTF-8. Single bytes that are not, as a damaged line
has them, part words like a space, and are counted; a file in which they are many is in another
encoding, and is skipped.
"""

import gzip
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from torch import Tensor

from selfsight.data.source import (
    MOST_CONTENT,
    Parts,
    Source,
    Unreadable,
    open_regular,
    stamp_of,
)
from selfsight.errors import SelfsightError
from selfsight.system.escaping import escaped
from selfsight.system.paths import is_run

BLOCK = 1 << 20  # bytes that are read at a time
LONGEST = 1 << 24  # bytes without a space after which a block is cut anywhere
MOST_STRAY = 0.01  # share of bytes that are not UTF-8, past which a file is in another encoding
GZIP, UTF16 = b"\x1f\x8b", (b"\xff\xfe", b"\xfe\xff")
_STRAY = re.compile("[\udc80-\udcff]")  # how Python keeps bytes that are not UTF-8


class NoText(Unreadable):
    """A file that is no text, as a picture among them."""


class Stray(NamedTuple):
    """Bytes of a file that are not UTF-8.

    Attributes:
        number: How many there are.
        first: Where and what the first is, in words.
    """

    number: int
    first: str


class Text(Source):
    """Files of running words.

    Args:
        name: As the user wrote it.
        root: The folder that the paths are relative to.
        paths: Of the files, sorted.

    Attributes:
        stray: Bytes that are not UTF-8 in the files that were read, by the file's place.
    """

    by_file = True

    def __init__(self, name: str, root: Path, paths: list[str]) -> None:
        self.name, self.root, self.paths = name, root, paths
        self.stray: dict[int, Stray] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def title(self, i: int) -> str:
        """Name file i by its relative path."""
        return escaped(self.paths[i])

    def file(self, i: int) -> str | None:
        """Name the path of file i."""
        return str(self.root / self.paths[i])

    def content(self, i: int) -> bytes:
        """Give how many bytes a file has, and the first of them."""
        try:
            with open_regular(self.root / self.paths[i]) as file:
                return b"%d " % os.fstat(file.fileno()).st_size + file.read(MOST_CONTENT)
        except (Unreadable, OSError):
            return b""

    def stamp(self) -> Iterator[str]:
        """Stamp every file by path, size and time of change."""
        for path in self.paths:
            yield stamp_of(self.root / path)

    def viewed(self, rows: Tensor, classes: tuple[str, ...], labels: Tensor | None) -> "Text":
        """Give some of the files."""
        return Text(self.name, self.root, [self.paths[row] for row in rows.tolist()])

    def bytes_of(self, i: int) -> int:
        """Tell how many bytes file i has on the disk; 0 where it is not there."""
        try:
            return os.stat(self.root / self.paths[i]).st_size
        except OSError:
            return 0

    def is_packed(self, i: int) -> bool:
        """Tell whether file i is packed by gzip, by its first bytes."""
        try:
            with open_regular(self.root / self.paths[i]) as file:
                return file.read(len(GZIP)) == GZIP
        except (Unreadable, OSError):
            return False

    def blocks(self, i: int) -> Iterator[tuple[str, int]]:
        """Read file i, block by block, none of which ends within a word.

        Yields:
            A piece of text, and how many bytes of the file were read so far.

        Raises:
            NoText: If it is no text.
            Unreadable: If it cannot be read, or is not in UTF-8.
        """
        try:
            with open_regular(self.root / self.paths[i]) as file:
                packed = file.read(2) == GZIP
                file.seek(0)
                inner = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file
                self.stray.pop(i, None)
                for text, stray in _checked(_pieces(inner)):
                    if stray is not None:
                        self.stray[i] = stray
                    yield text, file.tell()
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise Unreadable(f"cannot be read: {reason}") from error


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """Cut a file into pieces that end at a space.

    Raises:
        NoText: If there is a byte 0, which no text has.
        Unreadable: If it is in UTF-16, which has many.
    """
    rest, done = b"", 0
    while block := file.read(BLOCK):
        if not done and block.startswith(UTF16):
            raise Unreadable("is in UTF-16, and must be in UTF-8: iconv -f UTF-16 -t UTF-8")
        if b"\0" in block:
            raise NoText(f"is no text: byte {done + block.index(0):,} is 0")
        done += len(block)
        block = rest + block
        end = max(block.rfind(b" "), block.rfind(b"\n"))
        if end < 0 and len(block) < LONGEST:
            rest = block
            continue
        cut = end + 1 if end >= 0 else len(block)
        rest = block[cut:]
        yield block[:cut]
    if rest:
        yield rest


def _checked(pieces: Iterator[bytes]) -> Iterator[tuple[str, "Stray | None"]]:
    """Decode pieces, and judge whether they are UTF-8.

    Yields:
        A piece, and the bytes so far that are not UTF-8; None without any.

    Raises:
        Unreadable: If there is too much that is not UTF-8.
    """
    done, stray, first = 0, 0, ""
    for piece in pieces:
        text = piece.decode("utf-8", "surrogateescape")
        found = _STRAY.search(text)
        if found and not first:
            at = done + len(text[: found.start()].encode("utf-8", "surrogateescape"))
            first = f"byte {at:,} is 0x{ord(found[0]) - 0xDC00:02X}"
        stray += len(_STRAY.findall(text)) if found else 0
        done += len(piece)
        if stray > MOST_STRAY * done:
            raise Unreadable(
                f"is not in UTF-8: {first}; convert it, from Latin-1 for example by "
                "iconv -f LATIN1 -t UTF-8"
            )
        yield text, Stray(stray, first) if stray else None


def open_text(data: str) -> Parts[Text]:
    """List the files of what the user named: a file, or a folder with all that is under it.

    Hidden files and selfsight's own runs are left out.

    Raises:
        SelfsightError: If nothing is there.
    """
    path = Path(data)
    if path.is_dir():
        paths = _walked(path)
        if not paths:
            raise SelfsightError(f"no file in {escaped(data)}; give a folder of text, or a file")
        return Parts(Text(data, path, paths), None)
    if not os.path.lexists(path):
        raise SelfsightError(
            f"{escaped(data)} is not there; give text: a file, or a folder of files"
        )
    return Parts(Text(data, path.parent, [path.name]), None)


def _walked(root: Path) -> list[str]:
    """List the files under a folder, sorted; links to folders are followed, each folder once."""
    found: list[str] = []
    seen: set[str] = set()
    for place, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen or is_run(files):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = Path(place).relative_to(root)
        found += ((relative / name).as_posix() for name in files if not name.startswith("."))
    return sorted(found)
