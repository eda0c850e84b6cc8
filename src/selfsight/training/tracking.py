"""Tracking: sends the rows of metrics.csv to TensorBoard, Weights & Biases or MLflow.

A tracker gets the settings at the start, every row, and the record at the end. It never stops a
training: if one fails, that is reported once and the tracker is not used any more. Each loads its
package on use, and saves in RUN/tracks.json the name under which a resumed run continues.
"""

import importlib.util
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, cast

from selfsight.errors import SelfsightError, in_a_line
from selfsight.system import atomic, validation
from selfsight.system.escaping import printable
from selfsight.system.progress import console

INSTALL = 'pip install "selfsight[track]"'
TRACKS = "tracks.json"
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
LONGEST = 500  # characters of a setting; MLflow takes no more


class Tracker(Protocol):
    """What a tracker must offer."""

    def begin(self, settings: Mapping[str, Any], step: int) -> None:
        """Take the flat settings; rows of steps after `step` that were sent before are void."""
        ...

    def row(self, row: Mapping[str, float]) -> None:
        """Take a row of metrics.csv."""
        ...

    def end(self, record: Mapping[str, Any] | None) -> None:
        """Take the record of the result; None if the training was stopped."""
        ...


class TensorBoard:
    """Event files in RUN/tensorboard, for `tensorboard --logdir`.

    Args:
        run: The run's directory.
    """

    def __init__(self, run: Path) -> None:
        self.place = run

    def begin(self, settings: Mapping[str, Any], step: int) -> None:
        """Open an event file, with the settings as hyper-parameters."""
        from torch.utils.tensorboard.summary import hparams
        from torch.utils.tensorboard.writer import SummaryWriter

        place = atomic.subfolder(self.place, "tensorboard")
        self._writer = SummaryWriter(str(place), purge_step=step + 1)
        plain = {k: v if isinstance(v, int | float) else str(v) for k, v in settings.items()}
        experiment, start, self._ended = hparams(plain, {"loss": 0})
        for summary in (experiment, start):
            cast(Any, self._writer.file_writer).add_summary(summary)

    def row(self, row: Mapping[str, float]) -> None:
        """Write every number of a row under its name."""
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))
        self._writer.flush()

    def end(self, record: Mapping[str, Any] | None) -> None:
        """Write the record as a text, and close."""
        if record is not None:
            text = f"```\n{atomic.json_text(record)}\n```"
            self._writer.add_text("record", text, int(record["steps"]))
            cast(Any, self._writer.file_writer).add_summary(self._ended)
        self._writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases, in RUN/wandb.

    Offline, for `wandb sync` later, unless WANDB_MODE or WANDB_API_KEY is set: nothing is sent
    anywhere unasked, and nothing waits for a network.

    Args:
        run: The run's directory.
    """

    def __init__(self, run: Path) -> None:
        self.place = run

    def begin(self, settings: Mapping[str, Any], step: int) -> None:
        """Begin a run, or continue that of an earlier start."""
        import wandb

        atomic.subfolder(self.place, "wandb")
        known = "WANDB_MODE" in os.environ or "WANDB_API_KEY" in os.environ
        known_as = _kept(self.place, "wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "selfsight"),
            name=printable(self.place.name),
            dir=str(self.place),
            id=known_as,
            resume="allow" if known_as else None,
            config=dict(settings),
            mode=None if known else "offline",
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.define_metric("*", step_metric="step")  # a resumed run sends some steps again
        _keep(self.place, "wandb", self._run.id)

    def row(self, row: Mapping[str, float]) -> None:
        """Log a row."""
        self._run.log(dict(row))

    def end(self, record: Mapping[str, Any] | None) -> None:
        """Make the record the run's summary, and finish it."""
        if record is not None:
            self._run.summary.update({f"record/{k}": v for k, v in record.items()})
        self._run.finish(exit_code=0 if record is not None else 1)


class MLflow:
    """A run of MLflow at MLFLOW_TRACKING_URI, else as plain files in RUN/mlflow.

    Args:
        run: The run's directory.
    """

    def __init__(self, run: Path) -> None:
        self.place = run

    def begin(self, settings: Mapping[str, Any], step: int) -> None:
        """Begin a run, or continue that of an earlier start."""
        from mlflow.tracking import MlflowClient

        place = os.environ.get("MLFLOW_TRACKING_URI")
        if place is None:
            place = atomic.subfolder(self.place, "mlflow").resolve().as_uri()
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else it refuses plain files
        self._client = MlflowClient(tracking_uri=place)
        self._id = _kept(self.place, "mlflow")
        if self._id is not None:
            self._client.update_run(self._id, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "selfsight")
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        begun = self._client.create_run(experiment, run_name=printable(self.place.name))
        self._id = begun.info.run_id
        _keep(self.place, "mlflow", self._id)
        for key, value in settings.items():
            self._client.log_param(self._id, key, str(value)[:LONGEST])

    def row(self, row: Mapping[str, float]) -> None:
        """Log every number of a row under its name."""
        from mlflow.entities import Metric

        now, step = int(time.time() * 1000), int(row["step"])
        told = [Metric(name, value, now, step) for name, value in row.items() if name != "step"]
        self._client.log_batch(cast(str, self._id), metrics=told)

    def end(self, record: Mapping[str, Any] | None) -> None:
        """Set the record as tags, and end the run."""
        for key, value in (record or {}).items():
            self._client.set_tag(cast(str, self._id), key, printable(str(value))[:LONGEST])
        status = "KILLED" if record is None else "FINISHED"
        self._client.set_terminated(cast(str, self._id), status)


KINDS = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "mlflow": MLflow}


def check_installed(names: Sequence[str]) -> None:
    """Check that trackers' packages are installed, before anything else is done.

    Raises:
        SelfsightError: If one is missing.
    """
    for name in names:
        if importlib.util.find_spec(PACKAGES[name]) is None:
            raise SelfsightError(f"--track {name} needs its package: {INSTALL}")


class Trackers:
    """All trackers of a run, none of which can stop it.

    Args:
        trackers: By name.
    """

    def __init__(self, trackers: Mapping[str, Tracker]) -> None:
        self._working = dict(trackers)

    @classmethod
    def of(cls, names: Sequence[str], run: Path) -> "Trackers":
        """Make the trackers of these names for a run's directory."""
        return cls({name: KINDS[name](run) for name in dict.fromkeys(names)})

    @property
    def working(self) -> tuple[str, ...]:
        """Names of those that have not failed."""
        return tuple(self._working)

    def begin(self, settings: Mapping[str, Any], step: int) -> None:
        """Send the settings, nested or flat, and the step from which the run continues."""
        flat = flattened(settings)
        self._tell("begin", flat, step)

    def row(self, row: Mapping[str, float]) -> None:
        """Send a row of metrics.csv."""
        self._tell("row", row)

    def end(self, record: Mapping[str, Any] | None) -> None:
        """Send the record, None if the training was stopped."""
        self._tell("end", record)

    def _tell(self, what: str, *told: Any) -> None:
        for name, tracker in list(self._working.items()):
            try:
                getattr(tracker, what)(*told)
            except Exception as error:
                del self._working[name]
                console().print(
                    f"--track {name} failed and is left out from here on: {in_a_line(error)}"
                )


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings; texts are made printable.

    >>> flattened({"rate": 0.1, "encoder": {"name": "small", "size": None}})
    {'rate': 0.1, 'encoder.name': 'small', 'encoder.size': 'None'}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flattened(cast(Mapping[str, Any], value), f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, int | float) else printable(str(value))
    return flat


def _kept(run: Path, name: str) -> str | None:
    """Find the name under which a tracker knows the run; None if it does not."""
    return _known(run).get(name)


def _known(run: Path) -> dict[str, str]:
    """Read the names under which trackers know the run; empty if the file is damaged or missing."""
    with suppress(SelfsightError):
        found = validation.read_record(
            run / TRACKS, remedy=f"remove it; {run} is then told as a new run"
        )
        return {name: known for name, known in found.items() if isinstance(known, str)}
    return {}


def _keep(run: Path, name: str, identity: str) -> None:
    """Save the name under which a tracker knows the run."""
    atomic.write_json(run / TRACKS, _known(run) | {name: identity})
