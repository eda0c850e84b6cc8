"""Left out: files among the data that have picture names but are not data, found and counted.

Other programs keep reduced copies in their own folders, and a copy of a test picture would give its
answer away; archives from Macs hold a `._1.jpg` beside every `1.jpg`; runs and sheets of selfsight
may lie in the folder of the data.
"""

from collections import Counter
from collections.abc import Iterable

from selfsight.data.pictures.forms.suffixes import has_read_suffix, remedy_for, unread_suffix
from selfsight.system.escaping import escaped

# Folders that other programs make among pictures, in lower case: network storage (Synology, QNAP),
# macOS, Windows, file managers, Linux, notebooks.
FOREIGN = {
    "@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot", "@__thumb", ".@__thumb",
    "__macosx", ".fseventsd", ".spotlight-v100", ".trashes", ".trash",
    "$recycle.bin", "recycler", "system volume information",
    ".thumbnails", "thumbnails", ".thumbs", "thumbs", ".picasaoriginals", "lost+found",
    ".ipynb_checkpoints", "__pycache__",
}  # fmt: skip
NAMED = 3  # most folders or files that a message names


def is_foreign(folder: str) -> bool:
    """Tell by its name whether another program made a folder."""
    return folder.lower() in FOREIGN


class LeftOut:
    """Counts what is left out, for each reason.

    Args:
        name: Where the pictures come from.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.foreign: Counter[str] = Counter()  # other programs' pictures, by the folder's name
        self.ours: Counter[str] = Counter()  # selfsight's pictures, by run or file
        self.unread: Counter[str] = Counter()  # files in unread formats, by suffix
        self.hidden: list[str] = []
        self.closed: dict[str, str] = {}  # folders that cannot be opened -> reasons
        self.links: list[str] = []  # links without a target in their tar
        self.further = 0  # further pictures of samples with several
        self.twice = 0  # pictures replaced by a later one with the same name
        self.cut: list[str] = []  # tar files that are cut short
        self.more: list[str] = []  # further sentences

    def take(self, folders: Iterable[str], file: str) -> bool:
        """Tell whether a file is left out because of its name; count it if it holds a picture.

        Args:
            folders: The names of the folders that contain it.
            file: Its own name.
        """
        folders = tuple(folders)
        stranger = next(filter(is_foreign, folders), None)
        picture = has_read_suffix(file)
        if stranger is not None:
            self.foreign[stranger] += picture
        elif any(part.startswith(".") for part in (*folders, file)):
            if picture:
                self.hidden.append("/".join((*folders, file)))
        elif suffix := unread_suffix(file):
            self.unread[suffix] += 1
        else:
            return not picture
        return True

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, a sentence for each reason."""
        said: list[str] = []
        if count := self.foreign.total():
            said.append(f"{_files(count)} in folders of other programs: {_listed(self.foreign)}")
        if self.hidden:
            said.append(
                f"{_files(len(self.hidden))} hidden by a name that begins with a dot, such as "
                f"{escaped(self.hidden[0])}"
            )
        if count := self.ours.total():
            said.append(f"{_files(count)} that selfsight made: {_listed(self.ours)}")
        for suffix, count in sorted(self.unread.items()):
            said.append(f"{_files(count)} of a format that is not read, {suffix}")
            said[-1] += f": {remedy_for(suffix)}"
        if self.closed:
            folder, reason = next(iter(self.closed.items()))
            more = f" and {len(self.closed) - 1} more" if len(self.closed) > 1 else ""
            said.append(f"everything in {escaped(folder)}{more}, which cannot be opened: {reason}")
        if self.links:
            said.append(
                f"{_counted(len(self.links), 'link')} without a target in the same tar, such as "
                f"{escaped(self.links[0])}"
            )
        if self.further:
            said.append(f"{_files(self.further)} after the first of their samples")
        if self.twice:
            said.append(f"{_files(self.twice)} followed by another of the same name")
        if self.cut:
            more = f" and {len(self.cut) - 1} more" if len(self.cut) > 1 else ""
            where = f"{escaped(self.cut[0])}{more} is damaged or cut short"
            said.append(f"everything after the place where {where}")
        return (*(f"left out of {self.name}: {what}" for what in said), *self.more)


def _files(count: int) -> str:
    return _counted(count, "picture")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"


def _listed(found: Counter[str]) -> str:
    """Name the first few."""
    names = [name for name, count in found.items() if count]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(escaped, names[:NAMED])) + more
