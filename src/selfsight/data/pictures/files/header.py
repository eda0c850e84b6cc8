"""Header: what is known of a picture before it is decoded, and limits on its size.

The limits hold for every form of data: the size in a header is checked before pixels are decoded,
so that a small file cannot fill the memory.
"""

from dataclasses import dataclass

from selfsight.data.source import Unreadable
from selfsight.errors import SelfsightError
from selfsight.system import machine

LEAST_SIDE = 8  # pixels; no task uses smaller crops
MOST_PIXELS = 178_000_000  # half a gigabyte in colour; Pillow's limit for a decompression bomb
MOST_BYTES = 3 * MOST_PIXELS  # of a decoded picture, whatever its channels and depth

UNREMARKABLE = 512 << 20  # bytes that any picture may take while it is decoded
LEAST_BOMB = 1 << 30  # bytes up to which nothing is a bomb: scanned plans and masks take that much
MOST_UNPACKING = 100  # greatest ratio of unpacked to packed bytes past that size


class TooSmall(Unreadable):
    """A picture's side is too short for any task."""


@dataclass(frozen=True)
class Header:
    """What is known of a picture before it is decoded.

    Attributes:
        height: In pixels, upright.
        width: In pixels, upright.
        channels: 1 for grey, 3 for colour, else the picture's number.
        bits: Bits of a decoded sample, 8 or 16.
        besides: What else the file holds that is not read, in the plural, such as "pages".
    """

    height: int
    width: int
    channels: int
    bits: int = 8
    besides: tuple[str, ...] = ()


def usable(height: int, width: int, channels: int = 3, bits: int = 8) -> None:
    """Refuse sizes that no task can use, or that would fill the memory.

    Raises:
        Unreadable: If a side is under `LEAST_SIDE`, or there are more than `MOST_PIXELS` pixels or
            `MOST_BYTES` bytes.
    """
    if min(height, width) < LEAST_SIDE:
        raise TooSmall(f"{width} x {height} pixels: a side is under {LEAST_SIDE}")
    if height * width > MOST_PIXELS:
        raise Unreadable(
            f"{width} x {height} pixels: more than {MOST_PIXELS // 1_000_000} million, not decoded"
        )
    if height * width * channels * bits // 8 > MOST_BYTES:
        raise Unreadable(
            f"{width} x {height} pixels of {channels} channels of {bits} bits: more than "
            f"{MOST_BYTES // 1_000_000} million bytes, not decoded"
        )


def check_weight(needed: int, decoded: int, packed: int) -> None:
    """Refuse, before decoding, a picture that would take too much memory while it is decoded.

    Args:
        needed: Bytes that it takes while it is decoded.
        decoded: Bytes that it takes afterwards.
        packed: Bytes of its file.

    Raises:
        Unreadable: If it is a decompression bomb, or would take more than half of this machine's
            memory.
    """
    if needed <= UNREMARKABLE:
        return
    if is_bomb(needed, decoded, packed):
        raise Unreadable(
            f"a file of {packed} bytes that would unpack to {decoded}: over {MOST_UNPACKING} times "
            "as much, not decoded"
        )
    if needed > machine.memory() // 2:
        raise Unreadable(
            f"would take {machine.size_in_words(needed)}, more than half of the memory, not decoded"
        )


def is_bomb(needed: int, unpacked: int, packed: int, least: int = LEAST_BOMB) -> bool:
    """Tell whether a file is a decompression bomb: small, but unpacks to what fills the memory.

    Args:
        needed: Bytes of memory that it takes.
        unpacked: Its unpacked bytes.
        packed: Its bytes in the file.
        least: Bytes of memory up to which nothing is a bomb.
    """
    return needed > least and unpacked > MOST_UNPACKING * packed


def check_memory(
    what: str, needed: int, remedy: str, memory: int | None = None, *, packed: int | None = None
) -> None:
    """Refuse, before memory is taken, what would take more than half of it, and bombs.

    Args:
        what: What would be held in memory, as the start of a sentence.
        needed: Bytes that it takes according to its header.
        remedy: What to do instead, as the end of a sentence.
        memory: Bytes of memory; by default this machine's.
        packed: Its bytes in the file, if it is unpacked from one.

    Raises:
        SelfsightError: If it would take too much, or is a bomb by `is_bomb`.
    """
    if packed is not None and is_bomb(needed, needed, packed):
        raise SelfsightError(
            f"{what} would unpack from {machine.size_in_words(packed)} in the file to "
            f"{machine.size_in_words(needed)} in memory, over {MOST_UNPACKING} times as much, and "
            f"is not read; {remedy}."
        )
    most = (machine.memory() if memory is None else memory) // 2
    if needed > most:
        raise SelfsightError(
            f"{what} takes {machine.size_in_words(needed)} in memory, and at most half of it, "
            f"{machine.size_in_words(most)}, may be used; {remedy}."
        )
