"""Prepare: turns settings into a training that is ready to start: data, networks, plan."""

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from selfsight.data.batches import Ahead, Batch, Order, some_rows
from selfsight.data.samples import Samples
from selfsight.data.source import Parts, Source, labels_of
from selfsight.data.splitting import split
from selfsight.distributed.gather import gathered
from selfsight.distributed.processes import ALONE, Processes
from selfsight.encoders import evaluating
from selfsight.errors import SelfsightError, UsageError, in_a_line, out_of_memory
from selfsight.modalities.base import Reading, SamplePlan
from selfsight.modalities.table import modality_of
from selfsight.settings import Pretrain
from selfsight.system import machine
from selfsight.system.progress import console
from selfsight.tasks.base import Needs, Task
from selfsight.tasks.cards import MIX, settings_of
from selfsight.training.draft import LEAST_SAMPLES, Basis, asker, drafted, is_fitted, needs_of
from selfsight.training.loop import Batches, FeaturesOf
from selfsight.training.pace import completed
from selfsight.training.plan import Plan
from selfsight.training.run import SETTINGS
from selfsight.training.task_errors import is_of_encoder
from selfsight.training.weights import built, start_of

SHOWN = 1000  # samples, to a task before its first step
ENCODED_AT_ONCE = 256  # samples


@dataclass
class Prepared:
    """A training that is ready to start."""

    plan: Plan
    task: Task
    samples: Samples
    batches: Batches
    processes: Processes = ALONE

    @property
    def features_of(self) -> FeaturesOf:
        """Encodes every sample, see `Epoch`."""
        return features_of(self.samples, self.plan, self.processes)


def prepared(
    settings: Pretrain,
    chosen: dict[str, dict[str, Any]],
    source: Source,
    device: str,
    processes: Processes,
) -> Prepared:
    """Read the data, build the networks, try a step, and plan."""
    say, company = console().print, machine.OtherPrograms(settings.devices)
    basis = _basis(settings, chosen, source, device)
    draft = drafted(basis)
    task, recipe = built(draft)
    draft = dataclasses.replace(draft, encoder=recipe.to_json())
    owner = settings.task[0] if draft.mix is None else MIX
    draft.task_settings[owner].update(task.decided())
    if is_fitted(settings.task):
        final, batches = draft, batches_of(basis.samples, draft, basis.needs, task)
    else:
        acquaint(task, basis.samples, draft)
        final, batches = _completed(basis, draft, task, processes)
    for line in [*final.lines(task), *told_of_company(company, final)]:
        say(line)
    return Prepared(final, task, basis.samples, batches, processes)


def _basis(
    settings: Pretrain, chosen: dict[str, dict[str, Any]], source: Source, device: str
) -> Basis:
    """Survey the data, make the modality's part of the plan, and read the samples."""
    tasks, modality = settings.task, modality_of(settings.task)
    needs = needs_of(tasks, {name: {**settings_of(name), **chosen[name]} for name in tasks})
    if needs.labels:
        labels_of(source, f"--task {asker(tasks, 'labels')}", "choose another --task")
    start = start_of(settings)
    planned = modality.planned(
        source, settings, needs, lambda need: asker(tasks, need), start, device
    )
    how = Reading(
        SETTINGS,
        limit=settings.limit,
        storage=None if settings.storage == "auto" else settings.storage,
        processes=settings.devices,
    )
    samples = modality.read(source, planned.sample, how, planned.known)
    if len(samples) < LEAST_SAMPLES:
        raise SelfsightError(
            f"at least {LEAST_SAMPLES} readable {modality.unit} are needed, and {source.name} has "
            f"{len(samples)}; give more{modality.more}"
        )
    sample = modality.completed(planned.sample, samples)
    return Basis(settings, chosen, needs, modality, samples, sample, start, device, planned.notes)


def _completed(basis: Basis, draft: Plan, task: Task, processes: Processes) -> tuple[Plan, Batches]:
    """Complete the plan of a training by trying a step: -> the plan, the batches."""
    samples = basis.samples
    rows = task.rows(len(samples))
    draft = dataclasses.replace(
        draft,
        learned=None if rows is None or len(rows) == len(samples) else len(rows),
        notes=draft.notes + task.notes(),
    )
    batches = batches_of(samples, draft, basis.needs, task, processes=processes)
    draft = tried(task, batches, draft, processes=processes)
    final = completed(
        basis.settings,
        draft,
        task,
        batches,
        lambda of: features_of(samples, of, processes),
        processes=processes,
    )
    return final, batches


def acquaint(task: Task, samples: Samples, of: Plan) -> None:
    """Show the data to encoder and task before the first step, if they need it."""
    of.modality.introduce(task.encoder, samples)
    if not task.looks:
        return
    rows = some_rows(len(samples), SHOWN)
    batch = of.modality.batch.from_rows(samples, rows, seed=of.seed, epoch=0)
    with torch.no_grad():
        task.look_at(batch)


def tried(task: Task, batches: Batches, of: Plan, *, processes: Processes = ALONE) -> Plan:
    """Try a step of each kind on a copy: -> the plan, noting encoder parameters no step reaches.

    Raises:
        UsageError: If the encoder has nothing to train, or cannot take the task's input, such as
            tiles of too few pixels.
    """
    if not any(weight.requires_grad for weight in task.encoder.parameters()):
        raise UsageError(
            f"encoder {of.encoder['name']} is fitted, and has no weights that {of.task} could "
            "train; give another --encoder"
        )
    twin = copy.deepcopy(task).train().to(processes.placed(of.device))
    kinds = task.shares
    try:
        with torch.random.fork_rng():
            for first in kinds:
                twin.before_step(first, of.steps)
                twin(batches(0)).loss.backward()
    except (UsageError, SelfsightError):
        raise
    except Exception as error:  # networks raise many kinds
        if out_of_memory(error) or not is_of_encoder(error):
            raise
        raise UsageError(
            f"{of.task}{of.modality.task_note(of.sample)} cannot be learned by encoder "
            f"{of.encoder['name']}: {in_a_line(error)}; {of.modality.remedy}"
        ) from error
    weights = twin.encoder.body.named_parameters()
    idle = dict.fromkeys(name.rpartition(".")[0] for name, p in weights if p.grad is None)
    if not idle:
        return dataclasses.replace(of, resting=len(kinds) > 1)
    note = (
        f"no step trains {', '.join(idle)} of the encoder, so its pooled features are partly "
        "untrained; ask its layers"
    )
    return dataclasses.replace(of, resting=True, notes=(*of.notes, note))


def source_of(parts: Parts[Any], tasks: tuple[str, ...], by: Pretrain | SamplePlan) -> Source:
    """Choose the samples to train on: the training part, cut as asked.

    A task that uses labels leaves out the samples on which a probe of the same data would test.

    Args:
        parts: The data.
        tasks: The tasks that learn from it.
        by: Says how it is cut: the settings, or the modality's part of a plan.
    """
    source = parts.train
    if needs_of(tasks).labels and parts.test is None and source.labels is not None:
        source = split(source)[0]
    return modality_of(tasks).cut(source, by)


def told_of_company(company: machine.OtherPrograms, of: Plan) -> list[str]:
    """Warn if other programs are running, so that threads will wait for each other.

    The number of threads stays the same: the weights must not depend on other programs.
    """
    busy, cores = company.busy(), machine.processors()
    if of.device != "cpu" or of.threads == 1 or busy is None or cores - busy > of.threads - 0.5:
        return []
    return [
        f"note      other programs keep {busy:.1f} of {cores} processors busy, and {of.threads} "
        "threads wait for each other; --threads 1 may be faster"
    ]


def batches_of(
    samples: Samples, of: Plan, needs: Needs, task: Task, *, processes: Processes = ALONE
) -> Batches:
    """Make the function from a step to its batch, or to this process's share of it."""
    chosen = task.rows(len(samples))
    order = Order(len(samples) if chosen is None else len(chosen), of.batch, of.seed)
    device = processes.placed(of.device)

    def at(step: int) -> Batch:
        epoch, places = order.at(step)
        rows = places if chosen is None else chosen[places]
        mine = processes.share(rows)
        return needs.batch.from_rows(samples, mine, seed=of.seed, epoch=epoch, device=device)

    return at if samples.storage == "memory" else Ahead(at)


def features_of(samples: Samples, of: Plan, processes: Processes = ALONE) -> FeaturesOf:
    """Make the function that encodes every sample, see `Epoch`; each process encodes a share."""
    device = torch.device(processes.placed(of.device))
    each = -(-len(samples) // processes.count)
    # The last share is padded with samples that are removed again.
    mine = torch.arange(each * processes.rank, each * (processes.rank + 1)) % len(samples)

    @torch.no_grad()
    def encoded(network: nn.Module) -> Tensor:
        parts: list[Tensor] = []
        with evaluating(network), torch.autocast(
            device.type, torch.bfloat16, enabled=of.precision == "bf16"
        ):  # fmt: skip
            for rows in mine.split(ENCODED_AT_ONCE):
                inputs = of.modality.seen(samples, rows, of.sample, device)
                parts.append(network(inputs).float())
        return gathered(torch.cat(parts))[: len(samples)]

    return encoded
