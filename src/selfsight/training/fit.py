"""Fitting: tasks that find their weights in closed form, in the place of a training.

What has no gradient has no steps, rate or precision to choose; what is left to plan is how many
pictures are looked at. The run is like any other: settings, a row of metrics, a checkpoint, the
encoder. A fit that was interrupted begins anew, with the same result.
"""

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch

from selfsight import encoders
from selfsight.data.pictures import Streamed, survey
from selfsight.data.pictures.batch import Images
from selfsight.data.pictures.reading_progress import read_with_progress
from selfsight.data.source import Source
from selfsight.errors import SelfsightError, UsageError
from selfsight.settings import Pretrain
from selfsight.system.progress import Bar, console
from selfsight.tasks.base import Facts, Task
from selfsight.tasks.cards import settings_of, unusual_settings
from selfsight.tasks.table import load_task, row_of
from selfsight.training import checkpoint, plan
from selfsight.training.loop import Batches, EncoderProbe, Listener
from selfsight.training.plan import Plan
from selfsight.training.prepare import (
    LEAST_PICTURES,
    Prepared,
    batches_of,
    needs_of,
    settled,
    told_of_stream,
)
from selfsight.training.run import SETTINGS, Run
from selfsight.training.weights import built, initial_encoder

AT_ONCE = 256  # pictures
# What a fit cannot be asked, as flags, and the values that ask nothing.
_OF_TRAINING = {
    "mix": None, "start": None, "batch": None, "optimizer": None, "rate": None, "decay": None,
    "schedule": "cosine", "clip": None, "precision": "auto", "devices": 1, "nodes": 1,
    "compile": "auto", "probe_every": None, "track": (),
}  # fmt: skip


def is_fitted(tasks: tuple[str, ...]) -> bool:
    """Tell whether tasks are fitted rather than trained; several that differ are neither."""
    return any(row_of(name).way == "fitted" for name in tasks)


def refuse(settings: Pretrain) -> None:
    """Refuse what has no meaning where a task is fitted.

    Raises:
        UsageError: If it was asked.
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
    own, _ = encoder_of(name, settings_of(name))
    if settings.encoder not in (None, own, encoders.OWN[own]):
        raise UsageError(
            f"{name} is fitted to an encoder of its own; leave --encoder {settings.encoder} out"
        )


def encoder_of(name: str, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name the encoder that a fitted task is fitted to, and its arguments."""
    own = load_task(name).encoder_of(settings)
    assert own is not None, f"{name} is fitted, and names no encoder of its own"
    return own


def fit_prepared(
    settings: Pretrain, chosen: dict[str, dict[str, Any]], source: Source, device: str
) -> Prepared:
    """Read the data, build the encoder, and plan."""
    say = console().print
    (name,) = settings.task
    known = survey(source)
    size = plan.side_of_pictures(settings.size, known.longer_side, device)
    canvas = plan.side_of_canvas(size, known.longest, 1.0)
    pictures = read_with_progress(
        source,
        side=canvas,
        limit=settings.limit,
        storage=None if settings.storage == "auto" else settings.storage,
        listed_in=SETTINGS,
    )
    if len(pictures) < LEAST_PICTURES:
        raise SelfsightError(
            f"at least {LEAST_PICTURES} readable pictures are needed, and {source.name} has "
            f"{len(pictures)}; give more, or learn from crops of one with photo:FILE"
        )
    most = load_task(name).needs.samples or len(pictures)
    looked = min(settings.samples or most, len(pictures))
    steps = math.ceil(looked / AT_ONCE)
    looked = looked // steps * steps  # in equal parts
    channels = pictures.images.shape[1]
    own = settled(name, Facts(looked, 0, channels, size, looked), chosen[name])
    architecture, arguments = encoder_of(name, own)
    asked = dataclasses.replace(settings, encoder=architecture)
    recipe = initial_encoder(asked, size, pictures, device).recipe
    recipe = dataclasses.replace(recipe, arguments=recipe.arguments | arguments)
    streamed = pictures.images if isinstance(pictures.images, Streamed) else None
    of = Plan(
        data=cast(str, settings.data),
        limit=settings.limit,
        fingerprint=pictures.fingerprint,
        samples=len(pictures),
        classes=(),
        channels=channels,
        canvas=canvas,
        size=size,
        tasks=settings.task,
        task_settings={name: own},
        mix=None,
        encoder=recipe.to_json(),
        start=None,
        batch=looked // steps,
        steps=steps,
        seed=settings.seed,
        optimizer=plan.CLOSED_FORM,
        rate=0.0,
        decay=0.0,
        schedule=settings.schedule,
        warmup=0,
        clip=None,
        device=device,
        precision="f32",
        memory_format="channels_last",
        threads=plan.thread_count(settings.threads, 1),
        seconds_a_step=None,
        save_every=settings.save_every,
        notes=() if streamed is None else (told_of_stream(streamed),),
        tile=settings.tile,
        storage=pictures.storage,
        bits=pictures.bits,
        labels=False,
    )
    of = dataclasses.replace(of, notes=of.notes + _told_of_length(settings))
    task, _ = built(of)
    for line in _lines(of, task):
        say(line)
    return Prepared(of, task, pictures, batches_of(pictures, of, needs_of(of.tasks), task))


def _told_of_length(settings: Pretrain) -> tuple[str, ...]:
    """Say that a length in time, or in times through the data, is not one of a fit."""
    asked = [f"--{word}" for word in ("minutes", "epochs") if getattr(settings, word) is not None]
    return (f"{asked[0]} has no meaning for a fit and is left out",) if asked else ()


def _lines(of: Plan, task: Task) -> list[str]:
    """Say the plan, a line an aspect."""
    plural = "s" if of.channels > 1 else ""
    unusual = unusual_settings(of.task, of.task_settings[of.task])
    settings = ", ".join(f"{key}={value}" for key, value in unusual.items())
    encoder = task.encoder
    return [
        f"data      {of.samples:,} pictures, {of.channels} channel{plural}, on canvases of "
        f"{of.canvas} px",
        f"task      {of.task} on {of.size} px ({settings})",
        f"encoder   {of.encoder['name']}, {encoder.dim} features",
        f"fit       in closed form, without steps, from {of.steps * of.batch:,} of the pictures, "
        "each looked at once",
        f"machine   {of.device}, {of.threads} thread{'s' if of.threads > 1 else ''}",
        *(f"note      {note}" for note in of.notes),
    ]


class Fitting:
    """A task being fitted in a run; it is used like a `Training`.

    Args:
        task: Its `fit` finds the weights of its encoder.
        batches: Gives the pictures to look at, part by part.
        plan: How many parts there are.
        run: Where everything is kept.
        listener: Is told the row of metrics.csv.
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
        """Take up the run's fit, if it was finished."""
        state = self.run.load_checkpoint()
        if state is not None:
            checkpoint.take_up(self.task, state, self.run.path / checkpoint.LAST)
            self.step, self.seconds, self.waited = state["step"], state["seconds"], state["waited"]
            self.rows = self.run.metrics()

    def _parts(self, bar: Bar) -> Iterator[Images]:
        """Give the pictures, part by part."""
        for step in range(self.plan.steps):
            yield self._part(step)
            bar(step + 1)

    def _part(self, step: int) -> Images:
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
        """Fit, score what was found, and write everything."""
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
                f"{self.plan.task} was fitted, and its loss is {float(score.loss)}, which is no "
                "number; give other pictures, or other settings of the task"
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
