"""Signals: Ctrl-C, SIGTERM and a closed terminal end the work in an orderly way.

Signals that were ignored when the program began stay ignored, as `nohup` requires. Only the main
thread may handle signals; in any other thread nothing here changes how they are handled.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

# Requests to end: Ctrl-C, a kill by a scheduler or `timeout`, a closed terminal.
ENDING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
INTERRUPTED = 130  # exit status
AS_ONE = 0.5  # seconds in which signals count once: `timeout` signals process and group

Handler = Callable[[int, FrameType | None], Any]


@contextlib.contextmanager
def _handled(handler: Handler) -> Generator[dict[int, Any]]:
    """Handle the signals that ask to end, for the length of a block: -> the former handlers."""
    former: dict[int, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    former[number] = signal.getsignal(number)
                    signal.signal(number, handler)
        yield former
    finally:
        for number, old in former.items():
            signal.signal(number, old)


class _Asked:
    """Counts requests to end; signals within half a second count as one."""

    def __init__(self) -> None:
        self.times = 0
        self._last = -AS_ONE

    def again(self) -> int:
        """Count a signal: -> the number of requests so far; 0 for a repetition of the last."""
        now = time.monotonic()
        if now - self._last < AS_ONE:
            return 0
        self._last = now
        self.times += 1
        return self.times


@contextlib.contextmanager
def raised() -> Generator[Callable[[], bool]]:
    """Raise KeyboardInterrupt on the first request to end; on the second, exit at once.

    Returns:
        As a context: a function that tells whether an end was requested, even if a library
        swallowed the error.

    Raises:
        KeyboardInterrupt: If an end was requested, so that half-made files are cleaned up.
    """
    asked = _Asked()

    def end(number: int, frame: FrameType | None) -> None:
        times = asked.again()
        if times == 1:
            raise KeyboardInterrupt
        if times > 1:
            os._exit(INTERRUPTED)

    with _handled(end):
        yield lambda: asked.times > 0


@contextlib.contextmanager
def after() -> Generator[None]:
    """Hold KeyboardInterrupt back until the end of a block that must not be interrupted.

    Libraries interrupted while they load swallow the error, or fail with errors of their own.

    Raises:
        KeyboardInterrupt: At the end of the block, if an end was requested meanwhile.
    """
    with Interruption() as interruption:
        try:
            yield
        finally:
            if interruption.asked:
                raise KeyboardInterrupt


class Interruption:
    """Records a request to end instead of ending, so that a step can be finished.

    A second request goes to the handler that was there before.

    Attributes:
        asked: Whether an end was requested.
    """

    def __init__(self) -> None:
        self.asked = False
        self._asked = _Asked()
        self._handling = _handled(self._note)

    def __enter__(self) -> "Interruption":
        self._former = self._handling.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._handling.__exit__(None, None, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        times = self._asked.again()
        self.asked = True
        if times > 1:
            former = self._former[number]
            if callable(former):
                former(number, frame)
            raise KeyboardInterrupt
