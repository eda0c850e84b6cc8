"""Word questions: lists of pairs that people rated, and of analogies, told by what is in them.

A list of pairs has two words and a number in a line, between tabs, commas or spaces, as those of
WordSim-353 and SimLex-999 have; of further columns the first number counts. A list of analogies has
four words in a line, the first two related as the last two are, and sections that begin with a
colon. Lines that begin with "#", and a first line without a number, say what the columns are.

Finkelstein et al., "Placing Search in Context: The Concept Revisited", WWW 2001,
https://doi.org/10.1145/503104.503110 (WordSim-353). Hill, Reichart, Korhonen, "SimLex-999",
Computational Linguistics 2015, https://doi.org/10.1162/COLI_a_00237. Mikolov, Chen, Corrado, Dean,
https://arxiv.org/abs/1301.3781, section 4.1 (analogies).
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

from selfsight.errors import SelfsightError
from selfsight.system.escaping import escaped

LEAST_LINES = 3  # of a list


@dataclass(frozen=True)
class RatedPairs:
    """Pairs of words, and how alike or related people find them.

    Attributes:
        name: Of the file, without its ending.
        pairs: First word, second word, rating.
    """

    name: str
    pairs: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True)
class Analogies:
    """Questions: a is to b as c is to which word?

    Attributes:
        name: Of the file, without its ending.
        sections: Questions (a, b, c, answer) by the name of their section.
    """

    name: str
    sections: dict[str, list[tuple[str, str, str, str]]] = field(
        default_factory=dict[str, list[tuple[str, str, str, str]]]
    )


Questions = RatedPairs | Analogies


def questions_in(place: str) -> list[Questions]:
    """Read the lists in a file, or in every file of a folder that is one.

    Raises:
        SelfsightError: If there is none.
    """
    path = Path(place)
    files = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
    found = [one for file in files if (one := _read(file)) is not None]
    if not found:
        raise SelfsightError(
            f"no questions on words in {escaped(place)}: a line must hold two words and a number, "
            "as in WordSim-353, or the four words of an analogy"
        )
    return found


def _read(file: Path) -> Questions | None:
    """Read a list of either kind; None where a file is neither."""
    try:
        text = file.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise SelfsightError(f"{file} cannot be read: {error.strerror or error}") from error
    lines = [line.strip().lower() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    analogies = _analogies(file.stem, lines)
    if analogies is not None:
        return analogies
    pairs = [pair for pair in map(_pair, lines) if pair is not None]
    if len(pairs) < LEAST_LINES or len(pairs) < len(lines) - 1:
        return None
    return RatedPairs(file.stem, tuple(pairs))


def _analogies(name: str, lines: list[str]) -> Analogies | None:
    found, section = Analogies(name), "all"
    for line in lines:
        if line.startswith(":"):
            section = line[1:].strip()
            continue
        words = line.split()
        if len(words) != 4 or any(map(_is_number, words)):
            return None
        a, b, c, answer = words
        found.sections.setdefault(section, []).append((a, b, c, answer))
    return found if sum(map(len, found.sections.values())) >= LEAST_LINES else None


def _pair(line: str) -> tuple[str, str, float] | None:
    """Read two words and the first number behind them."""
    for mark in ("\t", ",", ";", None):
        words = [word.strip() for word in line.split(mark)]
        rated = [float(word) for word in words[2:] if _is_number(word)]
        if len(words) >= 3 and rated and not any(" " in word for word in words[:2]):
            return words[0], words[1], rated[0]
    return None


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
