"""Pace: ways of computing a step, measured before the start; the fastest is taken.

Another way than the plain one must pay: fewer digits, fewer threads, a compiled encoder. Several
processes measure together, so that all of them choose alike.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from selfsight import machine, plan
from selfsight.engine import Precision, bf16_is_sound, fault_of_compiling
from selfsight.plan import Plan
from selfsight.processes import ALONE, Processes
from selfsight.settings import Pretrain
from selfsight.train import Batches, FeaturesOf, measured_epoch, measured_step

WORTH_CHANGING = 0.95  # share of the plain way's time that another way must stay under
WORTH_COMPILING = 300.0  # seconds of training; compiling itself takes about a minute


class Way(NamedTuple):
    """A way of computing.

    Attributes:
        seconds: That a step takes.
        precision: "f32" or "bf16".
        threads: Processor threads.
        compiled: Whether the encoders are compiled.
    """

    seconds: float
    precision: Precision
    threads: int
    compiled: bool = False

    def or_better(self, other: "Way") -> "Way":
        """Take the other way if it saves enough."""
        return other if other.seconds < WORTH_CHANGING * self.seconds else self


def measured_plan(
    settings: Pretrain,
    draft: Plan,
    task: nn.Module,
    batches: Batches,
    features_of: Callable[[Plan], FeaturesOf],
    *,
    processes: Processes = ALONE,
) -> Plan:
    """Choose precision, threads and compiling by measurement, then the steps.

    One thread can be faster than all where other work shares the cores, since threads that wait
    for each other then wait for that work too.
    """

    def timed(precision: Precision, threads: int, compiled: bool = False) -> Way:
        machine.give_back_memory()  # else one measurement's peak would come on top of another's
        seconds = measured_step(
            task, batches, draft, precision, threads, compiled=compiled, processes=processes
        )
        return Way(seconds, precision, threads, compiled)

    notes: tuple[str, ...] = ()
    precision = settings.precision
    if precision != "f32" and not bf16_is_sound(task, batches(0), draft.device):
        precision = "f32"
        notes += ("f32, since this processor's bf16 gives wrong gradients for maps of one value",)
    way = timed("bf16" if precision == "bf16" else "f32", draft.threads)
    if precision == "auto":
        way = way.or_better(timed("bf16", draft.threads))
    if draft.device == "cpu" and draft.threads > 1:
        way = way.or_better(timed(way.precision, 1))
    if _is_to_be_compiled(settings, draft, way):
        fault = _fault(
            dataclasses.replace(draft, precision=way.precision), task, batches, processes
        )
        notes += fault
        if not fault:
            compiled = timed(way.precision, way.threads, compiled=True)
            way = compiled if settings.compile == "on" else way.or_better(compiled)
    chosen = dataclasses.replace(
        draft, precision=way.precision, threads=way.threads, compiled=way.compiled
    )
    seconds = way.seconds + measured_epoch(task, features_of(chosen), chosen, processes=processes)
    learned = draft.learned or draft.samples
    steps = plan.step_count(settings, learned, draft.batch, draft.device, seconds)
    final = dataclasses.replace(
        chosen,
        steps=steps,
        warmup=round(plan.WARM_UP_SHARE * steps),
        seconds_a_step=seconds,
        notes=draft.notes + notes,
    )
    machine.give_back_memory()
    return processes.told(final)


def _is_to_be_compiled(settings: Pretrain, draft: Plan, way: Way) -> bool:
    """Decide whether compiling is tried: if asked for, else on a GPU in a long training."""
    if settings.compile != "auto":
        return settings.compile == "on"
    learned = draft.learned or draft.samples
    steps = plan.step_count(settings, learned, draft.batch, draft.device, way.seconds)
    return draft.device == "cuda" and steps * way.seconds >= WORTH_COMPILING


def _fault(of: Plan, task: nn.Module, batches: Batches, processes: Processes) -> tuple[str, ...]:
    """Try to compile: -> a note if that fails in any process, so that all of them leave it."""
    fault = fault_of_compiling(task, batches(0), processes.placed(of.device), of.precision)
    (failed,) = processes.largest(float(fault is not None))
    if not failed:
        return ()
    return (f"compiling failed, so the encoder runs as it is: {fault or 'in another process'}",)


def as_compiled(
    of: Plan, task: nn.Module, batches: Batches, *, processes: Processes = ALONE
) -> tuple[Plan, tuple[str, ...]]:
    """Check that a run that was compiled can be here too: -> how to go on, what to say."""
    notes = _fault(of, task, batches, processes) if of.compiled else ()
    return (dataclasses.replace(of, compiled=False), notes) if notes else (of, ())
