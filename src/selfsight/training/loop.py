"""Loop: the only training loop.

A step fetches a batch, computes the loss, and takes an optimiser step. The checkpoint holds the
whole state: weights, optimiser, step, torch's generator (used only by dropout) and the sums of
metrics not yet logged. All other randomness follows from the step's number, so a resumed run gives
the same bits.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from selfsight.distributed.engine import Engine, uncompile_encoders
from selfsight.distributed.processes import ALONE, Processes
from selfsight.encoders import BaseEncoder
from selfsight.encoders.finite import first_non_finite
from selfsight.errors import SelfsightError, Stopped
from selfsight.system.escaping import shell_quoted
from selfsight.system.progress import Bar
from selfsight.system.signals import Interruption
from selfsight.tasks.base import Epoch, Score, Task
from selfsight.training import checkpoint
from selfsight.training.optimizer import make_optimizer, rate_factor
from selfsight.training.plan import Plan
from selfsight.training.run import Run
from selfsight.training.slowing import Slowing

Batches = Callable[[int], Any]  # step -> batch
FeaturesOf = Callable[[nn.Module], Tensor]  # network -> features of every sample, see `Epoch`
EncoderProbe = Callable[[BaseEncoder], dict[str, float]]  # -> columns of metrics.csv
Listener = Callable[[dict[str, float]], None]  # told every row of metrics.csv


class Tally:
    """Sums of scores since the last logged row, kept on the device so that no step waits."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}  # tasks that take turns have no metrics in some steps

    def add(self, score: Score, more: dict[str, Tensor]) -> None:
        """Count one step, with metrics that only some steps have."""
        values = {"loss": score.loss, **score.metrics, **more}
        for name, value in values.items():
            old = self.sums.get(name)
            value = value.detach().float()
            self.sums[name] = value if old is None else old + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def over(self, processes: Processes) -> "Tally":
        """Average the sums over processes."""
        joint = Tally()
        joint.counts = self.counts
        if self.sums:
            joint.sums = dict(
                zip(self.sums, processes.mean(torch.stack([*self.sums.values()])), strict=True)
            )
        return joint

    def gathered(self, processes: Processes) -> dict[str, Tensor]:
        """Give the sums of all processes, each (processes,), so that each can resume its own.

        The sums of means would be rounded differently from the means of sums.
        """
        if not self.sums:
            return {}
        every = processes.gathered(torch.stack([*self.sums.values()]).cpu())
        return dict(zip(self.sums, every.unbind(dim=1), strict=True))

    def means(self) -> dict[str, float]:
        """Average the counted metrics."""
        return {name: float(value) / self.counts[name] for name, value in self.sums.items()}


class Training:
    """A task being trained in a run.

    Args:
        task: Its encoder and head are trained.
        batches: Gives the batch of a step, always the same one.
        plan: The plan.
        run: Where everything is saved.
        processes: The processes that train together; the first one writes.
        probe: Called with the encoder at the plan's `probe_steps`; it must not change it.
        listener: Called with every new row of metrics.csv.
        features_of: Encodes every sample, for tasks that need all features before an epoch.
    """

    def __init__(
        self,
        task: Task,
        batches: Batches,
        plan: Plan,
        run: Run,
        *,
        processes: Processes = ALONE,
        probe: EncoderProbe | None = None,
        listener: Listener | None = None,
        features_of: FeaturesOf | None = None,
    ) -> None:
        self.task, self.batches, self.plan, self.run = task, batches, plan, run
        self.processes, self.probe, self.listener = processes, probe, listener
        self.features_of = features_of
        self.engine = Engine(
            plan.device,
            plan.precision,
            devices=plan.devices,
            nodes=plan.nodes,
            compiled=plan.compiled,
            resting=plan.resting,
        )
        self.optimizer = make_optimizer(task, plan)
        self.engine.prepare(task, self.optimizer)
        self.step = 0
        self.seconds = self.waited = 0.0  # of training so far; of it, waiting for data
        self.tally = Tally()
        self.rows: list[dict[str, float]] = []
        self._slowing = Slowing(plan, cycle=len(task.turns))
        self._told = ""  # of the last row, beside the bar
        self._asking = 0  # the step after which several processes ask each other next
        self._asked = (0, 0.0)  # the step and the seconds of training when they last did

    def resume(self) -> None:
        """Load the run's last checkpoint, if there is one."""
        state = self.run.load_checkpoint()
        if state is None:
            return
        if "counts" not in state:
            raise SelfsightError(
                f"{self.run.path} was begun by an older selfsight and cannot be gone on with; "
                f"start a new run from its weights with --from {shell_quoted(self.run.path)}"
            )
        place = self.run.path / checkpoint.LAST
        checkpoint.take_up(self.task, state, place)
        checkpoint.take_up_optimizer(self.optimizer, state, place)
        torch.set_rng_state(self._own(state.get("generator"), torch.get_rng_state()))
        if self.engine.device.type == "cuda":
            own = torch.cuda.get_rng_state()
            torch.cuda.set_rng_state(self._own(state.get("device_generator"), own))
        self.step, self.seconds, self.waited = state["step"], state["seconds"], state["waited"]
        checkpoint.check_sums(state["sums"], self.processes.count, place)
        own = {name: self._own_sum(values) for name, values in state["sums"].items()}
        self.tally.sums = {name: value.to(self.engine.device) for name, value in own.items()}
        self.tally.counts = state["counts"]
        self.rows = [row for row in self.run.metrics() if row["step"] <= self.step]

    def _own(self, states: Any, now: Tensor) -> Tensor:
        """Find this process's state among those of all; a run of one process has only one.

        Args:
            states: As the checkpoint has them.
            now: That of this process, as it is.
        """
        place = self.run.path / checkpoint.LAST
        checkpoint.check_generators(states, now, self.processes.count, place)
        return states.reshape(self.processes.count, -1)[self.processes.rank].clone()

    def _own_sum(self, values: Tensor) -> Tensor:
        """Find this process's sum among those of all; older runs saved only their mean."""
        return values.expand(self.processes.count)[self.processes.rank].clone()

    def save(self) -> None:
        """Write the encoder, the metrics and then the checkpoint, if all numbers are finite.

        The checkpoint comes last: a kill between the three leaves an older checkpoint, from which
        the others are written again.

        Raises:
            SelfsightError: If a loss, a weight or the optimiser's state is no longer finite;
                nothing is written then.
        """
        self._check_sound()
        if first_non_finite(self.task.state_dict()):
            raise self._unsound("a weight")
        moved = self.optimizer.state_dict()
        if first_non_finite(checkpoint.tensors_of(moved)):
            raise self._unsound("the optimiser's state")
        on_gpu, every = self.engine.device.type == "cuda", self.processes
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "waited": self.waited,
            "task": self.task.state_dict(),
            "optimizer": moved,
            "generator": every.gathered(torch.get_rng_state()),
            "device_generator": every.gathered(torch.cuda.get_rng_state()) if on_gpu else None,
            "sums": self.tally.gathered(every),
            "counts": self.tally.counts,
        }
        if every.leads:
            self._write(state)
        every.wait()  # no process continues before everything is written

    def _write(self, state: dict[str, Any]) -> None:
        """Write encoder, metrics and checkpoint."""
        self.run.check_ours()
        for stem, encoder in encoders_of(self.task).items():
            self.run.save_encoder(encoder, stem)
        self.run.write_metrics(self.rows)
        self.run.save_checkpoint(state)

    def go(self) -> None:
        """Train to the plan's last step.

        Raises:
            Stopped: On Ctrl-C, SIGTERM or a closed terminal; everything is saved.
            SelfsightError: If the loss is no longer finite, or the disk is full.
        """
        saved = time.monotonic()
        self.task.train()
        if self.step == 0 and 0 in self.plan.probe_steps and not self.rows:
            self._tell({"step": 0, "epoch": 0.0, "samples": 0, "seconds": 0.0} | self._looked())
        with Interruption() as interruption, Bar("training", self.plan.steps, unit="steps") as bar:
            bar.begin_at(self.step)
            while self.step < self.plan.steps:
                self._advance()
                last = self.step == self.plan.steps
                if last or self.step % self.plan.log_every == 0:
                    self._log()
                bar(self.step, self._told)
                news = self._slowing.news()
                if news and self.processes.leads:
                    bar.console.print(news)
                due, asked = self._agreed(saved, interruption)
                if last or due or asked:
                    self.save()
                    saved = time.monotonic()
                if asked and not last:
                    raise Stopped(
                        f"stopped at step {self.step:,} of {self.plan.steps:,}, and saved; "
                        f"go on with: selfsight pretrain --resume {shell_quoted(self.run.path)}"
                    )
        uncompile_encoders(self.task)

    def _agreed(self, saved: float, interruption: Interruption) -> tuple[bool, bool]:
        """Decide with the other processes whether to save and whether to stop.

        A single process decides after every step; several communicate about once a second, or as
        often as they save, according to the recent speed of the slowest.
        """
        due = self.processes.leads and time.monotonic() - saved >= self.plan.save_every
        if self.processes.count == 1:
            return due, interruption.asked
        if self.step < self._asking:
            return False, False
        step, seconds = self._asked
        taken = (self.seconds - seconds) / max(1, self.step - step)
        due, asked, slowest = self.processes.largest(due, interruption.asked, taken)
        self._asked = self.step, self.seconds
        pause = min(1.0, self.plan.save_every) / max(slowest, 1e-3)
        self._asking = self.step + max(1, int(pause))
        return bool(due), bool(asked)

    def _looked(self) -> dict[str, float]:
        """Probe the encoder, in the first process; the others wait for it in the next step."""
        if self.probe is None or not self.processes.leads:
            return {}
        return self.probe(self.task.encoder)

    def _tell(self, row: dict[str, float]) -> None:
        """Add a row of metrics."""
        self.rows.append(row)
        if self.listener is not None:
            self.listener(row)

    def _advance(self) -> None:
        """Take one step."""
        begun = time.perf_counter()
        batch = self.batches(self.step)
        fetched = time.perf_counter()
        self.waited += fetched - begun
        plan = self.plan
        rate = plan.rate * rate_factor(self.step, plan.steps, plan.warmup, plan.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        if self.features_of is not None and self.step % plan.steps_per_epoch == 0:
            epoch = Epoch(self.step // plan.steps_per_epoch, plan.seed, self.features_of)
            begin_epoch(self.task, epoch, self.optimizer)
            fetched = time.perf_counter()
        self.task.before_step(self.step, plan.steps)
        score = self.engine.score(batch)
        self.engine.update(score.loss, clip=plan.clip)
        self.tally.add(score, self.task.after_step(self.step, plan.steps))
        self.step += 1
        now = time.perf_counter()
        self.seconds += now - begun
        self._slowing.after(now - fetched)

    def _check_sound(self) -> None:
        means = self.tally.means()
        broken = [name for name, value in means.items() if not math.isfinite(value)]
        if broken:
            raise self._unsound(" and ".join(broken))

    def _unsound(self, what: str) -> SelfsightError:
        return SelfsightError(
            f"{what} stopped being a number near step {self.step:,}; the last checkpoint is "
            f"intact. Start again with a lower --rate (it was {self.plan.rate:g}) or with --clip 1"
        )

    def _log(self) -> None:
        """Add a row of metrics, and update the text beside the bar."""
        begun = time.perf_counter()
        self.engine.wait()  # a GPU may still be computing the counted steps
        self.seconds += time.perf_counter() - begun
        self._check_sound()
        plan, means = self.plan, self.tally.over(self.processes).means()
        samples = self.step * plan.batch
        old = self.rows[-1] if self.rows else {"samples": 0, "seconds": 0.0}
        pace = (samples - old["samples"]) / max(self.seconds - old["seconds"], 1e-9)
        alone = "" if plan.mix else f"{plan.task}."
        named = {k if k == "loss" else f"{alone}{k}": v for k, v in means.items()}
        row = {
            "step": self.step,
            "epoch": self.step * plan.batch / plan.samples,
            "samples": samples,
            "seconds": round(self.seconds, 3),
            **named,
            "rate": plan.rate * rate_factor(self.step - 1, plan.steps, plan.warmup, plan.schedule),
            "samples_per_second": round(pace, 1),
            "waiting": self.waited / max(self.seconds, 1e-9),
        }
        self.tally = Tally()
        self._told = self._shown(means, row)
        self._tell(row | self._looked() if self.step in plan.probe_steps else row)

    def _shown(self, means: dict[str, float], row: dict[str, float]) -> str:
        """Describe each task's loss beside a blind guess, and the speed."""
        told = [
            _standing(task, means, "" if self.plan.mix is None else f"{name}.")
            for name, task in self.task.tasks_by_name(self.plan.task).items()
        ]
        unit = self.plan.modality.unit
        pace = f"{row['samples_per_second']:,.0f} {unit}/s, waiting {row['waiting']:.1%}"
        return ", ".join([*filter(None, told), pace])


def begin_epoch(task: Task, epoch: Epoch, optimizer: torch.optim.Optimizer) -> None:
    """Run a task's `before_epoch`, and reset the optimiser's state of the parameters it resets.

    A state of zeros is that of a new parameter, for SGD and for AdamW; torch's fused optimisers do
    not accept a group without a state.
    """
    for parameter in task.before_epoch(epoch):
        for value in optimizer.state[parameter].values():
            if isinstance(value, Tensor):
                value.zero_()


def _standing(task: Task, means: dict[str, float], prefix: str) -> str:
    """Describe a task's mean metrics beside a blind guess; nothing if it had no turn."""
    guesses = {"loss": ("blind", task.blind), "accuracy": ("guess", task.chance)}
    own = {k.removeprefix(prefix): v for k, v in means.items() if k.startswith(prefix)}
    parts: list[str] = []
    for key, value in own.items():
        word, guess = guesses.get(key, ("", None))
        beside = "" if guess is None else f" ({word} {guess:.3f})"
        parts.append(f"{prefix}{key} {value:.3f}{beside}")
    return " ".join(parts)


def encoders_of(task: Task) -> dict[str, BaseEncoder]:
    """Name the encoders of a task to be saved: its first one, and those that differ from it.

    Tasks that share a network may have different feeds or batch statistics; `encoder-NAME` is the
    network with those of the task NAME.
    """
    first = task.encoder
    found = {"encoder": first}
    for name, encoder in task.encoders().items():
        if encoder.body is not first.body or encoder.recipe != first.recipe:
            found[f"encoder-{name}"] = encoder
    return found
