"""Probe curve: the accuracy of probes during a training, from the untrained network on."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from selfsight.looks.figure import save_figure

TITLES = {"linear": "linear probe", "knn": "k-NN"}


def draw_curve(
    rows: Sequence[dict[str, float]], path: Path, *, chance: float | None = None
) -> None:
    """Draw accuracy over steps into a .png file, a panel for each probe, a line for each layer.

    Args:
        rows: Rows of metrics.csv; those without a probe are skipped.
        path: The picture's place.
        chance: Accuracy of always answering with the largest class, in [0, 1].
    """
    probed = [row for row in rows if "probe.linear" in row]
    figure = Figure(figsize=(10, 4.2), dpi=110, layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, len(TITLES), sharey=True))
    for panel, (kind, title) in zip(panels, TITLES.items(), strict=True):
        _draw_panel(panel, probed, kind, chance)
        panel.set_title(title)
    panels[0].set_ylabel("accuracy in %")
    panels[-1].legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    save_figure(figure, path)


def _draw_panel(
    panel: Axes, probed: Sequence[dict[str, float]], kind: str, chance: float | None
) -> None:
    """Draw one probe's lines; steps stand on a logarithmic axis with a place for 0."""
    steps = [row["step"] for row in probed]
    layers = [name for name in probed[0] if name.startswith(f"probe.{kind}.")] if probed else []
    for number, name in enumerate(layers):
        shade = str(0.8 - 0.6 * number / max(1, len(layers) - 1))  # deeper layers are darker
        label = name.removeprefix(f"probe.{kind}.")
        shares = [100 * row[name] for row in probed]
        panel.plot(steps, shares, color=shade, marker=".", linewidth=1, label=label)
    best = [100 * row[f"probe.{kind}"] for row in probed]
    panel.plot(steps, best, color="tab:blue", linewidth=2, label="best by validation")
    if best:
        panel.axhline(best[0], color="tab:orange", linestyle="--", label="best, before training")
    if chance is not None:
        panel.axhline(100 * chance, color="tab:red", linestyle=":", label="chance")
    least = min((step for step in steps if step > 0), default=1)
    panel.set_xscale("symlog", linthresh=least)
    panel.set_xlim(left=0)
    panel.set_xlabel("step (0: before training)")
