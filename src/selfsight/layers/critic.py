"""Critic: a discriminator of real and generated pictures, and the two adversarial losses.

Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014, https://arxiv.org/abs/1406.2661: the
critic learns to tell real pictures from generated ones, and the generator learns to deceive it, by
the loss of section 3 that does not saturate. The network is that of Radford, Metz, Chintala,
"Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks", ICLR
2016, https://arxiv.org/abs/1511.06434, section 3, except for group normalisation: it has no running
statistics that would mix real and generated pictures, and one picture's answer does not depend on
the others of its batch.
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
    """The losses of one step of a critic and a generator.

    Attributes:
        critic: Loss of the critic, in nats, without gradient for the generator. An undecided critic
            costs log 2.
        maker: Loss of the generator, in nats, without gradient for the critic. It is log 2 where
            the critic is undecided.
        accuracy: Share of pictures, real and generated, that the critic classifies correctly, in
            [0, 1].
    """

    critic: Tensor
    maker: Tensor
    accuracy: Tensor


class Critic(nn.Module):
    """Rates how likely each picture is real.

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
    """Compute the losses of a critic and of a generator for one joint step.

    The sum of the two losses has the gradients of two optimisers that step at the same time: the
    generated pictures enter the critic's loss detached, and the generator's loss uses a critic
    whose parameters are detached.

    Args:
        critic: Maps pictures (B, C, S, S) to logits (B,).
        real: (B, C, S, S).
        made: (B, C, S, S) generated pictures, with gradients.
        weight: (B,) weight of each picture in the generator's loss; None is 1 for all.
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
