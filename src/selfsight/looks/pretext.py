"""Pretext: a task's questions, the network's answers and the truth, drawn on one sheet.

*Frozen* is the network with its task's head. *Measured* are the task's own loss and metrics, beside
a blind guess, on pictures that the network was not trained on where there are any.
"""

from pathlib import Path
from typing import Any

import torch

from selfsight.looks.sheet import draw_sheet
from selfsight.looks.task_sheet import Question, TaskSheet
from selfsight.system.loading import object_at
from selfsight.tasks.base import Task
from selfsight.tasks.table import row_of


def sheet_of(name: str) -> TaskSheet:
    """Load the sheet that a task's row names."""
    return object_at(row_of(name).sheet)


@torch.inference_mode()
def look_at_task(name: str, task: Task, question: Question, path: Path) -> dict[str, Any]:
    """Measure a task on held-out pictures and draw some of them.

    Args:
        name: The task's name.
        task: The task with its encoder and head, in evaluation mode on the question's device.
        question: What is asked, and of which pictures.
        path: Where the sheet goes.

    Returns:
        The task's record: figures, and the same in words.
    """
    of_task = sheet_of(name)
    sheet, measured = of_task.ask(name, task, question)
    figures = {key: round(value, 4) for key, value in measured.items()}
    words = of_task.in_words(task, figures, question.held.among)
    draw_sheet(sheet, path, caption=words)
    pictures = len(question.held.pictures)
    return {"sheet": str(path), "pictures": pictures, **figures, "words": words}
