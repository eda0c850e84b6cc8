"""Several colourings: the sheet of colorization-vae, which colours a picture in several ways."""

from selfsight.augment.views import random_view
from selfsight.data.pictures.batch import Images
from selfsight.looks.sheet import Cell, Sheet
from selfsight.looks.sheets.colorization import off
from selfsight.looks.task_sheet import PicturewiseSheet
from selfsight.tasks.colorization_vae import ColorizationVAE

SHOWN = 5
MEASURED = 8  # ways, of which the best is taken


def lay_out(task: ColorizationVAE, batch: Images, _: tuple[str, ...]) -> Sheet:
    """Lay out B grey pictures, several ways to colour each, and the true one."""
    greys, withheld = task.hide(batch)
    truth = random_view(batch, task.size, scale=(task.least_scale, 1.0))  # the same crops again
    ways = task.ways(greys, SHOWN, seed=batch.draws.seed)  # (B, ways, 3, S, S)
    samples = [
        [
            Cell(greys[row]),
            *(Cell(way, off(way, withheld.ab[row])) for way in ways[row]),
            Cell(truth[row]),
        ]
        for row in range(len(greys))
    ]
    columns = ("question", *(f"way {number}" for number in range(1, SHOWN + 1)), "truth")
    return Sheet("Colorization, several ways: which colours may it have?", columns, samples)


def metrics(task: ColorizationVAE, batch: Images) -> dict[str, float]:
    """Measure how good and how different the ways are, and how far greys are from the truth."""
    _, withheld = task.hide(batch)
    grey = float(withheld.ab.norm(dim=1).mean())
    return {**task.diversity(batch, MEASURED), "grey_error": grey}


def in_words(_: ColorizationVAE, figures: dict[str, float], among: str) -> str:
    """Say what was measured."""
    return (
        f"On {among}, the likeliest way is off by {figures['error']:.1f} on average, in units of "
        f"CIELAB's a and b, the best of {MEASURED} ways by {figures['best_of']:.1f}, and leaving "
        f"the pictures grey by {figures['grey_error']:.1f}. The ways differ from their mean by "
        f"{figures['variance'] ** 0.5:.1f}."
    )


SHEET = PicturewiseSheet(lay_out, in_words, metrics)
