"""Reading aloud: pictures are decoded with progress, and what was skipped is said."""

from selfsight.data import Pictures, Source, read
from selfsight.data.scaling import Fit
from selfsight.progress import Bar, console


def read_aloud(
    source: Source,
    *,
    side: int,
    listed_in: str,
    fit: Fit = "canvas",
    channels: int | None = None,
    limit: int | None = None,
) -> Pictures:
    """Decode the pictures of a source, as `selfsight.data.read` does, and say how it goes.

    Args:
        source: The pictures.
        side: Side of the square canvas, in pixels.
        listed_in: Where the user finds all that was skipped.
        fit: "canvas" or "square".
        channels: 1, 3, or None for what the pictures have.
        limit: How many at most.

    Raises:
        SelfsightError: If the pictures do not fit into memory, or too many cannot be read.
    """
    count = min(len(source), limit or len(source))
    with Bar("reading", count) as bar:
        pictures = read(
            source,
            side=side,
            fit=fit,
            channels=channels,
            limit=limit,
            progress=lambda done, _: bar(done),
        )
    if pictures.skipped:
        first = pictures.skipped[0]
        console().print(
            f"skipped {len(pictures.skipped)} of {count} pictures, the first: {first.title}: "
            f"{first.reason}; {listed_in} lists them all"
        )
    return pictures
