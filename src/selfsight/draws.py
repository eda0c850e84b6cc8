"""Draws: randomness that belongs to the sample.

A number drawn here depends on the seed, the epoch, the sample's index and a name, and on nothing
else: not on the batch the sample came in, the worker, the process, the device, or what was drawn
before. So a resumed run sees the crops it would have seen, and two processes see those of one.

There is no state. A counter (sample, column) is scrambled by the finaliser of SplitMix64
(Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014,
https://doi.org/10.1145/2660193.2660195) in int64 tensor arithmetic, which wraps alike on every
device; the key is a cryptographic hash of seed, epoch and name.
"""

import hashlib
import math

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15  # odd, near 2^64 / golden ratio: spreads consecutive counters


def _signed(value: int) -> int:
    """Read 64 unsigned bits as the int64 with the same bits."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shift right as if unsigned: int64's own shift copies the sign bit down."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _scrambled(bits: Tensor) -> Tensor:
    """Apply SplitMix64's finaliser, a bijection of 64 bits in which every input bit matters."""
    bits = (bits ^ _shifted(bits, 30)) * _signed(0xBF58476D1CE4E5B9)
    bits = (bits ^ _shifted(bits, 27)) * _signed(0x94D049BB133111EB)
    return bits ^ _shifted(bits, 31)


def derived_seed(seed: int, name: str, number: int) -> int:
    """Derive a seed of torch's generator for randomness without a sample, such as dropout: 63 bits.

    The sum of a run's seed and a number would equal that of another run and another number.
    """
    return _hashed(f"{seed}/{name}/{number}") >> 1


def _hashed(text: str) -> int:
    """Hash a text to 64 bits, unsigned."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


class Draws:
    """Random numbers for one batch, one row for each sample.

    Args:
        seed: The run's seed.
        epoch: Number of the pass over the data; a fixed number repeats the same draws.
        index: (B,) int64, each sample's place in the data.
    """

    def __init__(self, seed: int, epoch: int, index: Tensor) -> None:
        self.seed = seed
        self.epoch = epoch
        self.index = index

    def _bits(self, name: str, columns: int) -> Tensor:
        """Draw 64 random bits for each sample and column: -> (B, columns) int64."""
        key = _hashed(f"{self.seed}/{self.epoch}/{name}")
        column = torch.arange(1, columns + 1, device=self.index.device)
        row = _scrambled(self.index * _signed(_GOLDEN) + _signed(key))  # (B,)
        return _scrambled(row[:, None] + column * _signed(_GOLDEN))

    def uniform(self, name: str, columns: int) -> Tensor:
        """Draw uniformly from [0, 1): -> (B, columns) float32, multiples of 2^-24.

        Args:
            name: What the numbers are for. Another name gives independent numbers.
            columns: How many numbers a sample gets. Asking for more keeps the first ones.
        """
        return _shifted(self._bits(name, columns), 40).float() * 2.0**-24

    def normal(self, name: str, columns: int) -> Tensor:
        """Draw from the standard normal distribution, by Box and Muller: -> (B, columns) float32.

        The device's own logarithm and cosine are used, so the last bits may differ across devices.
        """
        both = self.uniform(name, 2 * columns)
        first, second = both[:, ::2], both[:, 1::2]
        radius = (-2 * torch.log1p(-first)).sqrt()  # log1p(-u) is finite for u in [0, 1)
        return radius * torch.cos(2 * math.pi * second)

    def order(self, name: str) -> Tensor:
        """Draw a random order of the samples: -> (B,) int64, the positions sorted by their draw."""
        return self._bits(name, 1)[:, 0].argsort(stable=True)
