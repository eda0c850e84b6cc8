"""Walking: finds the pictures below a folder, and counts what is left out.

Links to folders are followed; each folder is visited once.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from selfsight.data.pictures.files.signature import is_signed
from selfsight.data.pictures.forms.left_out import LeftOut, is_foreign
from selfsight.data.pictures.forms.suffixes import is_picture_name
from selfsight.system.paths import is_run

RECORD = ".json"  # suffix of the records that selfsight writes beside most sheets
SHEETS = ("-sheet.png", "filters.png")  # ends of the names of sheets without a record


class Walked(NamedTuple):
    """What was found below a folder.

    Attributes:
        paths: Paths of its pictures, relative to it, with forward slashes, sorted.
        left_out: What was left out.
    """

    paths: tuple[str, ...]
    left_out: LeftOut


def walked(root: Path) -> Walked:
    """List the pictures below a folder by suffix.

    Hidden pictures and those in folders of other programs are left out and counted; so are
    selfsight's own, in runs and sheets, unless there are no others.
    """
    left_out = LeftOut(str(root))
    mine: list[str] = []
    ours: dict[str, str] = {}  # selfsight's pictures -> the run or file they are counted under
    seen: set[str] = set()
    runs: list[str] = []  # folders, relative

    def closed(error: OSError) -> None:
        where = Path(os.path.relpath(str(error.filename), root))
        if not any(map(is_foreign, where.parts)):
            left_out.closed[where.as_posix()] = error.strerror or str(error)

    for place, folders, files in os.walk(root, followlinks=True, onerror=closed):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        relative = Path(place).relative_to(root)
        here = relative.as_posix()
        if here != "." and is_run(files):
            runs.append(here)
        run = next((run for run in runs if f"{here}/".startswith(f"{run}/")), None)
        drawn = set() if run else _drawn(place, files)
        for file in files:
            if left_out.take(relative.parts, file):
                continue
            path = (relative / file).as_posix()
            if run or file in drawn:
                ours[path] = run or path
            else:
                mine.append(path)
    if mine:
        left_out.ours.update(ours.values())
    elif ours:
        left_out.more.append(f"all {len(ours):,} pictures of {root} were made by selfsight")
    return Walked(tuple(sorted(mine or ours)), left_out)


def _drawn(place: str, files: Sequence[str]) -> set[str]:
    """Find the pictures in a folder that selfsight made, by the mark in them.

    Opening every file could take long on a slow disk, so it is done only if a name suggests that
    selfsight wrote into the folder.
    """
    if not any(file.endswith((RECORD, *SHEETS)) for file in files):
        return set()
    pictures = (file for file in files if file.lower().endswith(".png") and is_picture_name(file))
    return {file for file in pictures if is_signed(os.path.join(place, file))}
