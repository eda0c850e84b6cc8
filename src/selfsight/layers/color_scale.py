"""Colour scale: a and b of CIELAB as two numbers, in units of the spread of the data's colours.

In these units, always answering the mean colour costs a squared error of 1, whatever the data.
Colours lie along the last dimension: (..., 2).
"""

import torch
from torch import Tensor, nn

USUAL = 20.0  # spread of a and b in photographs: root mean square distance from their mean


class ColorScale(nn.Module):
    """Colours as two numbers: the cost of an error, and decoding back to a and b.

    Attributes:
        channels: Channels of an answer: 2.
        blind: Cost of the best constant guess: 1, the variance in its own units.
    """

    channels = 2
    blind = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(2))
        self.deviation: Tensor
        self.register_buffer("deviation", torch.tensor(USUAL))

    @torch.no_grad()
    def look_at(self, ab: Tensor) -> Tensor:
        """Measure the mean and spread of colours (n, 2): -> (2,) zeros, the best first guess."""
        self.mean.copy_(ab.mean(dim=0))
        self.deviation.copy_((ab - self.mean).square().sum(dim=1).mean().sqrt().clamp(min=1.0))
        return torch.zeros(2)

    def scaled(self, ab: Tensor) -> Tensor:
        """Convert a and b (..., 2) to the scale."""
        return (ab - self.mean) / self.deviation

    def costs(self, answer: Tensor, ab: Tensor) -> Tensor:
        """Compare an answer (..., 2) on the scale with colours (..., 2): -> (...) squared error."""
        return (answer.float() - self.scaled(ab)).square().sum(dim=-1)

    def decoded(self, answer: Tensor) -> Tensor:
        """Convert answers (..., 2) back to a and b."""
        return answer.float() * self.deviation + self.mean
