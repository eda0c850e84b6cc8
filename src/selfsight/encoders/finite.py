"""Finite: refuses weights, batch statistics and features that are NaN or infinite."""

from collections.abc import Mapping

import torch
from torch import Tensor

from selfsight.errors import SelfsightError


def refuse_non_finite(values: Mapping[str, Tensor], owner: str) -> None:
    """Refuse weights or statistics that are NaN or infinite.

    Args:
        values: Tensors by name.
        owner: What they belong to, as the plural subject of the message.

    Raises:
        SelfsightError: Names the first tensor that is not finite.
    """
    if name := first_non_finite(values):
        raise SelfsightError(
            f"{owner} must be finite numbers, and {name} holds NaN or infinity; the network has "
            "diverged or the file belongs to something else. Take an earlier one, or train again "
            "at a lower --rate or with --precision f32"
        )


def refuse_non_finite_features(layers: Mapping[str, Tensor]) -> None:
    """Refuse features that are NaN or infinite.

    Args:
        layers: Features of any shape, by the layer's name.

    Raises:
        SelfsightError: Names the first layer that is not finite.
    """
    if name := first_non_finite(layers):
        raise SelfsightError(
            f"features must be finite, got infinity or NaN in layer {name}; the network has "
            "diverged, so train again at a lower rate or in float32"
        )


def first_non_finite(values: Mapping[str, Tensor]) -> str | None:
    """Find the first of several tensors that is not finite: -> its name, None if all are finite.

    First the sums are checked: a sum is finite only if all its terms are, and it needs one pass, no
    memory and one synchronisation with a GPU. Large terms can overflow a sum too, so if one is not
    finite, the terms themselves are checked.
    """
    real = {name: value for name, value in values.items() if value.is_floating_point()}
    if not real:
        return None
    sums = [value.detach().sum(dtype=torch.float32) for value in real.values()]
    if bool(torch.stack([total.to(sums[0].device) for total in sums]).isfinite().all()):
        return None
    return next((name for name, value in real.items() if not bool(value.isfinite().all())), None)
