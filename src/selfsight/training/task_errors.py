"""Task errors: a mistake in a task's own code is told as such, with its place and its traceback.

Whose an error is, is told by where it arose and not by its words: an encoder refuses what it cannot
take within its own forward pass, and what else goes wrong within a task is the task's.
"""

import contextlib
import os
import tempfile
import traceback
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from types import FrameType

from torch import Tensor

from selfsight.encoders import BaseEncoder, Encoder
from selfsight.errors import SelfsightError, UsageError, in_a_line, out_of_memory
from selfsight.system import atomic
from selfsight.tasks.base import Task
from selfsight.tasks.table import load_task
from selfsight.training.run import SETTINGS, Run

TRACEBACK = "traceback.txt"


def is_of_encoder(error: BaseException) -> bool:
    """Tell whether an error arose within an encoder's own forward pass, on input as it takes."""
    return any(_is_looking(frame) for frame, _ in _calls(error))


def _is_looking(frame: FrameType) -> bool:
    """Tell whether a frame is of an encoder at work; of pictures' on (B, C, h, w) with its C."""
    encoder, images = frame.f_locals.get("self"), frame.f_locals.get("inputs")
    if not isinstance(encoder, Encoder):
        return isinstance(encoder, BaseEncoder)
    takes = encoder.recipe.channels
    return isinstance(images, Tensor) and images.ndim == 4 and images.shape[1] == takes


@contextlib.contextmanager
def errors_of_tasks_told(tasks: Sequence[str], run: Run, *, processes: int = 1) -> Generator[None]:
    """Say of an error that arises in a task's own code which task it is, and where.

    Args:
        tasks: Names of the tasks that are learned.
        run: Where the traceback is kept once the run has begun; before, in a temporary file.
        processes: How many train together: where one of several ends, the others fail in the
            backward pass, and that is no mistake of a task.

    Raises:
        SelfsightError: In the place of such an error.
    """
    try:
        yield
    except (UsageError, SelfsightError):
        raise
    except Exception as error:
        place = _place_in_task(error, tasks, alone=processes == 1)
        if place is None or out_of_memory(error) or is_of_encoder(error) or _interrupted(error):
            raise
        raise SelfsightError(
            f"{place}: {type(error).__name__}: {in_a_line(error)}; the whole traceback is in "
            f"{_kept(error, run)}"
        ) from error


def _place_in_task(error: BaseException, tasks: Sequence[str], *, alone: bool) -> str | None:
    """Say which task's code an error came through last, and where; None if through none's."""
    found: tuple[str, FrameType, int] | None = None
    for frame, line in _calls(error):
        caller = frame.f_locals.get("self")
        if isinstance(caller, Task) and not _is_of_torch(frame):
            found = _name(caller, tasks), frame, line
        elif found is not None and frame.f_code.co_filename == found[1].f_code.co_filename:
            found = found[0], frame, line  # a function beside the class
    if found is not None:
        name, frame, line = found
        code = frame.f_code
        return f"{name} failed in its own code, {code.co_filename}, line {line}, in {code.co_name}"
    if alone and any(_is_of_torch(f) and f.f_code.co_name == "backward" for f, _ in _calls(error)):
        return f"{' and '.join(tasks)} failed where the gradient of the loss is taken"
    return None


def _name(task: Task, tasks: Sequence[str]) -> str:
    """Find the name of a task among those that are learned; of others, as a mix, its class."""
    return next((name for name in tasks if type(task) is load_task(name)), type(task).__name__)


def _interrupted(error: BaseException) -> bool:
    """Tell whether an error came of Ctrl-C, which some libraries tell by errors of their own."""
    before = error.__cause__ or error.__context__
    return before is not None and (isinstance(before, KeyboardInterrupt) or _interrupted(before))


def _is_of_torch(frame: FrameType) -> bool:
    """Tell whether a frame is of torch's own code, such as that which calls a forward pass."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "torch"


def _calls(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """List the calls that an error came through, the outermost first: their frames and lines."""
    return traceback.walk_tb(error.__traceback__)


def _kept(error: BaseException, run: Run) -> Path:
    """Keep a traceback in a file: -> where."""
    text = "".join(traceback.format_exception(error))
    if (run.path / SETTINGS).exists():
        atomic.write_text(run.path / TRACEBACK, text)
        return run.path / TRACEBACK
    descriptor, name = tempfile.mkstemp(prefix="selfsight-", suffix=".txt")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return Path(name)
