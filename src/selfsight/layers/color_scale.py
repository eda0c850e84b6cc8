"""Colour scale: a and b of CIELAB as two numbers, in units of how far the data's colours spread.

The squared error in these units costs 1 where the mean colour is answered everywhere, whatever the
data. Colours lie along the last dimension: (..., 2).
"""

import torch
from torch import Tensor, nn

USUAL = 20.0  # root mean square of what photographs' a and b differ from their mean by


class ColorScale(nn.Module):
    """Colours as numbers: what an error costs, and the way back.

    Attributes:
        channels: Of an answer: 2.
        blind: What the best constant guess costs: 1, the variance in its own units.
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
        """Take the mean and the spread of colours (n, 2): -> (2,) zeros, the best first guess."""
        self.mean.copy_(ab.mean(dim=0))
        self.deviation.copy_((ab - self.mean).square().sum(dim=1).mean().sqrt().clamp(min=1.0))
        return torch.zeros(2)

    def scaled(self, ab: Tensor) -> Tensor:
        """Bring a and b (..., 2) to the scale."""
        return (ab - self.mean) / self.deviation

    def costs(self, answer: Tensor, ab: Tensor) -> Tensor:
        """Compare an answer (..., 2) on the scale with colours (..., 2): -> (...) squared error."""
        return (answer.float() - self.scaled(ab)).square().sum(dim=-1)

    def decoded(self, answer: Tensor) -> Tensor:
        """Bring answers (..., 2) back to a and b."""
        return answer.float() * self.deviation + self.mean
