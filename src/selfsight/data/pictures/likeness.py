"""Likeness: whether pictures differ by enough to be told apart at all."""

from torch import Tensor

ALIKE_STEPS = 1.0  # of brightness, as stored: pictures that differ by less are all alike


def likeness_warning(pictures: Tensor, *, bits: int = 8) -> str | None:
    """Say that pictures are all alike, from the pictures alone; None where they are not.

    Args:
        pictures: (N, C, S, S) in [0, 1], at least 2.
        bits: Depth of a stored sample, which says how small a step of brightness is.
    """
    away = pictures.float() - pictures.float().mean(dim=0)
    steps = float(away.square().mean().sqrt()) * (2**bits - 1)
    if steps >= ALIKE_STEPS:
        return None
    ranges = pictures.amax(dim=(0, 2, 3)) - pictures.amin(dim=(0, 2, 3))  # of each channel
    kind = "of one plain colour" if float(ranges.max()) < 1 / 255 else "copies of one"
    return (
        f"The pictures are all alike ({kind}): the {len(pictures):,} examined differ by "
        f"{steps:.2f} of {2**bits - 1:,} steps of brightness, so no network can tell them apart."
    )
