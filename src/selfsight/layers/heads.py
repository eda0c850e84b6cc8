"""Projection heads: map an encoder's features to the space in which views are compared.

Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
https://arxiv.org/abs/2002.05709, section 4.2: making views agree removes information, such as
colour. With a head, the head removes it and the features before it keep it; these are probed.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

HeadKind = Literal["none", "linear", "mlp"]


class Head(nn.Sequential):
    """Maps features to the space in which views are compared; its rows are not yet of length 1.

    Args:
        dim: Width D of the features.
        width: Width of the output; ignored for "none", whose output is D wide.
        kind: "none", "linear", or "mlp" for two layers with a ReLU between, D wide as in the paper.
        normalised: Whether the hidden layer has batch normalisation.

    Attributes:
        width: Width of the output.

    Raises:
        ValueError: If there is no such kind, or the width is not positive.
    """

    def __init__(
        self, dim: int, width: int, kind: HeadKind = "mlp", *, normalised: bool = False
    ) -> None:
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        if kind == "none":
            super().__init__()
        elif kind == "linear":
            super().__init__(nn.Linear(dim, width))
        elif kind == "mlp":
            hidden: list[nn.Module] = [nn.Linear(dim, dim, bias=not normalised)]
            hidden += [nn.BatchNorm1d(dim)] if normalised else []
            super().__init__(*hidden, nn.ReLU(inplace=True), nn.Linear(dim, width))
        else:
            raise ValueError(f"head must be none, linear or mlp, got {kind!r}")
        self.width = dim if kind == "none" else width


def of_length_1(rows: Tensor) -> Tensor:
    """Scale rows (N, width) to length 1, in float32, so that their products are cosines."""
    return F.normalize(rows.float(), dim=1)
