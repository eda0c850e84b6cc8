"""Apart: commands in processes of their own, forked from one in which everything is loaded.

To start Python and load torch takes seconds, and a test of processes that are killed starts dozens.
So one process loads it all, computes nothing and has no threads; every command is a fork of that
one (Python's own fork server), with a process id, files and a death of its own.
"""

import gc
import multiprocessing
import os
import resource
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        *(
            "selfsight.cli",
            "selfsight.commands.pretrain",
            "selfsight.commands.probe",
            "selfsight.commands.embed",
        ),
        *(
            "selfsight.commands.look",
            "selfsight.looks",
            "selfsight.distributed.engine",
            "lightning_fabric",
        ),
    ]
)
HERE = multiprocessing.get_context("fork")  # forks of the asking process, if that has one thread


class Apart:
    """A command `selfsight` that has begun in a process of its own.

    Args:
        words: What would be typed behind `selfsight`.
        said: Where all goes that it prints, by Python or by a library; None: nowhere.
        environment: Variables for it, besides those of this process.
        warning: What becomes of its warnings, "error" or "always".
        largest_file: Bytes that a file of its may have.
        first: Python that it runs first, to change something of the library.
        by: What forks it: the process in which all is loaded, or the one that asks (`HERE`).
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        said: Path | None = None,
        environment: Mapping[str, str] = {},
        warning: Any = "error",
        largest_file: int | None = None,
        first: str = "",
        by: Any = FORKS,
    ) -> None:
        given = (list(words), said, {**os.environ, **environment}, warning, largest_file, first)
        self._process = by.Process(target=_done, args=given)
        self._process.start()

    @property
    def ended(self) -> bool:
        """Whether it has ended, of itself or killed."""
        return self._process.exitcode is not None

    @property
    def number(self) -> int:
        """The process's id."""
        assert self._process.pid is not None
        return self._process.pid

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.number, number)

    def kill(self) -> None:
        """Kill it without a word, and wait until it is gone."""
        self._process.kill()
        self._process.join()

    def wait(self) -> int:
        """Wait until it ends: -> its exit status, negative for the signal that ended it."""
        self._process.join()
        status = self._process.exitcode
        assert status is not None
        return status


def _done(
    words: list[str],
    said: Path | None,
    environment: dict[str, str],
    warning: Any,
    largest_file: int | None,
    first: str,
) -> None:
    """Be the command."""
    into = os.open(said or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(into, descriptor)
    os.environ.clear()
    os.environ.update(environment)
    gc.freeze()  # what is loaded stays: to search it for garbage takes longer than the command
    torch.set_num_threads(1)
    warnings.simplefilter(warning)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    exec(first, {})
    from selfsight.cli import main

    sys.exit(main(words))
