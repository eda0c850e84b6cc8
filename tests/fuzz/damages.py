"""Damages: bytes cut and flipped, and values exchanged for ones that a file should not hold."""

import copy
import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

DEEP = "one that is deeper than Python's stack"  # stands for it, as `json` writes none
DEPTH = 100_000
HOSTILE = "\x1b]8;;http://x\x07\x9b31m\x7f\u202e\n"
# What a text may be that a stranger wrote.
TEXTS = (
    "", " ", "\0", HOSTILE, "\ud800", "../../outside", "/etc/passwd", "$(touch x)", "; touch x",
    "timm:resnet18", "hf-hub:x/y", "photo:/dev/zero", "$\\frac$", "[red]", "NaN", "1e999", "-1",
    "%s{0.__class__}", "\u65e5\u672c", "a" * 100_000, "0" * 5000, "CON", ".", "..", "/",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2, 3, 255, 65_536, 1_000_000, 2**31, 2**63, 10**30, 10**400, 1e308, -0.0, 0.5, 1e-320,
    float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
STRANGE = (None, True, False, [], {}, [[]], {"a": {}}, [None] * 3, *TEXTS, *NUMBERS)

Damage = Callable[[bytes, random.Random], bytes]


def cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def flipped(data: bytes, draw: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8, 40))):
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def flipped_at_the_start(data: bytes, draw: random.Random) -> bytes:
    """Damage where headers stand."""
    head = min(len(data), 300)
    return flipped(data[:head], draw) + data[head:]


def flipped_at_the_end(data: bytes, draw: random.Random) -> bytes:
    """Damage where the directories of archives and tables stand."""
    tail = min(len(data), 300)
    return data[:-tail] + flipped(data[-tail:], draw)


def huge_numbers(data: bytes, draw: random.Random) -> bytes:
    """Write large numbers where headers stand: sizes, counts, places."""
    damaged = bytearray(data)
    order = draw.choice("<>")
    for _ in range(draw.choice((1, 2, 4))):
        at = draw.randrange(max(1, min(len(damaged) - 4, 200)))
        number = draw.choice((0, 0x7FFF, 0xFFFF, 0x00100000, 0x7FFFFFFF, 0xFFFFFFFF))
        damaged[at : at + 4] = struct.pack(f"{order}L", number)
    return bytes(damaged)


def emptied(data: bytes, draw: random.Random) -> bytes:
    return b"" if draw.random() < 0.2 else bytes(len(data))


def swapped_ends(data: bytes, draw: random.Random) -> bytes:
    """The start of this file, then what belongs to none."""
    at = draw.randrange(min(8, len(data)), len(data))
    return data[:at] + draw.randbytes(len(data) - at)


def doubled(data: bytes, draw: random.Random) -> bytes:
    """Repeat a piece of it."""
    start = draw.randrange(len(data))
    end = min(len(data), start + draw.choice((1, 4, 64, 1000)))
    return data[:end] + data[start:]


def same(data: bytes, draw: random.Random) -> bytes:
    return data


DAMAGES: tuple[Damage, ...] = (
    cut,
    flipped,
    flipped,
    flipped_at_the_start,
    flipped_at_the_start,
    flipped_at_the_end,
    huge_numbers,
    huge_numbers,
    emptied,
    swapped_ends,
    doubled,
    same,
)


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Damage a file in one way; an empty one stays."""
    return draw.choice(DAMAGES)(data, draw) if data else data


def strange(draw: random.Random) -> Any:
    """Draw a value that a file should not hold."""
    return copy.deepcopy(DEEP if draw.random() < 0.03 else draw.choice(STRANGE))


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Find every place of plain values: -> what holds it, and its key or number there."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places_in(value[key])


def mutated(value: Any, draw: random.Random) -> Any:
    """Exchange, shift, take away or rename some of plain values."""
    whole = [copy.deepcopy(value)]
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        every = list(places_in(whole))
        holder, key = every[0] if draw.random() < 0.02 else draw.choice(every)
        draw.choice((_exchange, _exchange, _exchange, _shift, _take_away, _rename, _swap))(
            holder, key, every, draw
        )
        if not whole:
            return None
    return whole[0]


def _exchange(holder: Any, key: Any, every: list[Any], draw: random.Random) -> None:
    holder[key] = strange(draw)


def _shift(holder: Any, key: Any, every: list[Any], draw: random.Random) -> None:
    """Change a number or a text a little; a truth value is turned."""
    value = holder[key]
    if isinstance(value, bool):
        holder[key] = not value
    elif isinstance(value, int | float):
        holder[key] = draw.choice((-value, value + 1, value - 1, value * 1000, value / 3))
    elif isinstance(value, str):
        holder[key] = draw.choice((value + draw.choice(TEXTS), value.upper(), value[:-1]))
    elif isinstance(value, list):
        holder[key] = value * 3


def _take_away(holder: Any, key: Any, every: list[Any], draw: random.Random) -> None:
    del holder[key]


def _rename(holder: Any, key: Any, every: list[Any], draw: random.Random) -> None:
    if isinstance(holder, dict):
        holder[draw.choice(TEXTS)] = holder.pop(key)


def _swap(holder: Any, key: Any, every: list[Any], draw: random.Random) -> None:
    """Put a copy of another value of the file here."""
    other, place = draw.choice(every)
    holder[key] = copy.deepcopy(other[place])


def as_json(value: Any) -> bytes:
    """Spell values as JSON, as other programs might: with NaN, and deep."""
    text = json.dumps(value).replace(json.dumps(DEEP), "[" * DEPTH + "]" * DEPTH)
    return text.encode()


def damaged_json(data: bytes, draw: random.Random) -> bytes:
    """Damage a JSON file: a quarter of the time its bytes, else its values."""
    return damaged(data, draw) if draw.random() < 0.25 else as_json(mutated(json.loads(data), draw))
