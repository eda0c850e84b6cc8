"""Fillings: the sheet of inpainting: pictures with holes, and what the network paints there."""

from selfsight.data.pictures.batch import Images
from selfsight.looks.sheet import Cell, Sheet, percent
from selfsight.looks.task_sheet import PicturewiseSheet
from selfsight.tasks.inpainting import Inpainting


def lay_out(task: Inpainting, batch: Images, _: tuple[str, ...]) -> Sheet:
    """Lay out B pictures with holes, filled, and whole."""
    pictures, withheld = task.hide(batch)
    hole = withheld.hole
    filled = (pictures + hole * (task.predict(pictures).float() - pictures)).clamp(0, 1)
    error = (filled - withheld.truth).abs().mean(dim=1, keepdim=True)
    mean = (error * hole).sum(dim=(1, 2, 3)) / hole.sum(dim=(1, 2, 3))  # (B,)
    samples = [
        (
            Cell(pictures[row]),
            Cell(filled[row], f"off by {percent(float(mean[row]))}"),
            Cell(withheld.truth[row]),
        )
        for row in range(len(pictures))
    ]
    return Sheet("Inpainting: what is in the holes?", ("question", "answer", "truth"), samples)


def in_words(task: Inpainting, figures: dict[str, float], among: str) -> str:
    """Say what was measured."""
    blind = (
        ""  # the loss is then a critic's too
        if task.adversarial
        else f" The loss is {figures['loss']:.2f}; painting the mean colour of the data costs "
        f"{figures['blind']:.2f}."
    )
    return (
        f"On {among}, what is painted is off by {percent(figures['error'])} of white on "
        f"average.{blind}"
    )


SHEET = PicturewiseSheet(lay_out, in_words)
