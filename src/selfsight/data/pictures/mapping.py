"""Mapping: decodes pictures onto the disk once, for data that does not fit into memory.

A map is a folder in the cache; `maps` defines its format. Its name is a hash of all that its
content depends on: the files' paths, sizes and times, and how pictures are scaled. It is written
beside its place and renamed, under a lock that ends with the process: a crash leaves nothing that
is ever read, and a second run that needs the same map waits for the first. A link in its place is
removed, and its target stays. Pictures that could not be read are tried again whenever a map is
opened, since the cause may have gone (a permission, a missing package); then the map is rewritten.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from selfsight.data.pictures.canvases import Form
from selfsight.data.pictures.decoding import Wanted, workers
from selfsight.data.pictures.maps import ABOUT, IMAGES, Map, Writer, opened
from selfsight.data.pictures.skipping import Failure, judge
from selfsight.data.source import Unreadable
from selfsight.errors import SelfsightError
from selfsight.system import atomic, machine
from selfsight.system.escaping import escaped
from selfsight.system.locks import alone, alone_if_free

REVISION = 1  # of the format: another number makes old maps invalid
UNUSED_DAYS = 30  # after which a map is removed when another one is written
ELSEWHERE = (
    "or name another folder with SELFSIGHT_CACHE; pretrain can decode as it goes with "
    "--storage stream"
)
DOING = "writes the memory map of the same pictures"


@dataclass(frozen=True)
class _Keeping:
    """Turn system errors in a block into errors about the cache, not about pictures.

    Attributes:
        name: Where the pictures come from.
        folder: The folder of maps.
    """

    name: str
    folder: Path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, OSError):
            what = f"cannot keep the memory map of {escaped(self.name)}"
            with atomic.blamed(self.folder, ELSEWHERE, what=what):
                raise error


def mapped(wanted: Wanted, progress: Callable[[int, int], None] | None) -> Map:
    """Open the map of the wanted pictures; write it first if needed.

    Raises:
        SelfsightError: If the cache cannot be written, or too many pictures cannot be read.
    """
    folder, key = machine.cache_folder() / "maps", _key(wanted)
    keeping, place = _Keeping(wanted.source.name, folder), folder / key
    with contextlib.ExitStack() as stack:
        try:
            with keeping:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(alone(folder / f"{key}.lock", doing=DOING))
        except SelfsightError:
            if (found := _opened(place)) is None:
                raise
            return found  # from a cache that this user may only read
        found = _opened(place)
        if found is None or _heals(found, wanted):
            with keeping:
                _tidy(folder, key)
            part = folder / f"{key}.{secrets.token_hex(8)}.part"
            _write(wanted, part, keeping, progress)
            with keeping:
                _put(part, place)
                atomic.settle(folder)
            found = _opened(place)
        with contextlib.suppress(OSError):
            os.utime(place)  # mark it as used
    if found is None:
        raise SelfsightError(
            f"the memory map {place} is damaged right after writing; check the disk, {ELSEWHERE}"
        )
    return found


def _opened(place: Path) -> Map | None:
    """Open a map; None if there is none, it is damaged, or it is a link."""
    return None if place.is_symlink() else opened(place)


def _put(part: Path, place: Path) -> None:
    """Move a map to its place, unless another process did, as is possible without locks."""
    try:
        part.rename(place)
    except OSError:
        if _opened(place) is None:
            raise
        shutil.rmtree(part, ignore_errors=True)


def _heals(found: Map, wanted: Wanted) -> bool:
    """Try unreadable pictures again: -> whether some of them can be read now."""
    kept = set(found.kept)
    rows = [row for row in wanted.rows if row not in kept]
    form = Form(found.canvases.shape[1], 8 if found.canvases.dtype == torch.uint8 else 16)
    if not rows:
        return False
    with workers() as pool, contextlib.closing(wanted.decoded(rows, pool)) as results:
        return any(_goes(result, form) for _, result in results)


def _goes(result: Tensor | Unreadable, form: Form) -> bool:
    """Tell whether this is a picture that can be joined with those of a form."""
    try:
        return not isinstance(result, Unreadable) and bool(form.joined(Form.of(result)))
    except Unreadable:
        return False


def _key(wanted: Wanted) -> str:
    """Hash all that a map depends on: -> hexadecimal digits."""
    how = (REVISION, wanted.side, wanted.fit, wanted.channels)
    digest = hashlib.blake2b(repr(how).encode(), digest_size=16)
    for stamp in wanted.source.stamp():
        digest.update(stamp.encode("utf-8", "surrogateescape") + b"\0")
    digest.update(np.array(wanted.rows).tobytes())
    if wanted.source.labels is not None:
        digest.update(wanted.source.labels.numpy().tobytes())
    return digest.hexdigest()


def _tidy(folder: Path, key: str) -> None:
    """Remove the map of this key, maps unused for long, and what crashes left."""
    _remove(folder / key)
    before = time.time() - UNUSED_DAYS * 24 * 3600
    parts: dict[str, list[Path]] = {key: []}
    for place in list(folder.iterdir()):
        if place.suffix in (".part", ".lock"):
            parts.setdefault(place.name.partition(".")[0], []).append(place)
        elif place.suffix == "" and place.is_dir() and place.lstat().st_mtime < before:
            _remove(place)
    own = parts.pop(key)
    for other, places in parts.items():
        with alone_if_free(folder / f"{other}.lock") as free:
            if free:  # no process is writing it
                _remove_all(places)
                if not (folder / other).exists():
                    (folder / f"{other}.lock").unlink(missing_ok=True)
    _remove_all(own)


def _remove_all(places: list[Path]) -> None:
    """Remove the half-written maps among these paths."""
    for place in places:
        if place.suffix == ".part":
            _remove(place)


def _remove(place: Path) -> None:
    """Remove a folder of ours, or a link that lies in its place."""
    if place.is_symlink():
        place.unlink()
    else:
        shutil.rmtree(place, ignore_errors=True)


def _write(
    wanted: Wanted, part: Path, keeping: _Keeping, progress: Callable[[int, int], None] | None
) -> None:
    """Write a map into a new folder, completely or not at all."""
    with keeping:
        part.mkdir()
    try:
        form = wanted.form
        while (wider := _filled(wanted, form, part, keeping, progress)) is not None:
            form = wider  # start again: what is written has the narrower form
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _check_room(wanted: Wanted, form: Form, folder: Path) -> None:
    """Refuse a map that is larger than the free disk space.

    Raises:
        SelfsightError: If it is larger.
    """
    needed = len(wanted.rows) * form.bytes_each(wanted.side)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SelfsightError(
            f"the memory map of {wanted.source.name} needs {machine.size_in_words(needed)}, and "
            f"{machine.size_in_words(free)} are free in {folder}. Make room, {ELSEWHERE}"
        )


@contextlib.contextmanager
def _closing(file: BufferedWriter) -> Generator[None]:
    """Close a file after a block, ignoring errors: `Writer.finish` has flushed it before."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.close()


def _filled(
    wanted: Wanted,
    form: Form,
    part: Path,
    keeping: _Keeping,
    progress: Callable[[int, int], None] | None,
) -> Form | None:
    """Write all pictures in this form: -> None, or the wider form that a picture needs."""
    count = len(wanted.rows)
    with keeping:
        (part / IMAGES).unlink(missing_ok=True)
        _check_room(wanted, form, part.parent)
        file = (part / IMAGES).open("xb")
    with _closing(file), workers() as pool:
        writer = Writer(file, form, wanted.side, count)
        failed: list[Failure] = []
        for done, (row, result) in enumerate(wanted.decoded(wanted.rows, pool), start=1):
            try:
                if isinstance(result, Unreadable):
                    raise result
                wider = form.joined(Form.of(result))
            except Unreadable as reason:
                failed.append(wanted.failure(row, reason))
            else:
                if wider != form:
                    pool.shutdown(wait=False, cancel_futures=True)
                    return wider
                with keeping:
                    writer.add(row, form.brought(result))
            if progress:
                progress(done, count)
        judge(wanted.source.name, failed, count)
        with keeping:
            writer.finish(part / ABOUT, failed, wanted.source.labels)
            atomic.settle(part)
    return None
