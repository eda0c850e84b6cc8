"""Task sheet: how the sheet of a task is made, and what is measured for it on held-out pictures.

Some tasks answer for each picture alone, so that a few pictures show what they do. Other tasks find
their answers among many pictures; their sheets say what is measured.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from selfsight.looks.held_out import HeldOut
from selfsight.looks.sheet import Sheet
from selfsight.system.progress import Bar
from selfsight.tasks.base import Task

BATCH = 64  # pictures at a time

Figures = dict[str, float]


@dataclass(frozen=True)
class Question:
    """The pictures and the choices from which a sheet is made.

    Attributes:
        held: The pictures on which the task is tested.
        count: Samples on the sheet.
        classes: Names of the classes, for a task that learns from labels.
        seed: Seed of the questions: which crops, rotations, holes.
        device: Where to compute.
    """

    held: HeldOut
    count: int
    classes: tuple[str, ...] = ()
    seed: int = 0
    device: str = "cpu"


class TaskSheet(ABC):
    """Makes the sheet of a task: asks the task about pictures and arranges its answers."""

    @abstractmethod
    def ask(self, name: str, task: Any, question: Question) -> tuple[Sheet, Figures]:
        """Ask a task: -> the sheet, and what was measured.

        Args:
            name: The task's name, for the progress.
            task: The task with its encoder and head, in evaluation mode.
            question: What is asked.
        """

    @abstractmethod
    def in_words(self, task: Any, figures: Figures, among: str) -> str:
        """Put figures into words.

        Args:
            task: The task.
            figures: What `ask` measured.
            among: On which pictures, in words.
        """


@dataclass(frozen=True)
class PicturewiseSheet(TaskSheet):
    """The sheet of a task that answers for each picture alone.

    Attributes:
        lay_out: Arranges a few pictures: task, batch and names of classes -> sheet.
        words: Puts figures into words: task, figures and on which pictures they were measured.
        metrics: Measures a batch instead of the task's own metrics, where these are of some of its
            pictures only.
    """

    lay_out: Callable[[Any, Any, tuple[str, ...]], Sheet]
    words: Callable[[Any, Figures, str], str]
    metrics: Callable[[Any, Any], Figures] | None = None

    def ask(self, name: str, task: Any, question: Question) -> tuple[Sheet, Figures]:
        """Average the task's metrics over all pictures, and lay out the first of them."""
        held, seed, device = question.held, question.seed, question.device
        figures = measured(name, task, held, self.metrics, seed=seed, device=device)
        first = held.batch(0, question.count, needs=task.needs, seed=seed, device=device)
        return self.lay_out(task, first, question.classes), figures

    def in_words(self, task: Any, figures: Figures, among: str) -> str:
        """Put figures into words."""
        return self.words(task, figures, among)


@dataclass(frozen=True)
class SetwiseSheet(TaskSheet):
    """The sheet of a task that finds its answers among many pictures.

    Attributes:
        find_answers: Asks the task: task and question -> sheet, and what was measured.
        words: Puts figures into words: task, figures and on which pictures they were measured.
    """

    find_answers: Callable[[Any, Question], tuple[Sheet, Figures]]
    words: Callable[[Any, Figures, str], str]

    def ask(self, name: str, task: Any, question: Question) -> tuple[Sheet, Figures]:
        """Ask the task about all pictures."""
        return self.find_answers(task, question)

    def in_words(self, task: Any, figures: Figures, among: str) -> str:
        """Put figures into words."""
        return self.words(task, figures, among)


def measured(
    name: str,
    task: Task,
    held: HeldOut,
    metrics: Callable[[Any, Any], Figures] | None = None,
    *,
    seed: int,
    device: str,
) -> Figures:
    """Average a task's loss and metrics over pictures: -> the averages, and those of a blind guess.

    Args:
        name: The task's name, for the progress.
        task: The task.
        held: The pictures.
        metrics: Measured instead of the task's own.
        seed: Of the questions.
        device: Where to compute.
    """
    total: Figures = {}
    count = len(held.pictures)
    with Bar(name, count) as bar:
        for first in range(0, count, BATCH):
            batch = held.batch(first, first + BATCH, needs=task.needs, seed=seed, device=device)
            score = task(batch)
            figures = metrics(task, batch) if metrics else score.metrics
            for key, value in {"loss": score.loss, **figures}.items():
                total[key] = total.get(key, 0.0) + float(value) * len(batch.images) / count
            bar(min(first + BATCH, count))
    guess = {"blind": task.blind, "chance": task.chance}
    return total | {key: float(value) for key, value in guess.items() if value is not None}
