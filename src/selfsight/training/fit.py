"""Fitting: runs tasks that compute their weights in closed form instead of being trained.

Without gradients there are no steps, rate or precision to choose; the plan only says how many
samples are read. The run is like any other: settings, a row of metrics, a checkpoint, the encoder.
An interrupted fit starts again, with the same result.
"""

import math
import time
from collections.abc import Iterator

import torch

from selfsight import encoders
from selfsight.data.batches import Batch
from selfsight.errors import SelfsightError, UsageError
from selfsight.settings import Pretrain
from selfsight.system.progress import Bar
from selfsight.tasks.base import Task
from selfsight.tasks.cards import settings_of
from selfsight.tasks.table import load_task, row_of
from selfsight.training import checkpoint
from selfsight.training.loop import Batches, EncoderProbe, Listener
from selfsight.training.plan import Plan
from selfsight.training.run import Run

# Flags that have no meaning for a fit, and their default values.
_OF_TRAINING = {
    "mix": None, "start": None, "batch": None, "optimizer": None, "rate": None, "decay": None,
    "schedule": "cosine", "clip": None, "precision": "auto", "devices": 1, "nodes": 1,
    "compile": "auto", "probe_every": None, "track": (),
}  # fmt: skip


def refuse(settings: Pretrain) -> None:
    """Refuse flags that have no meaning for a fitted task.

    Raises:
        UsageError: If one was given.
    """
    fitted = [name for name in settings.task if row_of(name).way == "fitted"]
    if not fitted:
        return
    name = fitted[0]
    if len(settings.task) > 1:
        raise UsageError(
            f"{name} is fitted in closed form, so it shares no encoder; give it alone, got "
            f"{' and '.join(settings.task)}"
        )
    told = {"start": "from"}
    asked = [
        f"--{told.get(key, key).replace('_', '-')}"
        for key, usual in _OF_TRAINING.items()
        if getattr(settings, key) != usual
    ]
    if asked:
        raise UsageError(
            f"{name} is fitted in closed form, in one process and without steps; leave "
            f"{', '.join(asked)} out"
        )
    brought = load_task(name).encoder_of(settings_of(name))
    known = () if brought is None else (brought[0], encoders.OWN[brought[0]])
    if settings.encoder not in (None, *known):
        raise UsageError(
            f"{name} is fitted to an encoder of its own; leave --encoder {settings.encoder} out"
        )


class Fitting:
    """A task being fitted in a run; it is used like a `Training`.

    Args:
        task: Its `fit` finds the weights of its encoder.
        batches: Gives the samples, part by part.
        plan: The plan, with the number of parts.
        run: Where everything is saved.
        listener: Called with the row of metrics.csv.
    """

    probe: EncoderProbe | None = None

    def __init__(
        self,
        task: Task,
        batches: Batches,
        plan: Plan,
        run: Run,
        *,
        listener: Listener | None = None,
    ) -> None:
        self.device = torch.device(plan.device)
        self.task, self.batches, self.plan, self.run = task.to(self.device), batches, plan, run
        self.listener = listener
        self.step = 0
        self.seconds = self.waited = 0.0  # of fitting; of it, waiting for data
        self.rows: list[dict[str, float]] = []

    def resume(self) -> None:
        """Load the run's fit, if it was finished."""
        state = self.run.load_checkpoint()
        if state is not None:
            checkpoint.take_up(self.task, state, self.run.path / checkpoint.LAST)
            self.step, self.seconds, self.waited = state["step"], state["seconds"], state["waited"]
            self.rows = self.run.metrics()

    def _parts(self, bar: Bar) -> Iterator[Batch]:
        """Give the samples, part by part."""
        for step in range(self.plan.steps):
            yield self._part(step)
            bar(step + 1)

    def _part(self, step: int) -> Batch:
        begun = time.perf_counter()
        part = self.batches(step)
        self.waited += time.perf_counter() - begun
        return part

    def save(self) -> None:
        """Write the encoder, the metrics and then the checkpoint."""
        self.run.check_ours()
        self.run.save_encoder(self.task.encoder)
        self.run.write_metrics(self.rows)
        state = {"step": self.step, "seconds": self.seconds, "waited": self.waited}
        self.run.save_checkpoint(state | {"task": self.task.state_dict()})

    def go(self) -> None:
        """Fit, score the result, and write everything."""
        if self.step >= self.plan.steps:
            return
        begun = time.perf_counter()
        self.task.eval()
        parts, task = self.plan.steps, self.task
        with Bar("fitting", parts + task.rounds, unit="rounds") as bar:
            task.fit(
                self._parts(bar),
                seed=self.plan.seed,
                progress=lambda done, _: bar(parts + done),
            )
            bar(parts + task.rounds)  # what rests moves no more
        with torch.no_grad():
            score = self.task(self._part(0))
        if not math.isfinite(float(score.loss)):
            raise SelfsightError(
                f"{self.plan.task} was fitted, and its loss is {float(score.loss)}, which is not "
                "finite; give other data, or other settings of the task"
            )
        self.step = self.plan.steps
        self.seconds = time.perf_counter() - begun
        samples = self.plan.steps * self.plan.batch
        row = {
            "step": self.step,
            "epoch": samples / self.plan.samples,
            "samples": samples,
            "seconds": round(self.seconds, 3),
            "loss": float(score.loss),
            **{f"{self.plan.task}.{key}": float(value) for key, value in score.metrics.items()},
            "rate": 0.0,
            "samples_per_second": round(samples / max(self.seconds, 1e-9), 1),
            "waiting": self.waited / max(self.seconds, 1e-9),
        }
        self.rows = [row]
        if self.listener is not None:
            self.listener(row)
        self.save()
