"""The command line: one verb, one function.

Nothing heavy is loaded before a verb is chosen, so `selfsight --help` answers at once. Exit status:
0 done; 1 failed; 2 wrong usage; 130 stopped by Ctrl-C, SIGTERM or a closed terminal (SIGHUP). When
stopped, what can be resumed is saved and nothing is left half-made; a second request ends the
program at once. If the reader of the answer has left, as in `selfsight tasks | head`, the status is
0; if a full disk cut the answer, it is 1.
"""

import contextlib
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import tyro

from selfsight import settings
from selfsight.errors import SelfsightError, Stopped, UsageError, out_of_memory, unknown_name
from selfsight.system import paths, signals
from selfsight.system.atomic import json_text
from selfsight.system.escaping import printable
from selfsight.system.streams import SafeStandardStreams


class Verb(NamedTuple):
    """A verb: its settings class, and where to find its two functions.

    `function` takes the settings and gives a record; `shown` prints the record for people.
    """

    settings: type
    function: str
    shown: str


VERBS: dict[str, Verb] = {
    "demo": Verb(settings.Demo, "selfsight.commands.demo:demo_as", "selfsight.commands.demo:show"),
    "pretrain": Verb(
        settings.Pretrain,
        "selfsight.commands.pretrain:recorded",
        "selfsight.commands.pretrain:show",
    ),
    "probe": Verb(
        settings.Probe, "selfsight.commands.probe:probe_as", "selfsight.commands.probe:show"
    ),
    "neighbours": Verb(
        settings.Neighbours,
        "selfsight.commands.neighbours:neighbours_as",
        "selfsight.commands.neighbours:show",
    ),
    "look": Verb(settings.Look, "selfsight.commands.look:look_as", "selfsight.commands.look:show"),
    "apply": Verb(
        settings.Apply, "selfsight.commands.apply:apply_as", "selfsight.commands.apply:show"
    ),
    "embed": Verb(
        settings.Embed, "selfsight.commands.embed:embed_as", "selfsight.commands.embed:show"
    ),
    "tasks": Verb(
        settings.Tasks,
        "selfsight.commands.catalogue:tasks",
        "selfsight.commands.catalogue:show_tasks",
    ),
    "datasets": Verb(
        settings.Datasets,
        "selfsight.commands.catalogue:datasets",
        "selfsight.commands.catalogue:show_datasets",
    ),
    "encoders": Verb(
        settings.Encoders,
        "selfsight.commands.catalogue:encoders",
        "selfsight.commands.catalogue:show_encoders",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: -> exit status."""
    _let_threads_rest()
    words = list(sys.argv[1:] if arguments is None else arguments)
    with SafeStandardStreams() as streams:
        with signals.raised() as interrupted, _libraries_told():
            try:
                status = _done(words)
            except (KeyboardInterrupt, Exception) as error:
                if not (interrupted() or isinstance(error, KeyboardInterrupt)):
                    raise
                status = _told("interrupted; nothing is left half-made", signals.INTERRUPTED)
        streams.output.flush()
        if status == 0 and (cut := streams.output.cut) is not None:
            return _told(
                "the answer could not be written to standard output: "
                f"{getattr(cut, 'strerror', None) or cut}; make room, or send it elsewhere",
                1,
            )
        return status


def _done(words: list[str]) -> int:
    """Run the verb and print its answer: -> exit status."""
    asked: Any = None
    try:
        asked = _asked(words)
        paths.check(asked)
        name = next(n for n, verb in VERBS.items() if isinstance(asked, verb.settings))
        with contextlib.redirect_stdout(sys.stderr):  # keep libraries' output out of the answer
            record = _load(VERBS[name].function)(asked)
        if asked.json:
            print(json_text(record))
        else:
            _load(VERBS[name].shown)(record)
    except SystemExit as end:  # tyro has printed an error or the help
        return int(end.code or 0)
    except Stopped as stopped:
        return _told(stopped, signals.INTERRUPTED)
    except SelfsightError as error:
        return _told(error, 1)
    except UsageError as error:
        return _told(error, 2)
    except Exception as error:
        if (ran_out := out_of_memory(error, asked)) is None:
            raise
        return _told(ran_out, 1)
    return 0


@contextlib.contextmanager
def _libraries_told() -> Generator[None]:
    """Make libraries' warnings and log lines printable, for the length of a block."""
    formatted, handler = warnings.formatwarning, logging.lastResort

    def in_words(*remark: Any, **more: Any) -> str:
        return printable(formatted(*remark, **more).rstrip("\n")) + "\n"

    warnings.formatwarning = in_words
    logging.lastResort = _Told(logging.WARNING)
    try:
        yield
    finally:
        warnings.formatwarning, logging.lastResort = formatted, handler


class _Told(logging.StreamHandler[Any]):
    """Prints log lines without a handler of their own to standard error."""

    def __init__(self, level: int) -> None:
        super().__init__(sys.stderr)
        self.setLevel(level)

    def format(self, record: logging.LogRecord) -> str:
        """Format a line with unprintable characters escaped."""
        return printable(super().format(record))


def _let_threads_rest() -> None:
    """Make waiting OpenMP threads sleep at once; this must be set before torch is loaded.

    By default they spin for a while. Beside other programs they then take time from the very thread
    they wait for, and a pass over a batch of maps took two to ten times as long.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _asked(words: list[str]) -> Any:
    """Parse the words of the command into a verb's settings.

    Raises:
        UsageError: If the verb is unknown or a value is outside its range.
        SystemExit: If help was asked for, or a flag is unknown.
    """
    if words and not words[0].startswith("-") and words[0] not in VERBS:
        raise unknown_name("verb", words[0], VERBS)
    return tyro.extras.subcommand_cli_from_dict(
        {name: verb.settings for name, verb in VERBS.items()},
        prog="selfsight",
        description="Learn to see from pictures nobody labelled, and show what was learned.",
        args=words or ["--help"],
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    with signals.after():
        return getattr(importlib.import_module(module), name)


def _told(problem: object, status: int) -> int:
    print(printable(f"selfsight: {problem}"), file=sys.stderr)
    return status
