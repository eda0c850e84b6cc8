"""Pretrain: the verb that starts a run or goes on with one, and gives a first verdict."""

import contextlib
import dataclasses
import os
import re
from collections.abc import Generator, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import torch

from selfsight import encoders
from selfsight.data.batches import Ahead, some_rows
from selfsight.data.imprint import imprint_of
from selfsight.data.reporting import say_skipped
from selfsight.data.source import Parts, Source, require_same_classes
from selfsight.data.splitting import split
from selfsight.distributed.engine import resolve_device, threads
from selfsight.distributed.processes import Processes, joined
from selfsight.draws import derived_seed
from selfsight.errors import SelfsightError, Stopped
from selfsight.modalities.base import LINEAR, Reading
from selfsight.modalities.table import modality_of
from selfsight.probes import advice
from selfsight.probes.periodic import LABELS, TESTED, PeriodicProbe, few
from selfsight.probes.untrained import CALIBRATED_ON, final_features, untrained_encoder
from selfsight.probes.verdict import Shape, Solved, judge_unlabelled
from selfsight.settings import Pretrain
from selfsight.system import machine
from selfsight.system.escaping import shell_quoted
from selfsight.system.paths import TIMM, place_of
from selfsight.system.progress import answers, console
from selfsight.system.streams import open_closed_streams
from selfsight.tasks.base import Task
from selfsight.tasks.cards import parsed_settings
from selfsight.training import checkpoint
from selfsight.training.draft import is_fitted, needs_of
from selfsight.training.fit import Fitting, refuse
from selfsight.training.loop import Training, encoders_of
from selfsight.training.origin import parts_of
from selfsight.training.pace import as_compiled
from selfsight.training.plan import Plan, thread_count
from selfsight.training.prepare import Prepared, acquaint, batches_of, prepared, source_of
from selfsight.training.run import SETTINGS, Run
from selfsight.training.task_errors import errors_of_tasks_told
from selfsight.training.tracking import Trackers, check_installed
from selfsight.training.weights import built

JUDGED = 1000  # samples
NAME_IT = "say where with --data PLACE"
PACKAGES = ("selfsight", "torch", "torchvision", "timm", "lightning-fabric")


def pretrain(data: str | None = None, task: str | Sequence[str] = (), **options: Any) -> Run:
    """Learn from pictures, or whatever a task learns from, without their labels.

    Args:
        data: Pictures in any of the forms that `selfsight datasets` lists; text for tasks on words.
        task: The pretext task's name; `selfsight.settings.Pretrain` lists the other options.
        **options: The verb's flags by name, such as `out` and `minutes`; `--from` is `start`, and
            `--data`, where a resumed run's data lies now, is `place`.

    Returns:
        The run.

    Raises:
        UsageError: If asked wrongly.
        SelfsightError: If it cannot be done.
        Stopped: If Ctrl-C, SIGTERM or a closed terminal ended it; everything is saved.
    """
    tasks = (task,) if isinstance(task, str) else tuple(task)
    return pretrain_as(Pretrain(data=data, task=tasks, **options))


def pretrain_as(settings: Pretrain) -> Run:
    """Learn as the settings say; see `pretrain`."""
    with _processes_of(settings) as processes:
        return _pretrained(settings, processes)


@contextlib.contextmanager
def _processes_of(settings: Pretrain) -> Generator[Processes]:
    """Join the processes that are asked for, or that a run to go on with had."""
    open_closed_streams()
    refuse(settings)  # before other processes are started for nothing
    devices, nodes, device = settings.devices, settings.nodes, settings.device
    if settings.resume is not None:
        of = Plan.of(Run.open(settings.resume))
        devices, nodes, device = of.devices, of.nodes, of.device
    with joined(devices, nodes, resolve_device(device)) as processes:
        yield processes


def _pretrained(settings: Pretrain, processes: Processes) -> Run:
    """Learn as the settings say, together with other processes."""
    if settings.resume is not None:
        run = Run.open(settings.resume)
        owned = run.owned() if processes.leads else contextlib.nullcontext()
        tasks = Plan.of(run).tasks
        told = errors_of_tasks_told(tasks, run, processes=processes.count)
        with owned, _told_how_to_go_on(run), told:
            return _resumed(run, processes, settings.place)
    chosen = parsed_settings(settings.task, settings.set)
    device = resolve_device(settings.device)
    modality = modality_of(settings.task)
    parts = modality.open(cast(str, settings.data))
    source = source_of(parts, settings.task, settings)
    known_by = {
        "data_place": place_of(cast(str, settings.data)),
        "imprint": imprint_of(parts.train),
        "start_place": _place_of_run(settings.start),
    }
    check_installed(settings.track)
    if settings.probe_every is not None:
        modality.check_probe(LINEAR)
        _labelled(parts)
    place = Path(settings.out or _free_place("+".join(settings.task), cast(str, settings.data)))
    taken = Run.begun(place) if processes.leads else contextlib.nullcontext(Run(place))
    with (
        taken as run,
        _told_how_to_go_on(run),
        errors_of_tasks_told(settings.task, run, processes=processes.count),
    ):
        run.path = processes.from_first(run.path)
        with threads(thread_count(settings.threads, settings.devices)):
            begun = prepared(settings, chosen, source, device, processes)
        begun.plan = dataclasses.replace(begun.plan, **known_by)
        if processes.leads:
            _keep_settings(run, settings, begun, device)
        return _trained(run, begun)


@contextlib.contextmanager
def _told_how_to_go_on(run: Run) -> Generator[None]:
    """Say how to go on with a run that was interrupted outside of the training's steps.

    Raises:
        Stopped: If it was interrupted, and has begun.
        KeyboardInterrupt: If it was interrupted before: nothing is left of it.
    """
    try:
        yield
    except KeyboardInterrupt as interrupted:
        if not (run.path / SETTINGS).exists():
            raise
        raise Stopped(
            "stopped at once; what was saved before is intact: go on with: selfsight pretrain "
            f"--resume {shell_quoted(run.path)}"
        ) from interrupted


def _keep_settings(run: Run, settings: Pretrain, begun: Prepared, device: str) -> None:
    """Keep what was asked and derived."""
    run.write_settings(
        {
            "asked": dataclasses.asdict(settings),
            "plan": begun.plan.to_json(),
            "skipped": [dataclasses.asdict(s) for s in begun.samples.skipped],
            "notes": list(begun.samples.notes),
            **_circumstances(device),
        }
    )


def _place_of_run(start: str | None) -> str | None:
    """Tell where a run lies that a training begins from; None where it begins from none."""
    return None if start is None or start.startswith(TIMM) else os.path.abspath(start)


def _labelled(parts: Parts[Any]) -> tuple[Source, Source]:
    """Take labelled samples for `--probe-every`: -> a few to fit on, a few to test on."""
    few(parts.train, LABELS)  # refuses what has no labels
    train, test = (parts.train, parts.test) if parts.test is not None else split(parts.train)
    require_same_classes(train, test)
    return few(train, LABELS), few(test, TESTED)


def _curve_probe(run: Path, begun: Prepared) -> PeriodicProbe | None:
    """Read what `--probe-every` probes with, in the first process."""
    of = begun.plan
    if of.probe_every is None or not begun.processes.leads:
        return None
    train, test = (
        of.modality.read_frozen(part, of.sample, begun.task.encoder, SETTINGS)
        for part in _labelled(parts_of(of, run, NAME_IT))
    )
    return PeriodicProbe(train, test, device=begun.processes.placed(of.device))


def _resumed(run: Run, processes: Processes, place: str | None) -> Run:
    """Go on with a run from its last checkpoint.

    Args:
        run: The run.
        processes: Those that train together.
        place: Where its data lies now, if that was said.
    """
    kept = run.settings
    of = Plan.of(run)
    of = dataclasses.replace(of, data_place=place_of(place)) if place is not None else of
    resolve_device(of.device)
    check_installed(of.track)
    _say_what_differs(kept, of)
    state = _begun_already(run, of)
    if (
        state is not None and _is_finished(run, of, state) and place is None
    ):  # what it learned from may be gone
        return _left_finished(run, of, state, processes)
    samples = of.modality.read(
        source_of(parts_of(of, run.path, NAME_IT), of.tasks, of.sample),
        of.sample,
        Reading(
            SETTINGS,
            limit=of.limit,
            storage="stream" if of.storage == "stream" else None,
            steady=True,  # memory and map are the same to the bit
            processes=of.devices,
        ),
    )
    known = samples.fingerprint if of.imprint is not None else samples.former_fingerprint()
    if known != of.fingerprint:
        raise SelfsightError(
            f"{of.data_found} holds other {of.modality.unit} than when {run.path} began, so it "
            f"cannot go on as it was. If its own lie elsewhere now, {NAME_IT}; or start a new run "
            f"from its weights with --from {shell_quoted(run.path)}"
        )
    now = place_of(of.data_found)
    if processes.leads and now != kept["plan"].get("data_place"):
        run.write_settings({**kept, "plan": {**kept["plan"], "data_place": now}})
    if state is not None and _is_finished(run, of, state):
        return _left_finished(run, of, state, processes)
    with threads(of.threads):  # a checkpoint's weights replace those of the start
        task, _ = built(of if state is None else dataclasses.replace(of, start=None), state)
        del state
        acquaint(task, samples, of)
    batches = batches_of(samples, of, needs_of(of.tasks), task, processes=processes)
    of, notes = as_compiled(of, task, batches, processes=processes)
    for note in notes:
        console().print(f"the resumed run may differ in its last bits: {note}")
    return _trained(run, Prepared(of, task, samples, batches, processes))


def _begun_already(run: Run, of: Plan) -> dict[str, Any] | None:
    """Read the checkpoint to go on from; say what a run without one does.

    Raises:
        SelfsightError: If the run is finished and its checkpoint is gone: beginning again would
            write over what it has learned.
    """
    state = run.load_checkpoint()
    if state is not None:
        return state
    if run.result("pretrain") is not None:
        raise SelfsightError(
            f"{run.path} is finished, and its checkpoint is missing, so there is nothing to go on "
            f"from; its encoder is left as it is. Start a new run from it with --from "
            f"{shell_quoted(run.path)}"
        )
    begins = "" if of.start is None else f", from the weights of {of.start_found}"
    console().print(f"{run.path} has no checkpoint yet, so it begins at step 0{begins}")
    return None


def _is_finished(run: Run, of: Plan, state: dict[str, Any]) -> bool:
    """Tell whether a run has taken its last step, and has its record."""
    return state["step"] >= of.steps and run.result("pretrain") is not None


def _left_finished(run: Run, of: Plan, state: dict[str, Any], processes: Processes) -> Run:
    """Leave a finished run as it is, but write encoders again that are missing or damaged."""
    if processes.leads:
        with threads(of.threads):
            task, _ = built(dataclasses.replace(of, start=None), state)
            checkpoint.take_up(task, state, run.path / checkpoint.LAST)
        _mend_encoders(run, task)
    console().print(f"{run.path} is finished; there is nothing to go on with")
    return run


def _say_what_differs(kept: dict[str, Any], of: Plan) -> None:
    """Say so if the resumed run cannot be exact to the bit."""
    now, before = _circumstances(of.device), cast(dict[str, str], kept.get("versions", {}))
    differing = [
        f"{name} was {before.get(name, 'unknown')} and is {number}"
        for name, number in now["versions"].items()
        if before.get(name) != number
    ]
    if kept.get("machine", {}).get("processor") != now["machine"]["processor"]:
        differing.append("the processor is another")
    if of.threads > machine.processors():
        differing.append(f"{of.threads} threads share {machine.processors()} cores")
    if of.processes > 2:
        differing.append("more than two processes add gradients up in no fixed order")
    if of.device == "cuda":
        differing.append("a GPU adds numbers up in no fixed order")
    if differing:
        console().print(f"the resumed run may differ in its last bits: {'; '.join(differing)}")


def _trained(run: Run, begun: Prepared) -> Run:
    """Train to the end and write the verdict that needs no labels."""
    of, leads = begun.plan, begun.processes.leads
    trackers = Trackers.of(of.track if leads else (), run.path)
    with torch.random.fork_rng(), threads(of.threads):
        torch.manual_seed(derived_seed(of.seed, "process", begun.processes.rank))
        training = _training(run, begun, trackers)
        training.resume()
        if of.start and training.step == 0:
            training.save()  # what it starts from may be gone when it is resumed
        training.probe = _curve_probe(run.path, begun)
        trackers.begin(of.to_json(), training.step)
        record = None
        try:
            training.go()
            record = _judged(run, begun, training) if leads else None
        finally:
            _say_of_data(run, begun, training)
            trackers.end(record)
    if record is not None:
        _concluded(run, begun, training, record)
    return run


def _mend_encoders(run: Run, task: Task) -> None:
    """Write a finished run's encoders again where they are missing or damaged."""
    for stem, encoder in encoders_of(task).items():
        try:
            encoders.load(run.path, stem=stem)
        except SelfsightError:
            encoders.save(encoder, run.path, stem=stem)
            console().print(f"{run.path / stem}.safetensors is written again from the checkpoint")


def _training(run: Run, begun: Prepared, trackers: Trackers) -> Training | Fitting:
    """Make what will train a task, or fit it."""
    if is_fitted(begun.plan.tasks):
        return Fitting(begun.task, begun.batches, begun.plan, run, listener=trackers.row)
    return Training(
        begun.task,
        begun.batches,
        begun.plan,
        run,
        processes=begun.processes,
        listener=trackers.row,
        features_of=begun.features_of,
    )


def _concluded(
    run: Run, begun: Prepared, training: Training | Fitting, record: dict[str, Any]
) -> None:
    """Write the curve and the record, and say what came out.

    The record comes last: a run that has it is finished, and is left as it is.
    """
    if isinstance(training.probe, PeriodicProbe):
        _draw_curve(run, training.rows, training.probe.chance)
    run.write_result("pretrain", record)
    console().print(f"{record['verdict']}: {' '.join(record['reasons'])}")
    way = begun.task.encoder.recipe.loads_by()
    console().print(f"saved in {run.path}: encoder.safetensors loads {way}")


def _draw_curve(run: Run, rows: list[dict[str, float]], chance: float) -> None:
    """Draw the curve of the probe; if it cannot be written, the run is complete without it."""
    from selfsight.looks.probe_curve import draw_curve  # it draws, which is slow to load

    try:
        place = run.picture("probe-curve")
        draw_curve(rows, place, chance=chance)
    except SelfsightError as error:
        console().print(f"no curve is drawn: {error}")
    else:
        console().print(f"drew {place}")


def _say_of_data(run: Run, begun: Prepared, training: Training | Fitting) -> None:
    """Say how long the training waited for data, and list what could not be read."""
    samples, modality = begun.samples, begun.plan.modality
    if isinstance(begun.batches, Ahead):
        begun.batches.close()
    if not begun.processes.leads:
        return
    if late := list(samples.broken().values()):
        say_skipped(late, len(samples), SETTINGS, unit=modality.unit)
        try:
            run.check_ours()
            kept = run.settings
            listed = [*kept.get("skipped", ()), *map(dataclasses.asdict, late)]
            run.write_settings({**kept, "skipped": list({s["title"]: s for s in listed}.values())})
        except SelfsightError as error:  # which must hide nothing that ended the training
            console().print(f"they are not listed there: {error}")
    told = training.seconds and modality.advice_on_waiting(
        samples, training.waited / training.seconds
    )
    if told:
        console().print(told)


def _judged(run: Run, begun: Prepared, training: Training | Fitting) -> dict[str, Any]:
    """Say what can be said without labels: collapsed or unknown, and how far the task is solved."""
    machine.give_back_memory()  # the training's, before samples are encoded
    of, rows = begun.plan, training.rows
    last = rows[-max(len(rows) // 20, len(begun.task.turns)) :]
    columns = dict.fromkeys(key for row in last for key in row)
    means = {key: fmean(row[key] for row in last if key in row) for key in columns}
    encoder, modality = begun.task.encoder, of.modality
    inputs = modality.judged_inputs(begun.samples, encoder, of.sample, JUDGED)
    trained = Shape.of(final_features(encoder, inputs))
    calibrating = inputs[some_rows(len(inputs), CALIBRATED_ON)]
    fresh = untrained_encoder(encoder.recipe, of.seed, calibrating, device=of.device)
    untrained = Shape.of(final_features(fresh, inputs))
    tasks = begun.task.tasks_by_name(of.task)
    solved = {name: _solved(name, task, of, means) for name, task in tasks.items()}
    likeness = modality.alike(begun.samples, inputs)
    labelled = begun.samples.labels is not None and len(begun.samples.classes) > 1
    verdict = judge_unlabelled(
        trained,
        untrained,
        list(solved.values()),
        of_pictures=likeness,
        labelled=labelled,
        unanswered=modality.unanswered,
    )
    advised = advice.after_pretraining(
        advice.Trained.kept(run.path, run.settings),
        verdict.word,
        alike=likeness is not None,
        solved=list(solved.values()),
        early=advice.early_loss(rows, of.steps),
        labelled=labelled,
        further=modality.next_step,
    )
    accuracy = solved[of.task].accuracy if of.mix is None else None
    return {
        "run": str(run.path),
        "task": of.task,
        "steps": of.steps,
        "samples": of.steps * of.batch,
        "seconds": round(training.seconds, 1),
        "waiting": round(last[-1]["waiting"], 4),
        "loss": round(means["loss"], 4),
        "blind": _rounded(begun.task.blind),
        "accuracy": _rounded(accuracy),
        "tasks": {
            name: {
                key: _rounded(value)
                for key, value in dataclasses.asdict(one).items()
                if key != "task"
            }
            for name, one in solved.items()
        },
        "spread": round(trained.spread, 4),
        "rank": round(trained.rank, 2),
        "skipped": len(begun.samples.skipped) + len(begun.samples.broken()),
        "alike": likeness is not None,
        "verdict": verdict.word,
        "reasons": list(verdict.reasons),
        "next": advised._asdict(),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _solved(name: str, task: Task, of: Plan, means: dict[str, float]) -> Solved:
    """Say how far one of the tasks is solved."""
    loss = means["loss"] if of.mix is None else means.get(f"{name}.loss")
    return Solved(name, loss, task.blind, means.get(f"{name}.accuracy"), task.chance)


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
    with _processes_of(settings) as processes:
        run = _pretrained(settings, processes)
    if not processes.leads:
        raise SystemExit(0)  # the first process tells
    record = run.result("pretrain")
    if record is None:
        raise SelfsightError(
            f"{run.path} ended without a record; go on with --resume {shell_quoted(run.path)}"
        )
    return record


def show(record: dict[str, Any]) -> None:
    """Say what to do next."""
    for line in advice.lines(record):
        answers().print(line)
