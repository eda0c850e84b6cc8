"""Draft: the plan as far as it follows from the settings, the data and the device.

Trying a step completes it: precision, compiling and, if the length is a time, the number of steps.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, cast

from selfsight.data.samples import Samples
from selfsight.encoders import BaseEncoder
from selfsight.errors import SelfsightError, UsageError
from selfsight.modalities.base import Modality, SamplePlan
from selfsight.settings import Pretrain
from selfsight.system.paths import TIMM
from selfsight.tasks.base import Facts, Needs
from selfsight.tasks.cards import MIX, settings_of
from selfsight.tasks.table import load_task, row_of
from selfsight.training import plan
from selfsight.training.optimizer import optimization
from selfsight.training.plan import Plan
from selfsight.training.run import run_of

LEAST_SAMPLES = 2  # a single sample teaches nothing
FITTED_AT_ONCE = 256  # samples


@dataclass(frozen=True)
class Basis:
    """What a plan is made from.

    Attributes:
        settings: The verb's settings.
        chosen: The tasks' settings that were given, by task or "mix".
        needs: What all tasks together need of the data.
        modality: The modality of the samples.
        samples: The samples.
        sample: The modality's own part of the plan.
        start: The encoder of the run that weights are taken from, if there is one.
        device: "cpu" or "cuda".
        notes: What the user should know so far.
    """

    settings: Pretrain
    chosen: dict[str, dict[str, Any]]
    needs: Needs
    modality: Modality[Any, Any, Any, Any]
    samples: Samples
    sample: SamplePlan
    start: BaseEncoder | None
    device: str
    notes: tuple[str, ...]

    @property
    def facts(self) -> Facts:
        """What tasks may derive their settings from, except for the batch."""
        return Facts(
            samples=len(self.samples),
            classes=len(self.samples.classes),
            batch=0,
            shares=self.samples.class_shares(),
            **self.modality.facts(self.sample),
        )


def is_fitted(tasks: tuple[str, ...]) -> bool:
    """Tell whether tasks are fitted rather than trained; a mixture of both is refused elsewhere."""
    return any(row_of(name).way == "fitted" for name in tasks)


def drafted(basis: Basis) -> Plan:
    """Plan everything except precision, compiling and steps."""
    return (_fitted if is_fitted(basis.settings.task) else _trained)(basis)


def _trained(basis: Basis) -> Plan:
    """Plan a training."""
    settings, modality, needs = basis.settings, basis.modality, basis.needs
    processes = settings.devices * settings.nodes
    batch, notes = plan.batch_size(
        settings.batch,
        len(basis.samples),
        basis.device,
        least=needs.wanted_batch or 0,
        usual=modality.usual.batch,
        unit=modality.unit,
    )
    batch, more = plan.shared_batch(batch, processes)
    notes += more + basis.notes
    asked = _settled(basis, batch)
    fewest = _fewest(asked)
    if fewest is not None and fewest < batch:
        if settings.batch:
            raise UsageError(
                f"--batch must be at most the {fewest:,} {modality.unit} that are learned from, "
                f"got {settings.batch:,}; give a smaller batch or let the task learn from more"
            )
        notes += (
            f"the batch of {batch} is lowered to the {fewest} {modality.unit} that are learned "
            "from",
        )
        batch, more = plan.shared_batch(fewest, processes)
        notes += more
        asked = _settled(basis, batch)
    if len(settings.task) > 1:
        asked[MIX] = settings_of(MIX) | basis.chosen[MIX]
    encoder, more = modality.encoder(
        settings, basis.sample, basis.samples, basis.start, basis.device
    )
    return _plan(
        basis,
        asked,
        encoder,
        mix=None if len(settings.task) == 1 else settings.mix or "alternate",
        classes=basis.samples.classes if needs.labels else (),
        start=settings.start,
        batch=batch,
        steps=1,
        **optimization(settings, encoder, batch, modality.usual),
        notes=notes + more + modality.notes(basis.samples),
        devices=settings.devices,
        nodes=settings.nodes,
        probe_every=settings.probe_every,
        track=settings.track,
        labels=needs.labels or _start_knows_labels(settings.start),
    )


def _fitted(basis: Basis) -> Plan:
    """Plan a fit in closed form, in equal parts that are each read once."""
    settings, (name,) = basis.settings, basis.settings.task
    most = basis.needs.samples or len(basis.samples)
    looked = min(settings.samples or most, len(basis.samples))
    steps = math.ceil(looked / FITTED_AT_ONCE)
    batch = looked // steps
    facts = dataclasses.replace(basis.facts, samples=steps * batch, classes=0, shares=())
    own = settled(name, dataclasses.replace(facts, batch=steps * batch), basis.chosen[name])
    encoder, _ = basis.modality.encoder(
        settings,
        basis.sample,
        basis.samples,
        None,
        basis.device,
        of_task=load_task(name).encoder_of(own),
    )
    return _plan(
        basis,
        {name: own},
        encoder,
        mix=None,
        classes=(),
        start=None,
        batch=batch,
        steps=steps,
        optimizer=plan.CLOSED_FORM,
        rate=0.0,
        decay=0.0,
        clip=None,
        notes=basis.modality.notes(basis.samples) + _told_of_length(settings),
        labels=False,
    )


def _plan(
    basis: Basis, asked: dict[str, dict[str, Any]], encoder: BaseEncoder, **further: Any
) -> Plan:
    """Make a plan from what trainings and fits have in common and what differs."""
    settings, samples = basis.settings, basis.samples
    return Plan(
        data=cast(str, settings.data),
        limit=settings.limit,
        fingerprint=samples.fingerprint,
        samples=len(samples),
        sample=basis.sample,
        tasks=settings.task,
        task_settings=asked,
        encoder=encoder.recipe.to_json(),
        seed=settings.seed,
        schedule=settings.schedule,
        warmup=0,
        device=basis.device,
        precision="f32",
        memory_format="channels_last",
        threads=plan.thread_count(settings.threads, settings.devices),
        seconds_a_step=None,
        save_every=settings.save_every,
        storage=samples.storage,
        **further,
    )


def _settled(basis: Basis, batch: int) -> dict[str, dict[str, Any]]:
    """Let every task derive the settings that were not given: -> settings by task."""
    facts = dataclasses.replace(basis.facts, batch=batch)
    return {name: settled(name, facts, basis.chosen[name]) for name in basis.settings.task}


def settled(task: str, facts: Facts, chosen: dict[str, Any]) -> dict[str, Any]:
    """Settle all settings of a task, as a run keeps them.

    What was not chosen, or chosen to be none, is derived from the data, or else has its default.
    """
    derived = load_task(task).derive(dataclasses.replace(facts, chosen=chosen))
    wanted = {k: v for k, v in chosen.items() if v is not None or k not in derived}
    return settings_of(task) | derived | wanted


def _fewest(asked: dict[str, dict[str, Any]]) -> int | None:
    """Give the fewest samples that a task learns from, which limits the batch; None for all.

    Fewer than two are left to the task to refuse.
    """
    wanted = [load_task(name).needs_with(of).samples for name, of in asked.items()]
    return min((most for most in wanted if most and most >= LEAST_SAMPLES), default=None)


def _told_of_length(settings: Pretrain) -> tuple[str, ...]:
    """Note that a fit has no length in minutes or epochs, if one was given."""
    asked = [f"--{word}" for word in ("minutes", "epochs") if getattr(settings, word) is not None]
    return (f"{asked[0]} has no meaning for a fit and is left out",) if asked else ()


def needs_of(tasks: tuple[str, ...], settings: dict[str, dict[str, Any]] | None = None) -> Needs:
    """Combine what several tasks need of the data.

    Args:
        tasks: Their names.
        settings: All settings of each, by its name; None for what they need with any settings.
    """
    asked = [
        load_task(name).needs if settings is None else load_task(name).needs_with(settings[name])
        for name in tasks
    ]
    return Needs(
        batch=max((n.batch for n in asked), key=lambda kind: len(kind._fields)),
        labels=any(n.labels for n in asked),
        least_side=max(n.least_side for n in asked),
        wanted_side=max(n.wanted_side or 0 for n in asked) or None,
        wanted_batch=max(n.wanted_batch or 0 for n in asked) or None,
        least_scale=min(n.least_scale for n in asked),
        samples=min((n.samples for n in asked if n.samples is not None), default=None),
    )


def asker(tasks: tuple[str, ...], need: str) -> str:
    """Name the task that needs most of the data, for a field of `Needs`."""
    return max(tasks, key=lambda name: getattr(load_task(name).needs, need))


def taught_by_labels(of: Plan) -> bool:
    """Tell by its plan alone whether labels may have been used for a run or for its start.

    The run that it started from is not opened, since its path comes from a file that anybody may
    have written. Only plans of older versions leave it open; then labels count as used.
    """
    if of.labels is not None:
        return of.labels
    return needs_of(of.tasks).labels or not (of.start is None or of.start.startswith(TIMM))


def _start_knows_labels(start: str | None) -> bool:
    """Tell whether labels may have been used for the weights that a run starts from."""
    if start is None or start.startswith(TIMM):
        return False
    try:
        return taught_by_labels(Plan.of(run_of(start)[0]))
    except SelfsightError:
        return True  # its weights can be read, but not its settings
