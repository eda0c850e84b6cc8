"""Slowing: notices when a training becomes much slower than expected, and says once what helps."""

from selfsight.training.plan import Plan

FALLEN = 1 / 3  # share of the expected pace
SPAN = 5.0  # seconds of computing over which a pace is taken, at least
LEAST_STEPS = 5  # and steps


class Slowing:
    """Compares the speed of the last steps with the planned one, else with the best of this run.

    Threads wait for each other many times in a step: if other programs take their processors, two
    threads can be many times slower than one. Waiting for data is reported separately and does not
    count.

    Args:
        of: The run's plan, which holds a measured speed if the length was a time.
        cycle: Steps in which every task has its turn.
    """

    def __init__(self, of: Plan, cycle: int = 1) -> None:
        self._plan = of
        self._cycle = cycle
        self._expected = of.seconds_a_step
        self._seconds = 0.0
        self._steps = 0
        self._said = False
        self._news: str | None = None

    def news(self) -> str | None:
        """Give the warning, once; None if there is none."""
        news, self._news = self._news, None
        return news

    def after(self, seconds: float) -> None:
        """Count a step that took `seconds`."""
        self._seconds += seconds
        self._steps += 1
        whole = self._steps % self._cycle == 0 and self._steps >= LEAST_STEPS
        if self._said or not whole or self._seconds < SPAN:
            return
        taken, self._seconds, self._steps = self._seconds / self._steps, 0.0, 0
        expected = self._expected
        if self._plan.seconds_a_step is None:
            self._expected = taken if expected is None else min(expected, taken)
        if expected is not None and taken * FALLEN > expected:
            self._said, self._news = True, self._words(taken, expected)

    def _words(self, taken: float, expected: float) -> str:
        now, before = (self._plan.batch / seconds for seconds in (taken, expected))
        best = "at its best" if self._plan.seconds_a_step is None else "as planned"
        unit = self._plan.modality.unit
        told = f"the pace fell to {now:,.0f} {unit} a second, from {before:,.0f} {best}: "
        if self._plan.device != "cpu":
            return told + "other programs share the device; let fewer run beside it"
        told += "other programs take the processors; let fewer run beside it"
        if self._plan.threads > 1:
            told += (
                f", or begin a new run with --threads 1: {self._plan.threads} threads wait for "
                "each other"
            )
        return told
