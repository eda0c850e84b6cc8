"""Whitening: a linear map after which columns are uncorrelated and have equal variance.

With the covariance C = E diag(v) E^T of the rows, x -> diag(v)^(-1/2) E^T (x - mean) gives rows
whose covariance is the identity (PCA whitening); directions of little variance may be dropped.
Rotated back by E it is ZCA whitening, of all whitening maps the one that changes rows least: Bell,
Sejnowski, "The 'independent components' of natural scenes are edge filters", Vision Research 1997,
https://doi.org/10.1016/S0042-6989(97)00121-1.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

BLOCK = 1 << 22  # entries of rows that are centred at once
ROUNDING = 1e-6  # variances below this share of the largest are the rounding of float32


class Whitening(NamedTuple):
    """A map x -> (x - mean) matrix that whitens the rows from which it was computed.

    Attributes:
        mean: (D,) float32.
        matrix: (D, E) float32; a column for each direction that is kept; for ZCA, E = D.
    """

    mean: Tensor
    matrix: Tensor

    @classmethod
    def of(
        cls,
        rows: Tensor,
        *,
        most: int | None = None,
        epsilon: float = 0.0,
        form: Literal["pca", "zca"] = "pca",
    ) -> "Whitening":
        """Compute the map that whitens rows, on their device.

        Args:
            rows: (N, D).
            most: Greatest number of directions kept, those of most variance; None keeps all.
                Directions without variance, for instance of features that are always 0, are never
                kept: whitening would amplify rounding errors.
            epsilon: Added to the variances, so that directions of little variance stay small.
            form: "pca": columns in the order of their variance. "zca": rotated back to the rows'
                own columns.

        Raises:
            ValueError: If `most` is below 1, or epsilon is negative.
        """
        if most is not None and most < 1:
            raise ValueError(f"most must be at least 1 direction, got {most}")
        if not epsilon >= 0:
            raise ValueError(f"epsilon must be a variance, at least 0, got {epsilon}")
        with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
            mean = rows.float().mean(dim=0)
            variances, directions = torch.linalg.eigh(_covariance(rows, mean))
            # Largest first; (D, E) a column a direction.
            variances, directions = variances.flip(0)[:most], directions.flip(1)[:, :most]
            kept = variances > ROUNDING * variances[0]
            scale = (variances.clamp(min=0) + epsilon).rsqrt().where(kept, 0.0)
            matrix = directions * scale
            few = matrix[:, : max(1, int(kept.sum()))]
            matrix = matrix @ directions.T if form == "zca" else few
            return cls(mean, matrix.float().to(rows.device))

    def apply(self, rows: Tensor) -> Tensor:
        """Whiten rows: (N, D) -> (N, E) float32, a block at a time."""
        with torch.autocast(rows.device.type, enabled=False):
            blocks = rows.split(max(1, BLOCK // rows.shape[1]))
            return torch.cat([(block.float() - self.mean) @ self.matrix for block in blocks])


def _covariance(rows: Tensor, mean: Tensor) -> Tensor:
    """Compute the covariance of rows: (N, D) -> (D, D) float64, on the processor.

    Products are float32, their sums over blocks float64.
    """
    total = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
    for block in rows.split(max(1, BLOCK // rows.shape[1])):
        centred = block.float() - mean
        total += (centred.T @ centred).double().cpu()
    return total / len(rows)
