"""Demo: the whole job on photographs that come with the packages, without a network.

A small encoder learns by rotation from grey pieces of photographs. Then every layer is probed: from
which photograph does a piece come that it was not trained on, and that neither colour, brightness
nor contrast gives away (`data/pictures/forms/crops.py`)? The same network untrained and raw pixels
are probed too.

    OUT/demo.json   what was found; until then, that a demo is under way
    OUT/run/        the run, with results/ and pictures/
"""

import shutil
import time
from pathlib import Path
from typing import Any, cast

import torch

from selfsight.commands.pretrain import pretrain
from selfsight.commands.probe import probe
from selfsight.commands.probe import show as show_probe
from selfsight.data.pictures import open_data, read
from selfsight.data.pictures.scaling import as_float
from selfsight.data.pictures.source import PictureSource
from selfsight.encoders import Encoder
from selfsight.errors import SelfsightError
from selfsight.looks import draw_filters, draw_neighbours, nearest, shared_class
from selfsight.modalities.pictures import of_picture_plan, of_pictures
from selfsight.probes.untrained import calibrating, final_features, untrained_encoder
from selfsight.settings import Demo
from selfsight.system import atomic
from selfsight.system.progress import answers, console
from selfsight.system.validation import read_record
from selfsight.training.plan import Plan
from selfsight.training.run import LOCK, OUT, SETTINGS, Run

DATA, TASK = "crops", "rotation"
MINUTES = 1.75
LABELS = 600  # of the cells for training, drawn three times
ROWS_SHOWN = 8
MARK = "demo.json"
QUESTION = (
    "from which of the photographs does a grey cell come that was not trained on, its brightness "
    "and contrast changed at random?"
)


def demo(*, out: str = "./selfsight-demo") -> dict[str, Any]:
    """Do the whole job on photographs that come with the packages.

    Args:
        out: Where it goes; an unfinished demo there goes on, a finished one is made again.

    Returns:
        The probe's record, with the places of what was drawn.

    Raises:
        SelfsightError: If `out` holds something else.
    """
    return demo_as(Demo(out=out))


def demo_as(settings: Demo) -> dict[str, Any]:
    """Run the demo as the settings say; see `demo`."""
    out = Path(settings.out)
    _check_free(out)
    atomic.folder(out, another=OUT)
    with atomic.owned(out, out / LOCK, otherwise=OUT, another=OUT):
        _check_free(out)  # another may have been here since, and have ended
        return _done(out)


def _check_free(out: Path) -> None:
    """Refuse a folder that holds something other than a demo."""
    if not out.is_dir() or (out / MARK).is_file():
        return
    with atomic.blamed(out, OUT):
        if any(place.name != LOCK and place.suffix != ".part" for place in out.iterdir()):
            raise SelfsightError(
                f"{out} holds something other than a demo; name another place with --out"
            )


def _done(out: Path) -> dict[str, Any]:
    """Do the whole job: -> the record."""
    begun = time.monotonic()
    run = _trained(out)
    say = console().print
    say("asking every layer: " + QUESTION)
    record = cast(dict[str, Any], probe(run, DATA, labels=LABELS))
    say("drawing")
    pictures = _drawn(run)
    found = {
        "out": str(out),
        "run": str(run.path),
        "question": QUESTION,
        **record,
        **pictures,
        "seconds": round(time.monotonic() - begun, 1),
    }
    atomic.write_json(out / MARK, {"finished": True, **found}, another=OUT)
    return found


def _trained(out: Path) -> Run:
    """Pretrain in OUT/run, or continue from where an interrupted demo stopped."""
    place = out / "run"
    atomic.refuse_link(place, another=OUT)
    mark = out / MARK
    if mark.is_file() and read_record(mark, remedy="remove it").get("finished") is True:
        shutil.rmtree(place, ignore_errors=True)
    atomic.write_json(mark, {"finished": False}, another=OUT)
    if (place / SETTINGS).exists():
        return pretrain(resume=str(place))
    return pretrain(DATA, TASK, minutes=MINUTES, out=str(place))


def _drawn(run: Run) -> dict[str, Any]:
    """Draw the filters and a sheet of neighbours: -> their places, and how many were right."""
    of = Plan.of(run)
    trained, parts = of_pictures(run.encoder()), open_data(DATA)
    seen = of_picture_plan(of.sample)
    train, test = (
        read(part, side=seen.size, fit="square", channels=seen.channels)
        for part in (parts.train, cast(PictureSource, parts.test))
    )
    untrained = untrained_encoder(trained.recipe, of.seed, calibrating(train))
    draw_filters(trained, untrained, run.picture("filters"))

    def among(encoder: Encoder) -> torch.Tensor:
        bank, asked = (final_features(encoder, as_float(part.tensor)) for part in (train, test))
        return nearest(bank, asked)

    found = {"trained": among(trained), "untrained": among(untrained)}
    labels = cast(torch.Tensor, train.labels), cast(torch.Tensor, test.labels)
    shown = torch.linspace(0, len(test) - 1, ROWS_SHOWN).long()
    draw_neighbours(
        train.tensor,
        test.tensor[shown],
        {name: rows[shown] for name, rows in found.items()},
        run.picture("neighbours"),
        bank_labels=labels[0],
        query_labels=labels[1][shown],
    )
    return {
        "filters": str(run.picture("filters")),
        "neighbours": str(run.picture("neighbours")),
        "neighbours_right": {
            name: round(shared_class(rows, *labels), 4) for name, rows in found.items()
        },
    }


def show(record: dict[str, Any]) -> None:
    """Print the demo's outcome, and what to type for one's own pictures."""
    show_probe(record)
    right = record["neighbours_right"]
    for line in (
        f"question: {record['question']}",
        f"of the five nearest neighbours, {right['trained']:.0%} are of the same photograph "
        f"({right['untrained']:.0%} by the untrained network)",
        f"pictures: {record['filters']}",
        f"          {record['neighbours']}",
        f"took {record['seconds']:.0f} s; now with your own folder of pictures:",
        "  selfsight pretrain FOLDER --task rotation --minutes 10 --out runs/mine",
        "  selfsight probe runs/mine LABELLED_FOLDER",
    ):
        answers().print(line)
