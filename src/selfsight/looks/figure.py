"""Figure: a drawing becomes a .png file, signed, whole or not at all."""

import io
import warnings
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Text

from selfsight.data.pictures.files.signature import SIGNED
from selfsight.system import atomic
from selfsight.system.escaping import printable


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, cut to what is drawn, as `atomic.write_bytes` does."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)  # a dollar in a name begins no formula
        text.set_text("\n".join(map(printable, text.get_text().split("\n"))))
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # a box stands for a letter that the font lacks
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing", UserWarning)
        figure.savefig(buffer, format="png", bbox_inches="tight", metadata=SIGNED)
    atomic.write_bytes(path, buffer.getvalue())
