"""Train: the one loop, for pretext tasks and for transfer.

A step fetches a batch, scores it, and goes down the gradient. What happened so far is in the
checkpoint: weights, optimiser, step, torch's generator (only dropout uses it) and the sums of the
metrics not yet logged. All other randomness follows from the step, so a resumed run goes on to the
same bits.
"""

import copy
import math
import signal
import statistics
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from selfsight import encoders
from selfsight.engine import Engine, Precision, threads
from selfsight.errors import SelfsightError, Stopped
from selfsight.plan import Plan, make_optimizer, rate_factor
from selfsight.progress import Bar
from selfsight.run import Run
from selfsight.score import Score

MEASURED_STEPS, MEASURED_SECONDS = 7, 3.0

Batches = Callable[[int], Any]  # step -> batch


class Interruption:
    """Notes Ctrl-C or a polite kill instead of dying of it, so that the step can be finished."""

    def __init__(self) -> None:
        self.asked = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:  # asked twice: at once
            raise KeyboardInterrupt
        self.asked = True


class Tally:
    """Sums of scores since the last logged row, kept on the device so that no step waits."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, score: Score) -> None:
        """Count one step in."""
        values = {"loss": score.loss, **score.metrics}
        for name, value in values.items():
            old = self.sums.get(name)
            value = value.detach().float()
            self.sums[name] = value if old is None else old + value
        self.count += 1

    def means(self) -> dict[str, float]:
        """Average what was counted in."""
        return {name: float(value) / self.count for name, value in self.sums.items()}


class Training:
    """A task being trained in a run.

    Args:
        task: Its encoder and head are trained.
        batches: Gives the batch of a step, the same one whenever it is asked.
        plan: How.
        run: Where everything is kept.
    """

    def __init__(self, task: nn.Module, batches: Batches, plan: Plan, run: Run) -> None:
        self.task, self.batches, self.plan, self.run = task, batches, plan, run
        self.engine = Engine(plan.device, plan.precision)
        self.optimizer = make_optimizer(task, plan)
        self.engine.prepare(task, self.optimizer)
        self.step = 0
        self.seconds = self.waited = 0.0  # of training so far; of it, waiting for data
        self.tally = Tally()
        self.rows: list[dict[str, float]] = []

    def resume(self) -> None:
        """Take up the run's last checkpoint, if there is one."""
        state = self.run.load_checkpoint()
        if state is None:
            return
        self.task.load_state_dict(state["task"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["generator"])
        if self.engine.device.type == "cuda":
            torch.cuda.set_rng_state(state["device_generator"])
        self.step, self.seconds, self.waited = state["step"], state["seconds"], state["waited"]
        self.tally.sums = {k: v.to(self.engine.device) for k, v in state["sums"].items()}
        self.tally.count = state["count"]
        self.rows = [row for row in self.run.metrics() if row["step"] <= self.step]

    def save(self) -> None:
        """Write the encoder, the metrics and then the checkpoint, if the training is sound.

        The checkpoint comes last: a kill between the three leaves an older checkpoint, from which
        the others are written again.

        Raises:
            SelfsightError: If a loss or a weight is no longer a number; nothing is written then.
        """
        self._check_sound()
        if not all(v.isfinite().all() for v in self.task.state_dict().values()):
            raise self._unsound("a weight")
        on_gpu = self.engine.device.type == "cuda"
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "waited": self.waited,
            "task": self.task.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": torch.get_rng_state(),
            "device_generator": torch.cuda.get_rng_state() if on_gpu else None,
            "sums": self.tally.sums,
            "count": self.tally.count,
        }
        encoders.save(self.task.encoder, self.run.path)  # pyright: ignore[reportArgumentType] -- every task's contract
        self.run.write_metrics(self.rows)
        self.run.save_checkpoint(state)

    def go(self) -> None:
        """Train to the plan's last step.

        Raises:
            Stopped: If Ctrl-C or a polite kill asked for it; everything is saved.
            SelfsightError: If the loss is no longer a number, or the disk is full.
        """
        saved = time.monotonic()
        self.task.train()
        with Interruption() as interruption, Bar("training", self.plan.steps, unit="steps") as bar:
            bar.begin_at(self.step)
            while self.step < self.plan.steps:
                self._advance()
                if self.step % self.plan.log_every == 0 or self.step == self.plan.steps:
                    self._log(bar)
                due = time.monotonic() - saved >= self.plan.save_every
                if due or interruption.asked or self.step == self.plan.steps:
                    self.save()
                    saved = time.monotonic()
                if interruption.asked and self.step < self.plan.steps:
                    raise Stopped(
                        f"stopped at step {self.step:,} of {self.plan.steps:,}, and saved; "
                        f"go on with: selfsight pretrain --resume {self.run.path}"
                    )

    def _advance(self) -> None:
        """Take one step."""
        begun = time.perf_counter()
        batch = self.batches(self.step)
        self.waited += time.perf_counter() - begun
        plan = self.plan
        rate = plan.rate * rate_factor(self.step, plan.steps, plan.warmup, plan.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        score = self.engine.score(batch)
        self.engine.update(score.loss, clip=plan.clip)
        self.tally.add(score)
        self.step += 1
        self.seconds += time.perf_counter() - begun

    def _check_sound(self) -> None:
        means = self.tally.means()
        broken = [name for name, value in means.items() if not math.isfinite(value)]
        if broken:
            raise self._unsound(" and ".join(broken))

    def _unsound(self, what: str) -> SelfsightError:
        return SelfsightError(
            f"{what} stopped being a number near step {self.step:,}; the last checkpoint is "
            f"intact. Start anew with a lower --rate (it was {self.plan.rate:g}) or with --clip 1"
        )

    def _log(self, bar: Bar) -> None:
        """Add a row of metrics, and show it."""
        begun = time.perf_counter()
        self.engine.wait()  # a GPU may still be at work on the steps that are counted
        self.seconds += time.perf_counter() - begun
        self._check_sound()
        plan, means = self.plan, self.tally.means()
        samples = self.step * plan.batch
        old = self.rows[-1] if self.rows else {"samples": 0, "seconds": 0.0}
        pace = (samples - old["samples"]) / max(self.seconds - old["seconds"], 1e-9)
        named = {k if k == "loss" else f"{plan.task}.{k}": v for k, v in means.items()}
        row = {
            "step": self.step,
            "epoch": self.step * plan.batch / plan.samples,
            "samples": samples,
            "seconds": round(self.seconds, 3),
            **named,
            "rate": self.optimizer.param_groups[0]["lr"],
            "samples_per_second": round(pace, 1),
            "waiting": self.waited / max(self.seconds, 1e-9),
        }
        self.rows.append(row)
        self.tally = Tally()
        bar(self.step, self._shown(means, row))

    def _shown(self, means: dict[str, float], row: dict[str, float]) -> str:
        blind = getattr(self.task, "blind", None)
        loss = f"loss {means['loss']:.3f}" + (f" (blind {blind:.3f})" if blind else "")
        chance = getattr(self.task, "chance", None)
        guess = f" (guess {chance:.3f})" if chance else ""
        metrics = " ".join(f"{k} {v:.3f}{guess}" for k, v in means.items() if k != "loss")
        pace = f"{row['samples_per_second']:,.0f} pictures/s, waiting {row['waiting']:.1%}"
        return f"{loss}, {metrics}, {pace}"


def measured_step(
    task: nn.Module, batches: Batches, plan: Plan, precision: Precision, count: int
) -> float:
    """Time a training step on a copy of the task.

    No weight, statistic or draw of the run is touched.

    Args:
        task: What would be trained.
        batches: Gives the batch of a step.
        plan: How, but for the following.
        precision: To compute in.
        count: Processor threads to use.

    Returns:
        Seconds, the median of a few steps.
    """
    engine = Engine(plan.device, precision)
    twin = copy.deepcopy(task).train()
    optimizer = make_optimizer(twin, plan)
    engine.prepare(twin, optimizer)
    times: list[float] = []
    with torch.random.fork_rng(), threads(count):
        while len(times) < MEASURED_STEPS and (len(times) < 2 or sum(times) < MEASURED_SECONDS):
            begun = time.perf_counter()
            engine.update(engine.score(batches(len(times))).loss, clip=plan.clip)
            engine.wait()
            times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])  # the first one sets things up
