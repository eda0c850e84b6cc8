"""Run: the directory in which a training saves everything.

    settings.json         settings given and derived, versions, fingerprint of the data
    metrics.csv           a row for each logged step
    checkpoint.pt         everything for an exact resume, readable with weights_only=True;
                          checkpoint-before.pt is the one before it
    encoder.safetensors   the encoder alone; encoder.json says how to build it
    results/NAME.json     what was measured       pictures/NAME.png    what was drawn
    .lock                 which process trains here, while one does

Every file is written beside its place and renamed.
"""

import contextlib
import csv
import io
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

from selfsight import encoders
from selfsight.encoders import BaseEncoder
from selfsight.encoders.saved import how_to_restore
from selfsight.errors import SelfsightError, Stopped
from selfsight.system import atomic, validation
from selfsight.system.escaping import shell_quoted
from selfsight.system.locks import Lock
from selfsight.system.paths import ENCODER_FILE, SETTINGS, check_run
from selfsight.training import checkpoint

METRICS, CHECKPOINT, LOCK = "metrics.csv", checkpoint.LAST, ".lock"
RESULTS, PICTURES = "results", "pictures"
OUT = "or name another place with --out"
# The keys of settings.json; the plan itself is checked in `plan.py`.
_SETTINGS: dict[str, Any] = {
    "plan": dict,
    "asked": dict,
    "versions": dict[str, str],
    "machine": dict,
    "skipped": list[dict[str, str]],
    "notes": list[str],
}


class Run:
    """A run's directory.

    Args:
        path: Where it is.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock: Lock | None = None
        self._another = OUT  # what to do where it cannot be written, for sentences

    @classmethod
    def create(cls, path: str | Path) -> "Run":
        """Make a new run in a directory that is new or empty.

        Raises:
            SelfsightError: If the directory is not empty, or cannot be made or written.
        """
        run = cls(path)
        run._check_free()
        atomic.writable(run.path, another=OUT)  # its owner tidies it
        return run

    @classmethod
    @contextlib.contextmanager
    def begun(cls, path: str | Path) -> Generator["Run"]:
        """Make a new run, and own it for the length of a block.

        If the training is stopped before anything was learned, the directory is emptied again.

        Raises:
            SelfsightError: As for `create` and `owned`.
            KeyboardInterrupt: Instead of `Stopped`, if nothing is left to resume.
        """
        new = not Path(path).exists()
        try:
            run = cls(path) if (Path(path) / LOCK).exists() else cls.create(path)
            with run.owned(otherwise=OUT):
                run._check_free()  # another may have been here since, and have ended
                try:
                    yield run
                except Stopped as stopped:
                    if run._emptied():
                        raise KeyboardInterrupt from stopped
                    raise
                except KeyboardInterrupt:
                    run._emptied()
                    raise
        except BaseException:
            if new:
                with contextlib.suppress(OSError):
                    Path(path).rmdir()  # if nothing is in it yet
            raise

    def _emptied(self) -> bool:
        """Remove the settings of a run that has learned nothing: -> whether nothing is left.

        If anything else lies there, a checkpoint or a tracker's files, everything stays.
        """
        if self._lock is not None and not self._lock.hold():
            return False  # another's
        with contextlib.suppress(OSError):
            for name in (RESULTS, PICTURES):
                if (self.path / name).is_dir():
                    (self.path / name).rmdir()
            if {path.name for path in self.path.iterdir()} <= {SETTINGS, LOCK}:
                (self.path / SETTINGS).unlink(missing_ok=True)
                return True
        return False

    def _check_free(self) -> None:
        """Refuse a directory that is not empty."""
        if not self.path.is_dir():
            return
        with atomic.blamed(self.path, OUT, what="cannot be made a run's directory"):
            taken = [p for p in self.path.iterdir() if p.suffix != ".part" and p.name != LOCK]
        if (self.path / SETTINGS).exists():
            raise SelfsightError(
                f"{self.path} holds another run; continue it with "
                f"--resume {shell_quoted(self.path)}, {OUT}"
            )
        if taken:
            raise SelfsightError(f"{self.path} is not empty; name another place with --out")

    @contextlib.contextmanager
    def owned(self, *, otherwise: str = "or stop it, and go on from there") -> Generator[None]:
        """Own the run for the length of a block, so that no other process trains here.

        Parts left by processes that died while writing are removed.

        Args:
            otherwise: What to do instead of waiting, if another process owns it.

        Raises:
            SelfsightError: If another process owns it, which is named, or nothing can be written
                here.
        """
        another = "or begin a new run from its weights, elsewhere, with --from"
        for name in (RESULTS, PICTURES):
            atomic.refuse_link(self.path / name, another=f"{another} and --out")
        atomic.writable(self.path, another=another)
        lock = self.path / LOCK
        with atomic.owned(self.path, lock, otherwise=otherwise, another=another) as self._lock:
            self._another = f"then go on with --resume {shell_quoted(self.path)}"
            for place in (self.path, self.path / RESULTS, self.path / PICTURES):
                atomic.tidy(place)  # only now: what another owner writes is his
            try:
                yield
            finally:
                self._lock, self._another = None, OUT

    def check_ours(self) -> None:
        """Refuse to write if the directory is no longer the one that this process owns.

        A lost lock, for instance after the directory was copied, is taken again.

        Raises:
            SelfsightError: If the directory was removed meanwhile, or another process owns it.
        """
        if self._lock is not None and not self._lock.hold():
            raise SelfsightError(
                f"{self.path} was moved or taken away while this process wrote there, or the "
                f"{LOCK} in it was and another process took it, so nothing more is written. What "
                "was saved there can be gone on with by --resume, where it is now"
            )

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Open an existing run.

        Raises:
            SelfsightError: If there is none.
        """
        check_run(str(path))
        return cls(path)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings given and derived.

        Raises:
            SelfsightError: If the file is damaged, or was not written by selfsight.
        """
        path = self.path / SETTINGS
        found = validation.read_record(path, remedy=self.without_settings)
        try:
            for key, kind in _SETTINGS.items():
                if key == "plan" or key in found:
                    validation.check_value(found.get(key), kind, key)
        except ValueError as error:
            raise validation.Damaged(path, str(error), self.without_settings) from None
        return found

    @property
    def without_settings(self) -> str:
        """What to do if the settings are damaged."""
        return (
            "copy it again from where the run came from, or take the run's weights without it: "
            f"selfsight.load, or pretrain --from {shell_quoted(self.path)}"
        )

    def write_settings(self, content: dict[str, Any]) -> None:
        """Write settings.json."""
        path = self.path / SETTINGS
        atomic.write_json(path, content, another=self._another if path.exists() else OUT)

    def encoder(self, name: str | None = None) -> BaseEncoder:
        """Load the encoder, ready to use: weights loaded, in evaluation mode."""
        stem = f"encoder-{name}" if name else "encoder"
        if not (self.path / CHECKPOINT).is_file():
            return encoders.load(self.path, stem=stem)
        return encoders.load(self.path, stem=stem, remedy=how_to_restore(self.path, stem))

    def save_encoder(self, encoder: BaseEncoder, stem: str = "encoder") -> None:
        """Save an encoder by itself, ready to be loaded."""
        encoders.save(encoder, self.path, stem=stem, another=self._another)

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Save everything for an exact resume, and keep the former checkpoint; see `checkpoint`."""
        checkpoint.save(self.path, state, another=self._another)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Read the last checkpoint; None if there is none yet.

        Raises:
            SelfsightError: If it is damaged, with what helps.
        """
        steps = self.settings["plan"].get("steps")
        return checkpoint.load(self.path, steps=steps if isinstance(steps, int) else None)

    def metrics(self) -> list[dict[str, float]]:
        """Read the logged steps, oldest first; a row lacks the columns that it was not given.

        Raises:
            SelfsightError: If the file is damaged.
        """
        path = self.path / METRICS
        if not os.path.lexists(path):
            return []
        remedy = f"remove it (rm {shell_quoted(path)}), and the run goes on with rows from then"
        return validation.read_rows(path, whole=("step", "samples"), remedy=remedy)

    def write_metrics(self, rows: list[dict[str, float]]) -> None:
        """Write the logged steps; missing values are empty, and probes' columns come last."""
        if not rows:
            return
        buffer = io.StringIO()
        names = dict.fromkeys(name for row in rows for name in row)
        columns = sorted(names, key=lambda name: name.startswith("probe."))
        writer = csv.DictWriter(buffer, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        atomic.write_text(self.path / METRICS, buffer.getvalue(), another=self._another)

    def result(self, name: str) -> dict[str, Any] | None:
        """Read a measured result; None if it was not measured.

        Raises:
            SelfsightError: If the file is damaged.
        """
        path = self._place_of_result(name)
        if not os.path.lexists(path):
            return None
        return validation.read_record(path, remedy=self._without_result(name))

    def damaged_result(self, name: str, fault: str) -> validation.Damaged:
        """Build the error for a result that does not hold what it must."""
        return validation.Damaged(self._place_of_result(name), fault, self._without_result(name))

    def _place_of_result(self, name: str) -> Path:
        return self.path / RESULTS / f"{name}.json"

    def _without_result(self, name: str) -> str:
        """Say what to do if a result is damaged."""
        anew = "measure anew"
        if name == "pretrain":
            anew = f"let selfsight pretrain --resume {shell_quoted(self.path)} write it again"
        return f"remove it (rm {shell_quoted(self._place_of_result(name))}) and {anew}"

    def write_result(self, name: str, record: dict[str, Any]) -> Path:
        """Write a measured result: -> its path."""
        path = atomic.subfolder(self.path, RESULTS, another=self._another) / f"{name}.json"
        atomic.write_json(path, record, another=self._another)
        return path

    def picture(self, name: str) -> Path:
        """Give the path of a picture to be drawn."""
        return atomic.subfolder(self.path, PICTURES, another=OUT) / f"{name}.png"


def load(path: str | Path) -> BaseEncoder:
    """Load a run's encoder, ready to use.

    Args:
        path: The run's directory, or in it the file of one of several tasks' encoders,
            `encoder-NAME.safetensors`.

    Returns:
        The encoder with its trained weights, in evaluation mode: pictures (B, C, S, S) in [0, 1]
        to features (B, D), and `encoder.layers(pictures)` to the map of every named layer. Whole
        numbers are refused, and in evaluation mode values outside [0, 1], with what was got.

    Raises:
        SelfsightError: If there is no run, or its encoder is missing or damaged.
    """
    run, name = run_of(path)
    encoder = run.encoder(name)
    encoder.checked = True
    return encoder


def run_of(path: str | Path) -> tuple[Run, str | None]:
    """Split the path of a run or of an encoder in it: -> the run, the encoder's name if any.

    Raises:
        SelfsightError: If there is no run.
    """
    path = Path(path)
    if path.suffix != ENCODER_FILE or path.is_dir():
        return Run.open(path), None
    return Run.open(path.parent), path.stem.removeprefix("encoder").removeprefix("-") or None
