"""Pretraining: the verb that makes a run: data, plan, training, and a first verdict.

Everything random about the weights comes from the seed, so the network before its training can be
built again: that is the untrained network every probe compares with.
"""

import contextlib
import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from selfsight import encoders, machine, plan
from selfsight.augment.views import centre_view
from selfsight.batch import Facts, LabelledImages, Needs
from selfsight.data import Order, Pictures, Source, Survey, batch_at, open_data, split, survey
from selfsight.encoders import Encoder, Recipe
from selfsight.engine import Precision, resolve_device, threads
from selfsight.errors import SelfsightError, UsageError
from selfsight.plan import Plan
from selfsight.probes.baseline import final_features, some_rows, untrained_encoder
from selfsight.progress import console
from selfsight.reading import read_aloud
from selfsight.run import SETTINGS, Run
from selfsight.settings import Pretrain
from selfsight.tasks import load_task
from selfsight.tasks.describe import parsed_settings, settings_of
from selfsight.train import Batches, Training, measured_step
from selfsight.verdict import Shape, judge_unlabelled

PICTURES_JUDGED = 1000
WORTH_CHANGING = 0.95  # share of the plain way's time that another way must stay under
PACKAGES = ("selfsight", "torch", "torchvision", "timm", "lightning-fabric")


def pretrain(data: str | None = None, task: str | Sequence[str] = (), **options: Any) -> Run:
    """Learn from pictures without their labels.

    Args:
        data: A folder of pictures, a .parquet or .npz file, or "photos" or "digits".
        task: The pretext task's name; `selfsight.settings.Pretrain` lists the other options.
        **options: The verb's flags by name, `out` and `minutes` for two; `--from` is `start`.

    Returns:
        The run.

    Raises:
        UsageError: If asked wrongly.
        SelfsightError: If it cannot be done.
        Stopped: If Ctrl-C was pressed; everything is saved.
    """
    tasks = (task,) if isinstance(task, str) else tuple(task)
    return pretrain_as(Pretrain(data=data, task=tasks, **options))


def pretrain_as(settings: Pretrain) -> Run:
    """Learn as the settings say; see `pretrain`."""
    if settings.resume is not None:
        return _resumed(Run.open(settings.resume))
    name = settings.task[0]
    chosen = parsed_settings(name, settings.set)
    device = resolve_device(settings.device)
    source = _source(cast(str, settings.data), name)
    place = Path(settings.out or _free_place(name, cast(str, settings.data)))
    ours = not place.exists()
    run = Run.create(place)
    try:
        begun = _begun(settings, chosen, source, device)
    except BaseException:
        if ours:
            with contextlib.suppress(OSError):
                place.rmdir()  # nothing is in it yet
        raise
    run.write_settings(
        {
            "asked": dataclasses.asdict(settings),
            "plan": begun.plan.to_json(),
            "skipped": [dataclasses.asdict(s) for s in begun.pictures.skipped],
            **_circumstances(device),
        }
    )
    return _trained(run, begun)


@dataclass
class _Begun:
    """A training that is ready to go."""

    plan: Plan
    task: nn.Module
    pictures: Pictures
    batches: Batches


def _begun(settings: Pretrain, chosen: dict[str, Any], source: Source, device: str) -> _Begun:
    """Read the data, build the networks, measure a step, and plan."""
    say = console().print
    task_class = load_task(settings.task[0])
    needs = _needs(task_class)
    if needs.labels and len(source.classes) < 2:
        raise SelfsightError(
            f"{settings.task[0]} learns from labels, and {source.name} has none; sort the pictures "
            "into one folder a class, or choose another --task"
        )
    known = survey(source)
    size = plan.side_of_pictures(settings.size, known.longer_side, device)
    if size < needs.least_side:
        raise UsageError(f"{settings.task[0]} needs --size {needs.least_side} or more, got {size}")
    scale = {**settings_of(settings.task[0]), **chosen}.get("least_scale", 1.0)
    canvas = plan.side_of_canvas(size, known.longest, scale)
    pictures = read_aloud(source, side=canvas, limit=settings.limit, listed_in=SETTINGS)
    draft = _draft(settings, chosen, known, pictures, size, canvas, device)
    task, recipe = built(draft)
    draft = dataclasses.replace(draft, encoder=recipe.to_json())
    say("measuring a step", style="dim")
    batches = batches_of(pictures, draft, needs)
    final = _measured(settings, draft, task, batches)
    for line in final.lines(cast(Encoder, task.encoder)):
        say(line)
    return _Begun(final, task, pictures, batches)


def _needs(task_class: type[nn.Module]) -> Needs:
    """Ask a task's class what it needs of the data."""
    return cast(Any, task_class).needs


def _source(data: str, task: str) -> Source:
    """Open what is trained on: the training part.

    A task that learns from labels leaves out what a probe of the same data would be tested on.
    """
    parts = open_data(data)
    if _needs(load_task(task)).labels and parts.test is None and parts.train.labels is not None:
        return split(parts.train)[0]
    return parts.train


def _draft(
    settings: Pretrain,
    chosen: dict[str, Any],
    known: Survey,
    pictures: Pictures,
    size: int,
    canvas: int,
    device: str,
) -> Plan:
    """Plan all but what needs a measurement."""
    channels = pictures.images.shape[1]
    samples = len(pictures)
    batch, notes = plan.batch_size(settings.batch, samples, device)
    if known.shortest != known.longest:
        sides = f"{known.shortest} to {known.longest} px"
        notes += (f"pictures of mixed sizes, the longer side {sides}, are scaled to fit",)
    facts = Facts(samples, len(pictures.classes), channels, size, batch)
    derive = getattr(load_task(settings.task[0]), "derive", None)
    derived = cast(dict[str, Any], derive(facts)) if derive else {}
    if chosen.get("classes", facts.classes) < facts.classes:
        raise UsageError(
            f"classes must be at least the {facts.classes} of the data, got {chosen['classes']}"
        )
    encoder = _encoder(settings, size, channels, device)
    return Plan(
        data=cast(str, settings.data),
        limit=settings.limit,
        fingerprint=pictures.fingerprint,
        samples=samples,
        classes=pictures.classes if derived.get("classes") else (),
        channels=channels,
        canvas=canvas,
        size=size,
        task=settings.task[0],
        task_settings={**derived, **chosen},
        encoder=encoder.recipe.to_json(),
        start=settings.start,
        batch=batch,
        steps=1,
        seed=settings.seed,
        **plan.optimization(settings, encoder, batch),
        schedule=settings.schedule,
        warmup=0,
        device=device,
        precision="bf16" if settings.precision == "bf16" else "f32",
        memory_format="channels_last",
        threads=torch.get_num_threads(),
        seconds_a_step=0.0,
        save_every=settings.save_every,
        notes=notes,
    )


def _encoder(settings: Pretrain, size: int, channels: int, device: str) -> Encoder:
    """Build the encoder that was asked for, with weights that do not matter yet."""
    with torch.random.fork_rng():
        if settings.start is None:
            name = plan.encoder_name(settings.encoder, size, device)
            return encoders.build(name, size=size, channels=channels)
        if settings.start.startswith("timm:"):
            name = settings.start.removeprefix("timm:")
            return encoders.build(name, size=size, channels=channels, pretrained=True)
        encoder = Run.open(settings.start).encoder()
    asked = settings.encoder
    if asked is not None and encoders.OWN.get(asked, asked) != encoder.recipe.name:
        raise UsageError(
            f"--from {settings.start} brings encoder {encoder.recipe.name!r}; leave --encoder out"
        )
    if encoder.recipe.arguments.get("img_size") not in (None, size):
        raise UsageError(
            f"--from {settings.start} takes pictures of {encoder.recipe.size} px only; give "
            f"--size {encoder.recipe.size}"
        )
    if encoder.recipe.channels != channels:
        raise SelfsightError(
            f"--from {settings.start} takes pictures of {encoder.recipe.channels} channels, and "
            f"these have {channels}"
        )
    return encoder


def built(of: Plan) -> tuple[nn.Module, Recipe]:
    """Build encoder and task with the seed's weights, or those of the run's start."""
    with torch.random.fork_rng():
        torch.manual_seed(of.seed)
        recipe = Recipe.from_json(of.encoder)
        pretrained = (of.start or "").startswith("timm:")
        encoder = encoders.from_recipe(recipe, pretrained=pretrained)
        if of.start and not pretrained:
            encoder.load_state_dict(Run.open(of.start).encoder().state_dict())
        try:
            task = load_task(of.task)(encoder, encoder.dim, size=of.size, **of.task_settings)
        except ValueError as error:
            raise UsageError(str(error)) from error
    return task, encoder.recipe


def batches_of(pictures: Pictures, of: Plan, needs: Needs) -> Batches:
    """Give the function from a step to its batch."""
    order = Order(len(pictures), of.batch, of.seed)
    labels = needs.batch is LabelledImages

    def at(step: int) -> Any:
        epoch, rows = order.at(step)
        return batch_at(pictures, rows, seed=of.seed, epoch=epoch, labels=labels, device=of.device)

    return at


def _measured(settings: Pretrain, draft: Plan, task: nn.Module, batches: Batches) -> Plan:
    """Choose precision and threads by measurement, then the steps.

    Fewer digits, and fewer threads, must pay. One thread can be faster than all where other work
    shares the cores, since threads that wait for each other then wait for that work too.
    """

    def timed(precision: Precision, count: int) -> tuple[float, Precision, int]:
        return measured_step(task, batches, draft, precision, count), precision, count

    chosen = timed("bf16" if settings.precision == "bf16" else "f32", draft.threads)
    if settings.precision == "auto":
        chosen = _better(chosen, timed("bf16", draft.threads))
    if draft.device == "cpu" and draft.threads > 1:
        chosen = _better(chosen, timed(chosen[1], 1))
    seconds, precision, used = chosen
    steps = plan.step_count(settings, draft.samples, draft.batch, draft.device, seconds)
    return dataclasses.replace(
        draft,
        precision=precision,
        threads=used,
        steps=steps,
        warmup=round(plan.WARM_UP_SHARE * steps),
        seconds_a_step=seconds,
    )


def _better(
    plain: tuple[float, Precision, int], other: tuple[float, Precision, int]
) -> tuple[float, Precision, int]:
    """Take the other way of computing if it saves enough."""
    return other if other[0] < WORTH_CHANGING * plain[0] else plain


def _resumed(run: Run) -> Run:
    """Go on with a run from its last checkpoint."""
    kept = run.settings
    of = Plan.from_json(kept["plan"])
    resolve_device(of.device)
    _say_what_differs(kept, of)
    pictures = read_aloud(
        _source(of.data, of.task), side=of.canvas, limit=of.limit, listed_in=SETTINGS
    )
    if pictures.fingerprint != of.fingerprint:
        raise SelfsightError(
            f"{of.data} holds other pictures than when {run.path} began, so it cannot go on as it "
            f"was; start a new run from its weights with --from {run.path}"
        )
    begun_already = run.load_checkpoint() is not None  # its weights replace those of the start
    task, _ = built(dataclasses.replace(of, start=None) if begun_already else of)
    needs = _needs(type(task))
    return _trained(run, _Begun(of, task, pictures, batches_of(pictures, of, needs)))


def _say_what_differs(kept: dict[str, Any], of: Plan) -> None:
    """Say so where a resume cannot be exact to the bit."""
    now = _circumstances(of.device)
    differing = [
        f"{name} was {kept['versions'][name]} and is {number}"
        for name, number in now["versions"].items()
        if kept["versions"].get(name) != number
    ]
    if kept["machine"]["processor"] != now["machine"]["processor"]:
        differing.append("the processor is another")
    if of.threads > machine.processors():
        differing.append(f"{of.threads} threads share {machine.processors()} cores")
    if of.device == "cuda":
        differing.append("a GPU adds numbers up in no fixed order")
    if differing:
        console().print(f"the resumed run may differ in its last bits: {'; '.join(differing)}")


def _trained(run: Run, begun: _Begun) -> Run:
    """Train to the end and write what can be said without labels."""
    with torch.random.fork_rng(), threads(begun.plan.threads):
        torch.manual_seed(begun.plan.seed)
        training = Training(begun.task, begun.batches, begun.plan, run)
        training.resume()
        if begun.plan.start and training.step == 0:
            training.save()  # what it starts from may be gone when it is resumed
        if training.step >= begun.plan.steps and run.result("pretrain") is not None:
            console().print(f"{run.path} is finished; there is nothing to go on with")
            return run
        training.go()
    record = _judged(run, begun, training)
    run.write_result("pretrain", record)
    console().print(f"{record['verdict']}: {' '.join(record['reasons'])}")
    console().print(f"saved in {run.path}: encoder.safetensors loads {_loads_by(begun.task)}")
    return run


def _loads_by(task: nn.Module) -> str:
    name = cast(Encoder, task.encoder).recipe.name
    if name in encoders.OWN.values():
        return "with timm after `import selfsight.encoders`"
    return "with timm alone, as encoder.json says"


def _judged(run: Run, begun: _Begun, training: Training) -> dict[str, Any]:
    """Say what can be said without labels: collapsed or unknown, and how far the task is solved."""
    of, rows = begun.plan, training.rows
    last = rows[-max(1, len(rows) // 20) :]
    means = {key: sum(row[key] for row in last) / len(last) for key in last[0]}
    seen = begun.pictures.rows(some_rows(len(begun.pictures), PICTURES_JUDGED))
    views = centre_view(seen.images, seen.extent, of.size)
    trained = Shape.of(final_features(cast(Encoder, begun.task.encoder), views))
    fresh = untrained_encoder(Recipe.from_json(of.encoder), of.seed, views, device=of.device)
    untrained = Shape.of(final_features(fresh, views))
    blind = cast(float | None, getattr(begun.task, "blind", None))
    accuracy = means.get(f"{of.task}.accuracy")
    verdict = judge_unlabelled(
        trained, untrained, loss=means["loss"], blind=blind, accuracy=accuracy
    )
    return {
        "run": str(run.path),
        "task": of.task,
        "steps": of.steps,
        "samples": of.steps * of.batch,
        "seconds": round(training.seconds, 1),
        "waiting": round(last[-1]["waiting"], 4),
        "loss": round(means["loss"], 4),
        "blind": None if blind is None else round(blind, 4),
        "accuracy": None if accuracy is None else round(accuracy, 4),
        "spread": round(trained.spread, 4),
        "rank": round(trained.rank, 2),
        "skipped": len(begun.pictures.skipped),
        "verdict": verdict.word,
        "reasons": list(verdict.reasons),
    }


def _circumstances(device: str) -> dict[str, Any]:
    return {
        "versions": {name: version(name) for name in PACKAGES},
        "machine": machine.described(device),
    }


def _free_place(task: str, data: str) -> str:
    """Name a run that is not there yet: runs/TASK-DATA, numbered if taken."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(data).resolve().stem).strip("-.") or "data"
    place, number = Path("runs") / f"{task}-{stem}", 1
    while place.exists():
        number += 1
        place = Path("runs") / f"{task}-{stem}-{number}"
    return str(place)


def recorded(settings: Pretrain) -> dict[str, Any]:
    """Learn as the settings say: -> the run's record."""
    run = pretrain_as(settings)
    record = run.result("pretrain")
    if record is None:
        raise SelfsightError(f"{run.path} ended without a record; go on with --resume {run.path}")
    return record


def show(record: dict[str, Any]) -> None:
    """Say what to type next."""
    print(f"next: selfsight probe {record['run']} LABELLED_PICTURES")
