"""Left out: what lies among the pictures and is none of them, told by its name, and counted.

Other programs keep reduced copies in folders of their own, and a copy of a test picture is the
answer to it; archives of Macs hold a `._1.jpg` beside every `1.jpg`; runs and sheets of selfsight
may lie in the folder that it learns from. All these end as pictures do.
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
NAMED = 3  # folders or files that a sentence names


def is_foreign(folder: str) -> bool:
    """Tell a folder that another program made by its name."""
    return folder.lower() in FOREIGN


class LeftOut:
    """Counts what is left out, by the reason.

    Args:
        name: Where the pictures come from.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.foreign: Counter[str] = Counter()  # pictures, by the name of the folder
        self.ours: Counter[str] = Counter()  # pictures, by the run or the file
        self.unread: Counter[str] = Counter()  # files, by their suffix
        self.hidden: list[str] = []
        self.closed: dict[str, str] = {}  # folders to reasons
        self.links: list[str] = []  # that lead to nothing in their tar
        self.further = 0  # pictures of samples that have several
        self.twice = 0  # pictures that come again under the same name
        self.cut: list[str] = []  # tar files that lack their end
        self.more: list[str] = []  # further sentences

    def take(self, folders: Iterable[str], file: str) -> bool:
        """Tell whether a file is left out by its name, and count it if it holds a picture.

        Args:
            folders: The names of the folders that it lies in.
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
        """Say what was left out, a sentence a reason."""
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
            said.append(
                f"all that lies in {escaped(folder)}{more}, which cannot be opened: {reason}"
            )
        if self.links:
            said.append(
                f"{_counted(len(self.links), 'link')} to nothing in the same tar, such as "
                f"{escaped(self.links[0])}"
            )
        if self.further:
            said.append(f"{_files(self.further)} beside the first of their samples")
        if self.twice:
            said.append(f"{_files(self.twice)} that another of the same name comes after")
        if self.cut:
            more = f" and {len(self.cut) - 1} more" if len(self.cut) > 1 else ""
            where = f"{escaped(self.cut[0])}{more} is damaged or cut short"
            said.append(f"what lay behind the place where {where}")
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
