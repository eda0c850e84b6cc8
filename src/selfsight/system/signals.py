"""Signals: Ctrl-C, a polite kill and a closed terminal end what is done in an orderly way.

What was ignored when the program began stays ignored, as `nohup` wants it. Only a program's main
thread may handle signals; in another one they are left to it.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

# Asked to end: Ctrl-C, a polite kill (a scheduler's, `timeout`'s), a terminal that was closed.
ENDING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
INTERRUPTED = 130  # exit status
AS_ONE = 0.5  # seconds: `timeout` sends its signal twice, to the process and to its group

Handler = Callable[[int, FrameType | None], Any]


@contextlib.contextmanager
def _handled(handler: Handler) -> Generator[dict[int, Any]]:
    """Handle the signals that ask to end, and restore what was: -> the former handlers."""
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
    """Counts how often an end was asked for; signals at the same moment are one."""

    def __init__(self) -> None:
        self.times = 0
        self._last = -AS_ONE

    def again(self) -> int:
        """Count a signal in: -> how often it was asked for by now; 0 for the echo of the last."""
        now = time.monotonic()
        if now - self._last < AS_ONE:
            return 0
        self._last = now
        self.times += 1
        return self.times


@contextlib.contextmanager
def raised() -> Generator[Callable[[], bool]]:
    """Raise KeyboardInterrupt where the program stands; asked for again, end it at once.

    Returns:
        As a context: tells whether an end was asked for, whatever has become of the error.

    Raises:
        KeyboardInterrupt: If an end was asked for, so that all that is half-made is taken away.
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
    """Raise KeyboardInterrupt only after a block that must not be left in its middle.

    Libraries that are half loaded swallow it, or fail in ways of their own.

    Raises:
        KeyboardInterrupt: If an end was asked for meanwhile.
    """
    with Interruption() as interruption:
        try:
            yield
        finally:
            if interruption.asked:
                raise KeyboardInterrupt


class Interruption:
    """Notes that an end is asked for instead of ending, so that a step can be finished.

    Asked for again, it is left to the handler that was there before.

    Attributes:
        asked: Whether it was asked for.
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
