"""Critic: a network that tells real pictures from made ones, and the two losses it gives rise to.

Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014, https://arxiv.org/abs/1406.2661:
the critic learns to tell real from made, and what makes pictures learns to be taken for real; of
the two losses of section 3 for the latter, the one that does not saturate. The network is that of
Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks", ICLR 2016, https://arxiv.org/abs/1511.06434, section 3, but for its
normalisation: group normalisation has no running statistics, in which real and made would mix, and
one picture's answer does not depend on the others of its batch.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

WIDTH, WIDEST = 32, 256
GROUP = 16  # channels that are normalised together
SLOPE = 0.2  # of the leaky rectifiers, as in DCGAN
LAST_SIDE = 4  # the map is halved until it is this small


class Judgement(NamedTuple):
    """What a critic makes of real and made pictures.

    Attributes:
        critic: Loss of the critic, in nats; without gradient for what made the pictures. Telling
            nothing costs log 2.
        maker: Loss of what made them, in nats; without gradient for the critic. Taken for real
            half of the time, it is log 2.
        accuracy: Share of pictures, real and made, told rightly, in [0, 1].
    """

    critic: Tensor
    maker: Tensor
    accuracy: Tensor


class Critic(nn.Module):
    """Say of each picture how surely it is real.

    Args:
        channels: C of the pictures.
        size: Their side S, in pixels, at least 4.
        width: Channels after the first convolution; each further one doubles them, up to 256.
    """

    def __init__(self, channels: int, size: int, *, width: int = WIDTH) -> None:
        super().__init__()
        steps: list[nn.Module] = [
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
        ]
        side = size // 2
        while side > LAST_SIDE:
            wider = min(2 * width, WIDEST)
            steps += [
                nn.Conv2d(width, wider, 4, stride=2, padding=1, bias=False),
                nn.GroupNorm(max(1, wider // GROUP), wider),
                nn.LeakyReLU(SLOPE),
            ]
            width, side = wider, side // 2
        self.steps = nn.Sequential(*steps)
        self.answer = nn.Linear(width, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Judge pictures (B, C, S, S): -> logits (B,), above 0 for real."""
        return self.answer(self.steps(pictures).mean(dim=(2, 3)))[:, 0]


def judged(
    critic: nn.Module, real: Tensor, made: Tensor, *, weight: Tensor | None = None
) -> Judgement:
    """Let a critic tell real pictures from made ones, for one step of both sides at once.

    The sum of the two losses has the gradients of two optimisers that step at the same time: made
    pictures reach the critic's loss detached, and the maker's loss sees a critic whose parameters
    are detached.

    Args:
        critic: Maps pictures (B, C, S, S) to logits (B,).
        real: (B, C, S, S).
        made: (B, C, S, S), with the gradient of what made them.
        weight: (B,) by which the maker's loss on each is multiplied; None is 1 for all.
    """
    count = len(real)
    logits = critic(torch.cat([real.detach(), made.detach()])).float()
    frozen = {name: value.detach() for name, value in critic.named_parameters()}
    believed = functional_call(critic, frozen, (made,)).float()
    on_real, on_made = logits[:count], logits[count:]
    doubted = F.softplus(-believed)
    right = torch.cat([on_real > 0, on_made <= 0])
    return Judgement(
        # -log sigmoid(z) = softplus(-z), and -log(1 - sigmoid(z)) = softplus(z).
        critic=(F.softplus(-on_real).mean() + F.softplus(on_made).mean()) / 2,
        maker=(doubted if weight is None else weight * doubted).mean(),
        accuracy=right.float().mean(),
    )
