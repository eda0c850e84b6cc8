"""Overlap: finds test pictures that were used in pretraining or are also training pictures.

Both make an accuracy look better than it is. Pretraining used no labels, so test pictures in it are
no error, but they are reported. A picture that is in both parts of the labelled data tests memory;
it is found by its pixels as they are read for the probe, whatever its name.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

from selfsight.data.batches import chosen_rows, some_rows
from selfsight.data.samples import Samples
from selfsight.data.source import Source, Unreadable, open_regular
from selfsight.errors import SelfsightError
from selfsight.modalities.base import Modality
from selfsight.probes.network import NamedNetwork
from selfsight.training.origin import opened_origin
from selfsight.training.plan import Plan
from selfsight.training.prepare import source_of

LOOKED_AT = 1000  # pictures


def same_data(one: str, other: str) -> bool:
    """Check whether two names mean the same data."""
    if Path(one).exists() and Path(other).exists():
        return os.path.realpath(one) == os.path.realpath(other)
    return one == other


def in_both(train: Samples, test: Samples) -> int:
    """Count the test samples whose content is that of a training sample."""
    known = set(train.contents())
    return sum(content in known for content in test.contents())


def count_seen(network: NamedNetwork, data: str, test: Source) -> int | None:
    """Count the pictures of a source that a run was trained on.

    Pictures are compared by their files' names or bytes, or by their rows in a file that holds
    many. A picture that was saved again in another format is not found.

    Args:
        network: The network.
        data: The name by which the source was opened.
        test: The pictures.

    Returns:
        None where it is not known: for timm's weights, for data that is gone, and where only one of
        the two data sets consists of files, so that no picture could be found.
    """
    if network.run is None:
        return None
    of = Plan.of(network.run)
    try:
        source = source_of(opened_origin(of, network.run.path), of.tasks, of.sample)
    except SelfsightError:
        return None
    if of.limit is not None and of.limit < len(source):
        source = source.subset(chosen_rows(len(source), of.limit))
    asked, known = test.identities(), source.identities()
    if source.by_file and test.by_file:
        return _among(asked, known)
    names = set(known)
    seen = sum(identity in names for identity in asked)
    return seen if seen or same_data(data, of.data_found) else None


def _among(asked: list[str], known: list[str]) -> int:
    """Count the files that are among others by name, or else by their bytes.

    Only files of one length can have the same bytes, so that few must be read.
    """
    lengths = {_length(stamp) for stamp in asked}
    names = set(known)
    missing = [stamp for stamp in asked if stamp not in names]
    if not missing:
        return len(asked)
    bytes_known = {_bytes(stamp) for stamp in names if _length(stamp) in lengths}
    found = sum(_bytes(stamp) in bytes_known for stamp in missing)
    return len(asked) - len(missing) + found


def _length(stamp: str) -> str:
    """Read a file's length from its stamp: PATH LENGTH TIME."""
    return stamp.rsplit(" ", 2)[-2]


def _bytes(stamp: str) -> bytes:
    """Hash a file; give its stamp, which is unique, if it cannot be read."""
    try:
        with open_regular(stamp.rsplit(" ", 2)[0]) as file:
            return hashlib.blake2b(file.read(), digest_size=16).digest()
    except (OSError, Unreadable):
        return stamp.encode(errors="surrogateescape")


def seen_sentence(seen: int | None, count: int, network: str) -> str:
    """Say how many of the test pictures a network was pretrained on."""
    if seen is None:
        return f"Whether {network} was pretrained on these test pictures cannot be told."
    if seen == 0:
        return "It was pretrained on none of the test pictures' files."
    return (
        f"It was pretrained on {_of(seen, count)} test pictures; for unseen ones give test "
        "pictures of their own."
    )


def both_parts_sentence(both: int, count: int) -> str | None:
    """Say that test pictures are among the training pictures, if some are."""
    if both == 0:
        return None
    share = _of(both, count)
    return (
        f"{share[0].upper()}{share[1:]} test pictures are also among the training pictures, pixel "
        "for pixel: there it is memory that is tested."
    )


def _of(some: int, count: int) -> str:
    """Write how many of a number of things.

    >>> _of(3, 3), _of(2, 1000)
    ('all 3', '2 of the 1,000')
    """
    return f"all {count:,}" if some == count else f"{some:,} of the {count:,}"


def alike_warning(samples: Samples, modality: Modality[Any, Any, Any, Any]) -> str | None:
    """Say that samples are all alike, judging by some of them; None if they are not."""
    rows = some_rows(len(samples), LOOKED_AT)
    return modality.alike(samples, samples.seen(rows))
