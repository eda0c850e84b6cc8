"""Figure: saves a drawing as a .png file that carries selfsight's signature."""

import io
import warnings
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Text

from selfsight.data.pictures.files.signature import SIGNED
from selfsight.system import atomic
from selfsight.system.escaping import printable


def save_figure(figure: Figure, path: Path) -> None:
    """Save a figure, cropped to what is drawn, completely or not at all."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)  # a dollar in a name begins no formula
        text.set_text("\n".join(map(printable, text.get_text().split("\n"))))
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # of a letter that the font lacks a box is drawn
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing", UserWarning)
        figure.savefig(buffer, format="png", bbox_inches="tight", metadata=SIGNED)
    atomic.write_bytes(path, buffer.getvalue())
