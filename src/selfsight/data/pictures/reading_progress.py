"""Reading with progress: pictures are decoded, and what was skipped or slow is said."""

from selfsight.data.pictures import Pictures, Streamed, read
from selfsight.data.pictures.scaling import Fit
from selfsight.data.pictures.source import PictureSource
from selfsight.data.pictures.storing import memory_for_pictures
from selfsight.data.reporting import say_once, say_skipped
from selfsight.data.samples import Storage
from selfsight.system import machine
from selfsight.system.progress import Bar

MOST_WAITING = 0.05  # greatest share of a training's time spent waiting for data without a remark


def read_with_progress(
    source: PictureSource,
    *,
    side: int,
    listed_in: str,
    fit: Fit = "canvas",
    channels: int | None = None,
    limit: int | None = None,
    storage: Storage | None = None,
    steady: bool = False,
    processes: int = 1,
) -> Pictures:
    """Decode the pictures of a source, as `selfsight.data.read` does, and show progress.

    Args:
        source: The pictures.
        side: Side of the square canvas, in pixels.
        listed_in: Where the user finds the list of all skipped pictures.
        fit: "canvas" or "square".
        channels: 1, 3, or None for the pictures' own.
        limit: Greatest number of pictures.
        storage: Where to store them; None for the first place where they fit.
        steady: Whether they must not be streamed, as `selfsight.data.read` explains.
        processes: Number of this machine's processes that hold the same pictures in memory.

    Raises:
        SelfsightError: If the pictures do not fit into memory, or too many cannot be read.
    """
    for note in source.notes:
        say_once(note)
    count = min(len(source), limit or len(source))
    with Bar("reading", count) as bar:
        pictures = read(
            source,
            side=side,
            fit=fit,
            channels=channels,
            limit=limit,
            storage=storage,
            steady=steady,
            memory=memory_for_pictures() // processes,
            progress=lambda done, _: bar(done),
        )
    for note in pictures.notes:
        say_once(note)
    say_skipped(pictures.skipped, count, listed_in)
    return pictures


def advice_on_waiting(pictures: Pictures, share: float) -> str | None:
    """Say what slowed a training down, and what to change; None if it hardly waited for data.

    Args:
        pictures: The pictures it learned from.
        share: Share of its time spent waiting for them, in [0, 1].
    """
    if share <= MOST_WAITING:
        return None
    waited = f"training waited for data {share:.0%} of its time"
    if isinstance(pictures.images, Streamed):
        pace = pictures.images.pace()
        limit = "the disk" if pace.waiting > 0.5 else "decoding"
        size = machine.size_in_words(pictures.images.wanted.bytes)
        return (
            f"{waited}; the limit is {limit}: a core gets {pace.pictures:,.0f} pictures a second. "
            f"Decode once with --storage map (needs {size} of disk), or store the pictures smaller"
        )
    if pictures.storage == "map":
        return (
            f"{waited}; the limit is the disk of {machine.cache_folder()}. Name a faster one with "
            "SELFSIGHT_CACHE, or take fewer pictures with --limit so that they fit into memory"
        )
    return f"{waited}; the limit is memory: try a smaller --size or fewer other programs"
