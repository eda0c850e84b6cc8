"""Colourings: the sheet of colorization: grey pictures, and the colours that are predicted."""

from torch import Tensor

from selfsight.augment.colorless import colours_on_grid
from selfsight.augment.views import random_view
from selfsight.data.pictures.batch import Images
from selfsight.layers.color_bins import ColorBins
from selfsight.looks.sheet import Cell, Sheet, percent
from selfsight.looks.task_sheet import PicturewiseSheet
from selfsight.tasks.colorization import Colorization

SHARPEST = 0.01  # temperature: in effect the likeliest colour of every place


def lay_out(task: Colorization, batch: Images, _: tuple[str, ...]) -> Sheet:
    """Lay out B grey pictures, their colourings by temperature, and the true ones."""
    greys, ab = task.hide(batch)
    truth = random_view(batch, task.size, scale=(task.least_scale, 1.0))  # the same crops again
    columns: dict[str, Tensor] = {}
    if isinstance(task.colors, ColorBins):
        usual = task.colors.temperature
        columns["T \u2192 0"] = task.colours(greys, temperature=SHARPEST)
        columns[f"T = {usual:g}"] = task.colours(greys, temperature=usual)
        columns["T = 1"] = task.colours(greys, temperature=1.0)
    else:
        columns["answer"] = task.colours(greys)
    samples = [
        [
            Cell(greys[row]),
            *(Cell(answers[row], off(answers[row], ab[row])) for answers in columns.values()),
            Cell(truth[row]),
        ]
        for row in range(len(greys))
    ]
    return Sheet("Colorization: which colours?", ("question", *columns, "truth"), samples)


def off(answer: Tensor, ab: Tensor) -> str:
    """Say how far a coloured picture (3, S, S) is from the true a and b (2, s, s) on average."""
    distance = (colours_on_grid(answer[None])[0] - ab).norm(dim=0).mean()
    return f"off by {float(distance):.1f}"


def metrics(task: Colorization, batch: Images) -> dict[str, float]:
    """Measure how far colourings and greys are from the truth, and colourings from grey."""
    greys, ab = task.hide(batch)
    answers = colours_on_grid(task.colours(greys))
    return {
        "error": float((answers - ab).norm(dim=1).mean()),
        "grey_error": float(ab.norm(dim=1).mean()),
        "colourfulness": float(answers.norm(dim=1).mean()),
    }


def in_words(task: Colorization, figures: dict[str, float], among: str) -> str:
    """Say what was measured."""
    colourful = figures["colourfulness"] / max(figures["grey_error"], 1e-6)
    blind = "a blind guess costs" if isinstance(task.colors, ColorBins) else "the mean colour costs"
    temperature = (
        " T, the temperature of decoding, leads from the likeliest colour to the mean of all."
        if isinstance(task.colors, ColorBins)
        else ""
    )
    return (
        f"On {among}, colours are off by {figures['error']:.1f} on average, in units of CIELAB's a "
        f"and b, where leaving the pictures grey is off by {figures['grey_error']:.1f}; they are "
        f"{percent(colourful)} as colourful as the true ones. The loss is "
        f"{figures['loss']:.2f}; {blind} {figures['blind']:.2f}.{temperature}"
    )


SHEET = PicturewiseSheet(lay_out, in_words, metrics)
