"""Signature: the mark in every picture that selfsight makes, by which it is kept out of data."""

import os

from selfsight.data.source import Unreadable, open_regular

SIGNED = {"Software": "selfsight"}  # a text entry of the PNG file
MARK = b"tEXtSoftware\0selfsight"
START_BYTES = 512  # at the start of a file, which hold the mark: it comes before the pixels


def is_signed(path: str | os.PathLike[str]) -> bool:
    """Tell whether selfsight made a PNG file; False if it cannot be read."""
    try:
        with open_regular(path) as file:
            return MARK in file.read(START_BYTES)
    except (OSError, Unreadable):
        return False
