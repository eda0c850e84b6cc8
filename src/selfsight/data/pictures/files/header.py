"""Header: what is known of a picture before it is decoded, and why one is not decoded at all.

The limits hold for every form of data: a size read from a header is checked before pixels are
decoded, so a small file cannot fill the memory.
"""

from dataclasses import dataclass

from selfsight.data.source import Unreadable
from selfsight.errors import SelfsightError
from selfsight.system import machine

LEAST_SIDE = 8  # pixels; no task has a crop smaller than this
MOST_PIXELS = 178_000_000  # half a gigabyte in colour; Pillow's own limit for a certain bomb
MOST_BYTES = 3 * MOST_PIXELS  # of a decoded picture, whatever its channels and depth

UNREMARKABLE = 512 << 20  # bytes that any picture may take while it is decoded
LEAST_BOMB = 1 << 30  # bytes up to which nothing is a bomb: scanned plans take that, and masks
MOST_UNPACKING = 100  # times its bytes in the file that something may take past that


class TooSmall(Unreadable):
    """A picture with a side too short for any task."""


@dataclass(frozen=True)
class Header:
    """What is known of a picture before it is decoded.

    Attributes:
        height: In pixels, upright.
        width: In pixels, upright.
        channels: 1 for grey, 3 for colour, else as many as the picture has.
        bits: 8 or 16, of a sample as it will be decoded.
        besides: What the file holds besides that is not read, in the plural, such as "pages".
    """

    height: int
    width: int
    channels: int
    bits: int = 8
    besides: tuple[str, ...] = ()


def usable(height: int, width: int, channels: int = 3, bits: int = 8) -> None:
    """Refuse sizes that no task can use, or that would fill the memory.

    Raises:
        Unreadable: If a side is under `LEAST_SIDE`, or there are more than `MOST_PIXELS` or
            `MOST_BYTES`.
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
    """Refuse a picture that takes too much memory while it is decoded, before it is.

    Args:
        needed: Bytes that it takes then.
        decoded: Bytes that it has afterwards.
        packed: Bytes of its file.

    Raises:
        Unreadable: If a small file unpacks to what fills the memory, or a large one takes more than
            half of this machine's.
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
            f"would take {machine.size_in_words(needed)} of memory, more than half of what there "
            "is, not decoded"
        )


def is_bomb(needed: int, unpacked: int, packed: int, least: int = LEAST_BOMB) -> bool:
    """Tell a small file that unpacks to what fills the memory from a large one that does.

    Args:
        needed: Bytes of memory that it takes.
        unpacked: Bytes that it has unpacked.
        packed: Bytes that it has in its file.
        least: Bytes of memory up to which nothing is one.
    """
    return needed > least and unpacked > MOST_UNPACKING * packed


def check_memory(
    what: str, needed: int, remedy: str, memory: int | None = None, *, packed: int | None = None
) -> None:
    """Refuse, before memory is taken, what would take more than half of it, and bombs.

    Args:
        what: What would be held in memory, as a sentence begins.
        needed: Bytes that it takes, by its header.
        remedy: What to do instead, as a sentence ends.
        memory: Bytes there are; by default this machine's.
        packed: Bytes that it has in its file, where it is unpacked from one.

    Raises:
        SelfsightError: If it would, or is a bomb by `is_bomb`.
    """
    if packed is not None and is_bomb(needed, needed, packed):
        raise SelfsightError(
            f"{what} takes {machine.size_in_words(needed)} in memory, out of "
            f"{machine.size_in_words(packed)} in the file: over {MOST_UNPACKING} times as much is "
            f"not unpacked; {remedy}."
        )
    most = (machine.memory() if memory is None else memory) // 2
    if needed > most:
        raise SelfsightError(
            f"{what} takes {machine.size_in_words(needed)} in memory, and at most "
            f"{machine.size_in_words(most)}, half of it, may be taken; {remedy}."
        )
