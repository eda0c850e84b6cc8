"""Pace: precision and compiling by rule, and the number of steps if the length is a time.

Precision, threads and compiling follow from the machine and the settings, never from a measured
time: the same command with the same seed gives the same weights, however busy the machine is. Only
`--minutes` measures a step, to choose the number of steps.
"""

import copy
import dataclasses
import statistics
import time
from collections.abc import Callable

import torch

from selfsight.distributed.engine import (
    Engine,
    Precision,
    bf16_is_sound,
    fault_of_compiling,
    threads,
)
from selfsight.distributed.processes import ALONE, Processes
from selfsight.errors import UsageError
from selfsight.settings import Pretrain
from selfsight.system import machine
from selfsight.system.progress import console
from selfsight.tasks.base import Epoch, Task
from selfsight.training import plan
from selfsight.training.loop import Batches, FeaturesOf
from selfsight.training.optimizer import make_optimizer
from selfsight.training.plan import Plan

MEASURED_STEPS, MEASURED_SECONDS = 7, 3.0
# Compiling takes about a minute, so it is used only in trainings of at least this length.
LONG_MINUTES, LONG_STEPS = 5.0, 5000


def completed(
    settings: Pretrain,
    draft: Plan,
    task: Task,
    batches: Batches,
    features_of: Callable[[Plan], FeaturesOf],
    *,
    processes: Processes = ALONE,
) -> Plan:
    """Choose precision, compiling and the number of steps: -> the plan, in all processes.

    Args:
        settings: The verb's settings.
        draft: The plan without precision, compiling and steps.
        task: The task to be trained; its weights, statistics and draws are not changed.
        batches: Gives the batch of a step.
        features_of: Encodes every sample, for tasks that need all features before an epoch.
        processes: The processes that train together.
    """
    precision, notes = _precision(settings, draft, task, batches)
    chosen = dataclasses.replace(draft, precision=precision)
    usual = draft.modality.usual
    minutes = plan.minutes_of(settings, draft.device, usual)
    steps = 1
    if minutes is None:
        steps = plan.step_count(settings, draft.learned or draft.samples, draft.batch, usual)
    if _is_to_be_compiled(settings, draft.device, minutes, steps):
        fault = _fault(chosen, task, batches, processes)
        notes += fault
        chosen = dataclasses.replace(chosen, compiled=not fault)
    seconds = None
    if minutes is not None:
        console().print("measuring a step", style="dim")
        seconds = measured_step(task, batches, chosen, processes=processes)
        seconds += measured_epoch(task, features_of(chosen), chosen, processes=processes)
        steps = plan.steps_within(minutes, seconds)
    machine.give_back_memory()
    return processes.from_first(
        dataclasses.replace(
            chosen,
            steps=steps,
            warmup=round(usual.warm_up * steps),
            seconds_a_step=seconds,
            notes=draft.notes + notes,
        )
    )


def _precision(
    settings: Pretrain, draft: Plan, task: Task, batches: Batches
) -> tuple[Precision, tuple[str, ...]]:
    """Choose bf16 if the device multiplies it and its gradients are right: -> precision, notes."""
    asked = settings.precision
    if "bf16" not in draft.modality.usual.precisions:
        if asked == "bf16":
            raise UsageError(f"--precision must be f32 for {draft.modality.name}, got bf16")
        return "f32", ()
    if asked == "f32" or (asked == "auto" and not machine.multiplies_bf16(draft.device)):
        return "f32", ()
    if bf16_is_sound(task, batches(0), draft.device):
        return "bf16", ()
    return "f32", ("f32, since this processor's bf16 gives wrong gradients for maps of one value",)


def _is_to_be_compiled(settings: Pretrain, device: str, minutes: float | None, steps: int) -> bool:
    """Decide whether to try compiling: if asked for, else on a GPU in a long training."""
    if settings.compile != "auto":
        return settings.compile == "on"
    long = steps >= LONG_STEPS if minutes is None else minutes >= LONG_MINUTES
    return device == "cuda" and long


def _fault(of: Plan, task: Task, batches: Batches, processes: Processes) -> tuple[str, ...]:
    """Try to compile: -> a note if it fails in any process, so that none compiles."""
    fault = fault_of_compiling(task, batches(0), processes.placed(of.device), of.precision)
    (failed,) = processes.largest(float(fault is not None))
    if not failed:
        return ()
    return (f"compiling failed, so the encoder runs as it is: {fault or 'in another process'}",)


def as_compiled(
    of: Plan, task: Task, batches: Batches, *, processes: Processes = ALONE
) -> tuple[Plan, tuple[str, ...]]:
    """Check that a compiled run can be compiled here too: -> the plan to resume by, notes."""
    notes = _fault(of, task, batches, processes) if of.compiled else ()
    return (dataclasses.replace(of, compiled=False), notes) if notes else (of, ())


def measured_step(
    task: Task,
    batches: Batches,
    of: Plan,
    *,
    processes: Processes = ALONE,
) -> float:
    """Time a training step on a copy of the task.

    No weight, statistic or draw of the run is changed.

    Args:
        task: The task to be trained.
        batches: Gives the batch of a step.
        of: The plan; if it says compiled, compiling must be known to work.
        processes: The processes that train together, which measure together.

    Returns:
        Seconds: the median of a few steps, averaged over tasks that take turns; with several
        processes, the slowest one's value in all of them.
    """
    shares, cycle = task.shares, len(task.turns)
    engine = Engine(
        of.device,
        of.precision,
        devices=of.devices,
        nodes=of.nodes,
        compiled=of.compiled,
        resting=of.resting,
    )
    twin = copy.deepcopy(task).train()
    optimizer = make_optimizer(twin, of)
    engine.prepare(twin, optimizer)
    times: dict[int, list[float]] = {first: [] for first in shares}
    with torch.random.fork_rng(), threads(of.threads):
        for first, taken in times.items():
            most = MEASURED_SECONDS / len(shares)
            while len(taken) < MEASURED_STEPS and (len(taken) < 2 or sum(taken) < most):
                step = first + len(taken) * cycle
                begun = time.perf_counter()
                twin.before_step(step, of.steps)
                engine.update(engine.score(batches(len(taken))).loss, clip=of.clip)
                twin.after_step(step, of.steps)
                engine.wait()
                taken += processes.largest(time.perf_counter() - begun)
    # The first step of each kind includes one-time work.
    return sum(share * statistics.median(times[first][1:]) for first, share in shares.items())


def measured_epoch(
    task: Task, features_of: FeaturesOf, of: Plan, *, processes: Processes = ALONE
) -> float:
    """Time a task's work before an epoch on a copy: -> seconds, averaged over the epoch's steps."""
    if not task.epochs_between:
        return 0.0  # work that is done only once is not counted
    twin = copy.deepcopy(task).to(processes.placed(of.device))
    begun = time.perf_counter()
    with torch.random.fork_rng(), threads(of.threads):
        twin.before_epoch(Epoch(0, of.seed, features_of))
    (seconds,) = processes.largest(time.perf_counter() - begun)
    return seconds / (of.steps_per_epoch * twin.epochs_between)
