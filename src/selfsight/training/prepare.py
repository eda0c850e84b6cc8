"""Preparing: from what was asked to a training that is ready: data, networks, plan."""

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from selfsight.augment.views import centre_view
from selfsight.data.batches import Ahead, Order, batch_at, some_rows
from selfsight.data.pictures import Pictures, Streamed, Survey, Tiles, survey
from selfsight.data.pictures.batch import LabelledImages
from selfsight.data.pictures.reading_progress import read_with_progress
from selfsight.data.source import Parts, Source, labels_of
from selfsight.data.splitting import split
from selfsight.distributed.gather import gathered
from selfsight.distributed.processes import ALONE, Processes
from selfsight.encoders import evaluating
from selfsight.errors import SelfsightError, UsageError, in_a_line, out_of_memory
from selfsight.settings import Pretrain
from selfsight.system import machine
from selfsight.system.paths import TIMM
from selfsight.system.progress import console
from selfsight.tasks.base import Facts, Needs, Task
from selfsight.tasks.cards import MIX, settings_of
from selfsight.tasks.table import load_task
from selfsight.training import plan
from selfsight.training.loop import Batches, FeaturesOf
from selfsight.training.pace import completed
from selfsight.training.plan import Plan
from selfsight.training.run import SETTINGS, run_of
from selfsight.training.task_errors import is_of_encoder
from selfsight.training.weights import built, initial_encoder, side_that_fits, told_of_channels

PICTURES_SHOWN = 1000  # to a task before its first step
ENCODED_AT_ONCE = 256  # pictures
LEAST_PICTURES = 2  # of one alone nothing can be told apart


@dataclass
class Prepared:
    """A training that is ready to go."""

    plan: Plan
    task: Task
    pictures: Pictures
    batches: Batches
    processes: Processes = ALONE

    @property
    def features_of(self) -> FeaturesOf:
        """Encodes every picture, see `Epoch`."""
        return features_of(self.pictures, self.plan, self.processes)


def prepared(
    settings: Pretrain,
    chosen: dict[str, dict[str, Any]],
    source: Source,
    device: str,
    processes: Processes,
) -> Prepared:
    """Read the data, build the networks, try a step, and plan."""
    say, company = console().print, machine.OtherPrograms(settings.devices)
    needs = needs_of(settings.task)
    if needs.labels:
        asker = _asker(settings.task, "labels")
        labels_of(source, f"--task {asker}", "choose another --task")
    known = survey(source)
    most = max(needs.wanted_side or 0, plan.most_side(device))
    size = plan.side_of_pictures(settings.size, known.longer_side, device, most=most)
    size = settings.size or side_that_fits(settings, size, device)
    if size < needs.least_side:
        asker = _asker(settings.task, "least_side")
        raise UsageError(f"{asker} needs --size {needs.least_side} or more, got {size}")
    scale = min(_needs_with(name, chosen[name]).least_scale for name in settings.task)
    canvas = plan.side_of_canvas(size, known.longest, scale)
    pictures = read_with_progress(
        source,
        side=canvas,
        limit=settings.limit,
        storage=None if settings.storage == "auto" else settings.storage,
        processes=settings.devices,
        listed_in=SETTINGS,
    )
    if len(pictures) < LEAST_PICTURES:
        raise SelfsightError(
            f"at least {LEAST_PICTURES} readable pictures are needed, and {source.name} has "
            f"{len(pictures)}; give more, or learn from crops of one with photo:FILE"
        )
    draft = _draft(settings, chosen, known, pictures, size, canvas, device)
    task, recipe = built(draft)
    draft = dataclasses.replace(draft, encoder=recipe.to_json())
    owner = settings.task[0] if draft.mix is None else MIX
    draft.task_settings[owner].update(task.decided())
    acquaint(task, pictures, draft)
    rows = task.rows(len(pictures))
    draft = dataclasses.replace(
        draft,
        learned=None if rows is None or len(rows) == len(pictures) else len(rows),
        notes=draft.notes + task.notes(),
    )
    batches = batches_of(pictures, draft, needs, task, processes=processes)
    draft = tried(task, batches, draft, processes=processes)
    final = completed(
        settings,
        draft,
        task,
        batches,
        lambda of: features_of(pictures, of, processes),
        processes=processes,
    )
    for line in [*final.lines(task), *told_of_company(company, final)]:
        say(line)
    return Prepared(final, task, pictures, batches, processes)


def needs_of(tasks: tuple[str, ...]) -> Needs:
    """Ask tasks what they need of the data, all of them together."""
    asked = [load_task(name).needs for name in tasks]
    return Needs(
        batch=LabelledImages if any(n.batch is LabelledImages for n in asked) else asked[0].batch,
        labels=any(n.labels for n in asked),
        least_side=max(n.least_side for n in asked),
        wanted_side=max(n.wanted_side or 0 for n in asked) or None,
        wanted_batch=max(n.wanted_batch or 0 for n in asked) or None,
    )


def _needs_with(task: str, chosen: dict[str, Any]) -> Needs:
    """Ask a task what it needs with settings that were chosen, and its defaults for the others."""
    return load_task(task).needs_with(settings_of(task) | chosen)


def taught_by_labels(of: Plan) -> bool:
    """Tell whether labels may have taught a run, or what it started from, by its plan alone.

    The run that it started from is not asked: its path stands in a file that may be anybody's. Only
    a plan of an older selfsight leaves it open, and then they may have.
    """
    if of.labels is not None:
        return of.labels
    return needs_of(of.tasks).labels or not (of.start is None or of.start.startswith(TIMM))


def _start_knows_labels(start: str | None) -> bool:
    """Tell whether labels may have taught the weights that a run is asked to start from."""
    if start is None or start.startswith(TIMM):
        return False
    try:
        return taught_by_labels(Plan.of(run_of(start)[0]))
    except SelfsightError:
        return True  # its weights were sound, and its settings are not


def _asker(tasks: tuple[str, ...], need: str) -> str:
    """Name the task that asks most of the data."""
    return max(tasks, key=lambda name: getattr(load_task(name).needs, need))


def acquaint(task: Task, pictures: Pictures, of: Plan) -> None:
    """Let a task look at some pictures of the data before its first step, if it wants to."""
    if not task.looks:
        return
    rows = some_rows(len(pictures), PICTURES_SHOWN)
    batch = batch_at(pictures, rows, seed=of.seed, epoch=0, labels=False, device="cpu")
    with torch.no_grad():
        task.look_at(batch)


def tried(task: Task, batches: Batches, of: Plan, *, processes: Processes = ALONE) -> Plan:
    """Try a step of each kind on a copy: -> the plan, with what no step reaches of the encoder.

    Raises:
        UsageError: If the encoder has nothing to train, or cannot take what the task shows it, as
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
    except Exception as error:  # networks refuse in many ways
        if out_of_memory(error) or not is_of_encoder(error):
            raise
        raise UsageError(
            f"{of.task} on {of.size} px cannot be learned by encoder {of.encoder['name']}: "
            f"{in_a_line(error)}; give a larger --size or another --encoder"
        ) from error
    weights = twin.encoder.model.named_parameters()
    idle = dict.fromkeys(name.rpartition(".")[0] for name, p in weights if p.grad is None)
    if not idle:
        return dataclasses.replace(of, resting=len(kinds) > 1)
    note = (
        f"no step trains {', '.join(idle)} of the encoder, so its pooled features are partly "
        "untrained; ask its layers"
    )
    return dataclasses.replace(of, resting=True, notes=(*of.notes, note))


def source_of(parts: Parts, tasks: tuple[str, ...], tile: int | None) -> Source:
    """Take what is trained on: the training part, in tiles if asked.

    A task that learns from labels leaves out what a probe of the same data would be tested on.
    """
    source = parts.train
    if needs_of(tasks).labels and parts.test is None and source.labels is not None:
        source = split(source)[0]
    return source if tile is None else Tiles(source, tile)


def _draft(
    settings: Pretrain,
    chosen: dict[str, dict[str, Any]],
    known: Survey,
    pictures: Pictures,
    size: int,
    canvas: int,
    device: str,
) -> Plan:
    """Plan all but precision, compiling and steps."""
    channels = pictures.images.shape[1]
    samples = len(pictures)
    least = needs_of(settings.task).wanted_batch or 0
    batch, notes = plan.batch_size(settings.batch, samples, device, least=least)
    batch, more = plan.shared_batch(batch, settings.devices * settings.nodes)
    notes += more
    if known.shortest != known.longest:
        sides = f"{known.shortest} to {known.longest} px"
        notes += (f"pictures of mixed sizes, the longer side {sides}, are scaled to fit",)
    facts = Facts(
        samples, len(pictures.classes), channels, size, batch, shares=class_shares(pictures)
    )
    asked = {name: settled(name, facts, chosen[name]) for name in settings.task}
    fewest = _fewest(asked)
    if fewest is not None and fewest < batch:
        if settings.batch:
            raise UsageError(
                f"--batch must be at most the {fewest:,} pictures that are learned from, got "
                f"{settings.batch:,}; give a smaller batch or let the task learn from more"
            )
        told = f"the batch of {batch} is lowered to the {fewest} pictures that are learned from"
        notes += (told,)
        batch, more = plan.shared_batch(fewest, settings.devices * settings.nodes)
        notes += more
        facts = dataclasses.replace(facts, batch=batch)
        asked = {name: settled(name, facts, chosen[name]) for name in settings.task}
    if len(settings.task) > 1:
        asked[MIX] = settings_of(MIX) | chosen[MIX]
    encoder = initial_encoder(settings, size, pictures, device)
    notes += told_of_channels(settings.start, channels)
    if isinstance(pictures.images, Streamed):
        notes += (told_of_stream(pictures.images),)
    return Plan(
        data=cast(str, settings.data),
        limit=settings.limit,
        fingerprint=pictures.fingerprint,
        samples=samples,
        classes=pictures.classes if needs_of(settings.task).labels else (),
        channels=channels,
        canvas=canvas,
        size=size,
        tasks=settings.task,
        task_settings=asked,
        mix=None if len(settings.task) == 1 else settings.mix or "alternate",
        encoder=encoder.recipe.to_json(),
        start=settings.start,
        batch=batch,
        steps=1,
        seed=settings.seed,
        **plan.optimization(settings, encoder, batch),
        schedule=settings.schedule,
        warmup=0,
        device=device,
        precision="f32",
        memory_format="channels_last",
        threads=plan.thread_count(settings.threads, settings.devices),
        seconds_a_step=None,
        save_every=settings.save_every,
        notes=notes,
        tile=settings.tile,
        storage=pictures.storage,
        bits=pictures.bits,
        devices=settings.devices,
        nodes=settings.nodes,
        probe_every=settings.probe_every,
        track=settings.track,
        labels=needs_of(settings.task).labels or _start_knows_labels(settings.start),
    )


def class_shares(pictures: Pictures) -> tuple[float, ...]:
    """Tell which share of the pictures each class has; () when unlabelled."""
    if pictures.labels is None:
        return ()
    counts = pictures.labels.bincount(minlength=len(pictures.classes))
    return tuple((counts.double() / len(pictures)).tolist())


def _fewest(asked: dict[str, dict[str, Any]]) -> int | None:
    """Tell how few pictures a task learns from, which no batch may exceed; None for all.

    Fewer than two are no task, and left to it to refuse.
    """
    wanted = [_needs_with(name, of).samples for name, of in asked.items()]
    return min((most for most in wanted if most and most >= LEAST_PICTURES), default=None)


def settled(task: str, facts: Facts, chosen: dict[str, Any]) -> dict[str, Any]:
    """Settle all settings of a task, as a run keeps them.

    What was not chosen, or chosen to be none, is derived from the data, or else has its default.
    """
    derived = load_task(task).derive(dataclasses.replace(facts, chosen=chosen))
    wanted = {k: v for k, v in chosen.items() if v is not None or k not in derived}
    return settings_of(task) | derived | wanted


def told_of_company(company: machine.OtherPrograms, of: Plan) -> list[str]:
    """Say so where other programs are at work and threads will wait for each other.

    The number of threads is left as it is: the weights may not depend on what else is at work.
    """
    busy, cores = company.busy(), machine.processors()
    if of.device != "cpu" or of.threads == 1 or busy is None or cores - busy > of.threads - 0.5:
        return []
    return [
        f"note      other programs keep {busy:.1f} of {cores} processors busy, and {of.threads} "
        "threads wait for each other; --threads 1 may be faster"
    ]


def told_of_stream(streamed: Streamed) -> str:
    """Say what streaming can give."""
    pace = streamed.pace()
    disk = f", {pace.waiting:.0%} of that time waiting for the disk" if pace.waiting > 0.05 else ""
    return f"streamed: a core decodes {pace.pictures:,.0f} pictures a second{disk}"


def batches_of(
    pictures: Pictures, of: Plan, needs: Needs, task: Task, *, processes: Processes = ALONE
) -> Batches:
    """Give the function from a step to its batch: of several processes, to this one's share."""
    chosen = task.rows(len(pictures))
    order = Order(len(pictures) if chosen is None else len(chosen), of.batch, of.seed)
    labels = needs.batch is LabelledImages
    device = processes.placed(of.device)

    def at(step: int) -> Any:
        epoch, places = order.at(step)
        rows = places if chosen is None else chosen[places]
        mine = processes.share(rows)
        return batch_at(pictures, mine, seed=of.seed, epoch=epoch, labels=labels, device=device)

    return at if pictures.storage == "memory" else Ahead(at)


def features_of(pictures: Pictures, of: Plan, processes: Processes = ALONE) -> FeaturesOf:
    """Give the function that encodes every picture, see `Epoch`: each process its share."""
    device = torch.device(processes.placed(of.device))
    each = -(-len(pictures) // processes.count)
    # The last share is filled up with pictures that are cut off again.
    mine = torch.arange(each * processes.rank, each * (processes.rank + 1)) % len(pictures)

    @torch.no_grad()
    def encoded(network: nn.Module) -> Tensor:
        parts: list[Tensor] = []
        with evaluating(network), torch.autocast(
            device.type, torch.bfloat16, enabled=of.precision == "bf16"
        ):  # fmt: skip
            for rows in mine.split(ENCODED_AT_ONCE):
                images, extent, _ = pictures.taken(rows)
                views = centre_view(images.to(device), extent.to(device), of.size)
                parts.append(network(views).float())
        return gathered(torch.cat(parts))[: len(pictures)]

    return encoded
