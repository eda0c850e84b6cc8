"""Figure: a drawing becomes a .png file, signed, whole or not at all."""

import io
from pathlib import Path

from matplotlib.figure import Figure

from selfsight import atomic
from selfsight.data.signature import SIGNED


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, cut to what is drawn, as `atomic.write_bytes` does."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", metadata=SIGNED)
    atomic.write_bytes(path, buffer.getvalue())
