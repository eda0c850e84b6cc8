"""Bounds: a network read from a file is built only up to the size of its weights.

A file may describe any network: a million layers, or one for pictures a hundred thousand pixels
wide. The size of the weights beside it limits what is built.
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

# While it is built a network may hold more than in the end: heads that are removed again, tables.
SLACK, SPARE_TENSORS, SPARE_NUMBERS = 4, 1000, 2**24
# Limits where there are no weights: timm's largest network has a tenth of both.
MOST_TENSORS, MOST_NUMBERS = 50_000, 2**35


class TooLarge(SelfsightError):
    """A network is far larger than its limit."""


@contextmanager
def no_larger_than(shapes: Iterable[torch.Size]) -> Generator[None]:
    """Stop the building of modules once they hold far more than tensors of these shapes.

    Raises:
        TooLarge: When a module exceeds the limit.
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

    torch reports every parameter before its first values are drawn, so little memory is used.

    Args:
        tensors: Greatest number of tensors.
        numbers: Greatest number of values in all of them together.
        told: The message of the error.

    Raises:
        TooLarge: When a module exceeds the limit.
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
