"""Validation: files that selfsight wrote are read back and checked.

A file in a run or in the cache may be corrupted, edited, or from somebody else. Every such file is
read here, and its values are checked against the annotations of the dataclass they are read into.
An error is one sentence that names the file, the rule, the value found, and the remedy.
"""

import csv
import io
import json
import math
import re
import reprlib
import stat
import types
import typing
from collections.abc import Container, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, cast

from selfsight.errors import SelfsightError
from selfsight.system.escaping import printable

MOST_BYTES = 256 << 20  # of a text file: far more than the longest list of skipped pictures
MOST = 2**63  # selfsight writes only whole numbers below this
_WHOLE = re.compile(r"[0-9]{1,19}")
_REAL = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?")
_WORDS = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false"}
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 60, 60


class Damaged(SelfsightError):
    """A file of ours does not hold what it must.

    Args:
        path: The file.
        fault: The rule, and what was found.
        remedy: What to do, as the end of a sentence.
    """

    def __init__(self, path: Path, fault: str, remedy: str) -> None:
        super().__init__(
            printable(f"{path} is damaged or was not written by selfsight: {fault}; {remedy}")
        )
        self.path, self.fault, self.remedy = path, fault, remedy


def read_text(path: Path, *, remedy: str) -> str:
    """Read a text file in UTF-8.

    Raises:
        Damaged: If it is not a regular file, is too large or is not UTF-8.
        SelfsightError: If it cannot be read.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # reading a pipe would block
            raise Damaged(path, "it must be a file, and is not", remedy)
        if found.st_size > MOST_BYTES:
            raise Damaged(
                path, f"it must be at most {MOST_BYTES:,} bytes, and is {found.st_size:,}", remedy
            )
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise Damaged(path, f"it must be UTF-8, and is not at byte {error.start}", remedy) from None
    except OSError as error:
        raise SelfsightError(
            printable(f"{path} could not be read: {error.strerror or error}")
        ) from error


def read_record(path: Path, *, remedy: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        Damaged: If the file holds anything else.
        SelfsightError: If it cannot be read.
    """
    text = read_text(path, remedy=remedy)
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise Damaged(path, "it must be JSON, and is nested too deeply", remedy) from None
    except ValueError as error:
        raise Damaged(path, f"it must be JSON, and is not ({error})", remedy) from None
    if not isinstance(found, dict):
        raise Damaged(path, f"it must be a JSON object, and is {shortened(found)}", remedy)
    return cast(dict[str, Any], found)


def _refuse_constant(word: str) -> None:
    raise ValueError(f"it holds {word}, which is not a number")


def read_rows(path: Path, *, whole: tuple[str, ...], remedy: str) -> list[dict[str, float]]:
    """Read a table of numbers: -> its rows, each without its empty cells.

    Args:
        path: A .csv file with a header.
        whole: Columns of whole numbers, at least 0; every row has the first, in rising order.
        remedy: What to do if it is damaged.

    Raises:
        Damaged: If the file holds anything else.
        SelfsightError: If it cannot be read.
    """
    text = read_text(path, remedy=remedy)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        return _numbers(lines[0] if lines else [], lines[1:], whole)
    except (ValueError, csv.Error) as error:
        raise Damaged(path, f"it must be a table of numbers, and {error}", remedy) from None


def _numbers(
    header: list[str], lines: list[list[str]], whole: tuple[str, ...]
) -> list[dict[str, float]]:
    """Read the cells of a table.

    Raises:
        ValueError: With the first fault, as the end of a sentence.
    """
    if whole[0] not in header or len(set(header)) < len(header):
        raise ValueError(f"its columns are {shortened(header)}")
    rows: list[dict[str, float]] = []
    for number, cells in enumerate(lines, start=2):
        if len(cells) != len(header):
            raise ValueError(f"line {number} has {len(cells)} cells of {len(header)}")
        row: dict[str, float] = {}
        for name, cell in zip(header, cells, strict=True):
            if not cell and name != whole[0]:
                continue
            row[name] = _number(cell, whole=name in whole)
            if not math.isfinite(row[name]):
                raise ValueError(f"line {number} has {shortened(cell)} under {shortened(name)}")
        if rows and not row[whole[0]] > rows[-1][whole[0]]:
            raise ValueError(
                f"line {number} has {whole[0]} {row[whole[0]]}, which must rise from line to line"
            )
        rows.append(row)
    return rows


def _number(cell: str, *, whole: bool) -> float:
    """Read a cell; NaN for anything that is not a number as we write it."""
    if whole:
        return int(cell) if _WHOLE.fullmatch(cell) and int(cell) < MOST else math.nan
    return float(cell) if _REAL.fullmatch(cell) else math.nan


def check(
    values: Mapping[str, Any], kind: type, *, place: str = "", but: Container[str] = ()
) -> None:
    """Check plain values against the annotations of a dataclass.

    Fields with a default may be missing.

    Args:
        values: As read from JSON: lists stand for tuples.
        kind: A dataclass.
        place: Where the values stand, for the sentence.
        but: Fields of it that are checked elsewhere.

    Raises:
        ValueError: With the first fault: a key that is unknown or missing, a value of another kind,
            a number that is not finite, or a whole number of 2^63 or more.
    """
    hints = typing.get_type_hints(kind)
    known = {field.name: field for field in fields(kind) if field.name not in but}
    for key in values:
        if key not in known:
            raise ValueError(
                f"it holds {place}{shortened(key)}, unknown to this version of selfsight"
            )
    for key, field in known.items():
        if key in values:
            check_value(values[key], hints[key], f"{place}{key}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{place}{key} is missing")


def check_value(value: Any, hint: Any, place: str) -> None:
    """Check a plain value against an annotation; see `check`."""
    if is_dataclass(hint):
        if not isinstance(value, dict):
            raise ValueError(f"{place} must be an object, got {shortened(value)}")
        check(cast(dict[str, Any], value), cast(type, hint), place=f"{place}.")
    elif not _is_of(value, hint):
        raise ValueError(f"{place} must be {_in_words(hint)}, got {shortened(value)}")


def _is_of(value: Any, hint: Any) -> bool:
    """Tell whether a plain value fits an annotation."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (types.UnionType, typing.Union):
        return any(_is_of(value, part) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin in (tuple, list, Sequence):
        return isinstance(value, list | tuple) and all(
            _is_of(one, parts[0]) for one in cast(list[Any], value)
        )
    if origin is dict or hint is dict:
        of = parts[1] if parts else Any
        return isinstance(value, dict) and all(
            _is_of(one, of) for one in cast(dict[str, Any], value).values()
        )
    if hint is int:
        return type(value) is int and -MOST < value < MOST
    if hint is float:
        whole = type(value) is int and -MOST < value < MOST
        return whole or (isinstance(value, float) and math.isfinite(value))
    return type(value) is hint or (hint is None and value is None)


def _in_words(hint: Any) -> str:
    """Describe what an annotation allows."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_in_words(part) for part in parts)
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin in (tuple, list, Sequence):
        return f"a list, each {_in_words(parts[0])}"
    if origin is dict or hint is dict:
        return "an object" if len(parts) < 2 else f"an object, each value {_in_words(parts[1])}"
    return "null" if hint is type(None) else _WORDS.get(hint, "anything")


def check_within(name: str, value: float | None, least: float, most: float) -> None:
    """Check a number that may be None.

    Raises:
        ValueError: If it is outside its range.
    """
    if value is not None and not least <= value <= most:
        ends = f"at least {least:,}" if most == math.inf else f"from {least:,} to {most:,}"
        raise ValueError(f"{name} must be {ends}, got {shortened(value)}")


def shortened(value: Any) -> str:
    """Write a value that was found, shortened to a few words."""
    try:
        return printable(_SHORT.repr(value))
    except ValueError:  # Python does not print whole numbers of thousands of digits
        return "a very long number"
