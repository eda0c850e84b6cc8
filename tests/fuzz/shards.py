"""Shards: tar files with members of strange names, kinds and sizes, and with damaged bytes."""

import gzip
import io
import random
import tarfile
from pathlib import Path
from typing import Any

from fuzz.damages import HOSTILE, TEXTS, as_json, damaged, mutated
from fuzz.tables import COUNT, png

NAMES = (*TEXTS, "../../outside.png", "/outside.png", "a/../../b.png", f"{HOSTILE}.png", "a\0b.png")
KINDS = (
    tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE,
    tarfile.DIRTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"Z",
)  # fmt: skip


def make(place: Path, draw: random.Random) -> str:
    """Lay shards out: -> what to open."""
    count = draw.choice((1, 1, 1, 2))
    for number in range(count):
        data = _shard(draw, number)
        if draw.random() < 0.5:
            data = damaged(data, draw)
        (place / f"x-{number}.tar").write_bytes(data)
    if draw.random() < 0.1:
        whole = gzip.compress((place / "x-0.tar").read_bytes(), mtime=0)
        (place / "x.tar.gz").write_bytes(damaged(whole, draw))
        return str(place / "x.tar.gz")
    if draw.random() < 0.3:
        return str(place)
    braces = f"x-{{0..{count - 1}}}.tar"
    return str(place / (braces if draw.random() < 0.3 else "x-0.tar"))


def _shard(draw: random.Random, number: int) -> bytes:
    """A shard as WebDataset has it, some of whose members are strange."""
    file = io.BytesIO()
    form = draw.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT))
    end = draw.choice(("cls", "json", "txt", "cls", "json"))
    about: Any = {"label": 1, "class": "cat", "width": 20, "caption": "a cat"}
    with tarfile.open(fileobj=file, mode="w", format=form, errors="surrogateescape") as tar:
        for k in range(COUNT):
            data = damaged(png(), draw) if draw.random() < 0.05 else png()
            beside = str(k % 2).encode()
            if end == "json":
                beside = as_json(mutated(about, draw) if draw.random() < 0.2 else about)
            elif draw.random() < 0.1:
                beside = draw.choice(TEXTS).encode(errors="replace")
            for name, content in ((f"{number}{k:03}.png", data), (f"{number}{k:03}.{end}", beside)):
                _add(tar, name, content, draw)
    return file.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes, draw: random.Random) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    if draw.random() < 0.03:
        info.name = draw.choice(NAMES)
    if draw.random() < 0.03:
        info.type, info.linkname, info.size = draw.choice(KINDS), draw.choice(NAMES), 0
    if draw.random() < 0.02:
        info.pax_headers = {"size": draw.choice(("-1", "9" * 30, "x")), "path": draw.choice(NAMES)}
    if draw.random() < 0.02:
        info.pax_headers = {"GNU.sparse.realsize": "1e9", "GNU.sparse.map": "0,-1,5"}
    try:
        tar.addfile(info, io.BytesIO(data))
    except (ValueError, UnicodeError):  # this form has no room for such a name
        tar.addfile(tarfile.TarInfo("plain"), io.BytesIO(b""))
