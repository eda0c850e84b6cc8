"""Text sheet: questions in words, each with the answers of a task beside it, and what was measured.

An answer that is right has a tick, so that nobody needs the colours to tell it from the others.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from selfsight.looks.figure import save_figure
from selfsight.looks.sheet import DOTS, QUIET, RIGHT, TICK

LETTERS, ANSWER = 72, 1.15  # of a question's line; inches an answer takes
LETTER, LINE, GAP = 0.078, 0.17, 0.14  # inches: a letter, a line, between two questions


class TextAnswer(NamedTuple):
    """An answer in words.

    Attributes:
        text: The answer.
        right: Whether it is right; None where nobody knows.
    """

    text: str
    right: bool | None = None


class TextQuestion(NamedTuple):
    """A question in words.

    Attributes:
        text: What was asked.
        answers: The likeliest first.
    """

    text: str
    answers: Sequence[TextAnswer]


@dataclass(frozen=True)
class TextSheet:
    """What is drawn.

    Attributes:
        title: What was asked.
        questions: The questions.
    """

    title: str
    questions: Sequence[TextQuestion]

    def draw(self, path: Path, *, caption: str = "") -> None:
        """Draw it into a .png file, with a caption below."""
        wrapped = [textwrap.wrap(one.text, LETTERS) or [""] for one in self.questions]
        left = LETTER * max(len(line) for lines in wrapped for line in lines) + 0.2
        width = left + ANSWER * max(len(one.answers) for one in self.questions)
        height = sum(len(lines) * LINE + GAP for lines in wrapped)
        figure = Figure(figsize=(width, height), dpi=DOTS)
        figure.text(0, 1 + 0.15 / height, self.title, va="bottom", fontsize=12, weight="bold")
        top = height
        for one, lines in zip(self.questions, wrapped, strict=True):
            text = "\n".join(lines)
            figure.text(0, top / height, text, va="top", fontsize=8.5, family="monospace")
            for place, answer in enumerate(one.answers):
                figure.text(
                    (left + place * ANSWER) / width,
                    top / height,
                    f"{TICK} {answer.text}" if answer.right else answer.text,
                    va="top",
                    fontsize=8.5,
                    color=RIGHT if answer.right else "black" if place == 0 else QUIET,
                    weight="bold" if answer.right else "normal",
                )
            top -= len(lines) * LINE + GAP
        below = textwrap.fill(caption, max(40, round(width * 15)))
        figure.text(0, -0.1 / height, below, va="top", fontsize=9, color=QUIET)
        save_figure(figure, path)
