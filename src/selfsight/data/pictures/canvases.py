"""Canvases: pictures on squares of one size, wherever they are stored.

In memory they are a plain tensor. What does not fit is in a map in the cache folder, or is decoded
again whenever it is needed; both of these are `Canvases`, which are indexed like a tensor, by a
tensor of rows.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from selfsight.data.pictures.scaling import convertible, with_bits, with_channels
from selfsight.data.samples import Skipped
from selfsight.data.source import Unreadable

DTYPES = {8: torch.uint8, 16: torch.uint16}


class Taken(NamedTuple):
    """Some pictures.

    Attributes:
        images: (B, C, S, S) uint8 or uint16; a picture lies top left, black beyond it.
        extent: (B, 2) int64, height and width of the picture on its canvas, in pixels.
        rows: (B,) int64, their true rows: a broken picture is replaced by another.
    """

    images: Tensor
    extent: Tensor
    rows: Tensor


class Form(NamedTuple):
    """The form that all pictures of a data set are converted to.

    Attributes:
        channels: Channels C of each.
        bits: Bits of a sample, 8 or 16.
    """

    channels: int
    bits: int

    @classmethod
    def of(cls, pixels: Tensor) -> "Form":
        """Give the form of a picture (C, H, W)."""
        return cls(len(pixels), 8 if pixels.dtype == torch.uint8 else 16)

    def joined(self, other: "Form") -> "Form":
        """Find the form that holds both without loss: grey becomes colour, 8 bits 16.

        Raises:
            Unreadable: If there is no such form.
        """
        if not convertible(self.channels, other.channels):
            raise Unreadable(
                f"{other.channels} channels, and the pictures before it have {self.channels}"
            )
        return Form(max(self.channels, other.channels), max(self.bits, other.bits))

    def brought(self, pixels: Tensor) -> Tensor:
        """Convert a picture to this form: (C, H, W) -> (channels, H, W)."""
        return with_bits(with_channels(pixels, self.channels), self.bits)

    def bytes_each(self, side: int) -> int:
        """Give the bytes of a canvas of this side."""
        return self.channels * side * side * self.bits // 8


class Canvases(ABC):
    """Pictures that are fetched when they are needed.

    Attributes:
        shape: (N, C, S, S).
        dtype: torch.uint8 or torch.uint16.
    """

    shape: tuple[int, int, int, int]
    dtype: torch.dtype

    @property
    def broken(self) -> dict[int, Skipped]:
        """List the pictures that proved unreadable since, by their rows."""
        return {}

    @property
    def former_fingerprint(self) -> str | None:
        """Give the fingerprint as runs without an imprint have it, where that was another."""
        return None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.taken(rows).images

    @abstractmethod
    def taken(self, rows: Tensor) -> Taken:
        """Fetch the pictures of `rows` (B,) int64, in that order."""
