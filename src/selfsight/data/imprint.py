"""Imprint: a quick hash that identifies data, wherever it lies and whenever it was copied.

It covers the names of all pictures and the content of some, so that it costs little beside reading
them. A picture replaced by another of the same name is noticed only if it is one of these; the
fingerprint (`Pictures.fingerprint`) hashes everything that a training reads.
"""

import hashlib
import re

from selfsight.data.source import NOT_THERE, Source

LOOKED_AT = 64  # pictures whose content is hashed, evenly spaced
PLACED = re.compile(r".+ (\d+) \d+", re.DOTALL)  # a file's stamp: path, bytes, time of change


def imprint_of(source: Source) -> str:
    """Hash names and some samples of a source: -> 32 hexadecimal digits."""
    digest = hashlib.blake2b(str(len(source)).encode(), digest_size=16)
    for i in range(len(source)):
        digest.update(source.title(i).encode("utf-8", "surrogateescape") + b"\0")
    for i in range(0, len(source), max(1, len(source) // LOOKED_AT)):
        digest.update(hashlib.blake2b(source.content(i)).digest())
    return digest.hexdigest()


def placeless(stamp: str) -> str:
    """Remove path and time of change from a file's stamp, and keep its size in bytes.

    >>> placeless("/photos/1.png 2048 1700000000"), placeless("tiles of 64")
    ('2048', 'tiles of 64')
    """
    if stamp.endswith(NOT_THERE):
        return NOT_THERE
    found = PLACED.fullmatch(stamp)
    return found[1] if found else stamp
