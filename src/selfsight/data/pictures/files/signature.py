"""Signature: the mark in every picture that selfsight makes, so that it is never learned from."""

import os

from selfsight.data.source import Unreadable, open_regular

SIGNED = {"Software": "selfsight"}  # a text of the PNG file
MARK = b"tEXtSoftware\0selfsight"
START_BYTES = 512  # of a file, in which the mark stands: it comes before the pixels


def is_signed(path: str | os.PathLike[str]) -> bool:
    """Tell whether selfsight made a PNG file; of one that cannot be read, no."""
    try:
        with open_regular(path) as file:
            return MARK in file.read(START_BYTES)
    except (OSError, Unreadable):
        return False
