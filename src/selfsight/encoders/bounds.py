"""Bounds: a network is built no larger than the weights that it is to take.

What a file says of a network may be anything: a million layers, or a picture of a hundred thousand
pixels. Its weights are at hand, so they bound what is worth building.
"""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from selfsight.errors import SelfsightError

# A network may make more than it keeps: heads that are left out again, tables beside the weights.
SLACK, SPARE_TENSORS, SPARE_NUMBERS = 4, 1000, 2**24
# Of any network, where no weights are at hand: the largest of timm's has a tenth of both.
MOST_TENSORS, MOST_NUMBERS = 50_000, 2**35


class TooLarge(SelfsightError):
    """A network that is far larger than what bounds it."""


@contextmanager
def no_larger_than(shapes: Iterable[torch.Size]) -> Generator[None]:
    """Stop the building of modules once they hold far more than tensors of these shapes.

    Raises:
        TooLarge: In place of the module that is too much.
    """
    wanted = list(shapes)
    numbers = sum(shape.numel() for shape in wanted)
    told = (
        f"it asks for a network far larger than its weights, {len(wanted):,} of {numbers:,} numbers"
    )
    with at_most(SLACK * len(wanted) + SPARE_TENSORS, SLACK * numbers + SPARE_NUMBERS, told):
        yield


@contextmanager
def at_most(
    tensors: int = MOST_TENSORS,
    numbers: int = MOST_NUMBERS,
    told: str = "it asks for a network that is larger than any",
) -> Generator[None]:
    """Stop the building of modules once they hold more parameters and buffers than these.

    torch tells of every parameter before its first values are drawn, so little memory is touched.

    Args:
        tensors: How many.
        numbers: Of all of them together.
        told: What is said then.

    Raises:
        TooLarge: In place of the module that is too much.
    """
    seen = [0, 0]

    def count(module: Any, name: str, value: Tensor | None) -> None:
        if value is None:
            return
        seen[0] += 1
        seen[1] += value.numel()
        if seen[0] > tensors or seen[1] > numbers:
            raise TooLarge(told)

    hooks = (
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
