"""Colour codes: a variational autoencoder of colour fields, and a mixture loss to guess its codes.

The autoencoder (Kingma, Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
https://arxiv.org/abs/1312.6114) is conditional: it decodes from the code and from a picture's
features. The loss teaches a mixture to predict codes (Bishop, "Mixture Density Networks", 1994), in
the form of Deshpande et al., https://arxiv.org/abs/1612.01958, section 4, which uses only the
closest component.
"""

import torch.nn.functional as F
from torch import Tensor, nn

SEEDS = 4  # side of the grid that a code is read from and decoded to
BOUND = 6.0  # greatest |log variance| of a code: beyond it the exponential cannot be trained


class Coder(nn.Module):
    """Encodes a field of colours.

    Args:
        latent: Length Z of a code.
        width: Channels of the second convolution, at least 2; the first has half as many.

    Raises:
        ValueError: If the width is below 2.
    """

    def __init__(self, latent: int, width: int) -> None:
        super().__init__()
        if width < 2:
            raise ValueError(f"width of colour codes must be at least 2 channels, got {width}")
        self.field = nn.Sequential(
            nn.Conv2d(2, width // 2, 3, padding=1, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.code = nn.Linear(width * SEEDS**2, 2 * latent)

    def forward(self, field: Tensor) -> tuple[Tensor, Tensor]:
        """Encode fields (B, 2, s, s): -> means and log variances of codes, each (B, Z)."""
        seeds = F.adaptive_avg_pool2d(self.field(field), SEEDS)
        mean, log_variance = self.code(seeds.flatten(1)).float().chunk(2, dim=1)
        return mean, BOUND * (log_variance / BOUND).tanh()


class Painter(nn.Module):
    """Combines a code with a picture's features, from which colours are decoded.

    Args:
        latent: Length Z of a code.
        width: Channels W of the features.
    """

    def __init__(self, latent: int, width: int) -> None:
        super().__init__()
        self.seeds = nn.Linear(latent, width * SEEDS**2)
        # No batch normalisation from here on: colours sampled for metrics must not change it.
        self.mixed = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor, code: Tensor) -> Tensor:
        """Add codes (B, Z) to features (B, W, h, w): -> features of the same shape."""
        seeds = self.seeds(code).unflatten(1, (-1, SEEDS, SEEDS))
        grown = F.interpolate(seeds, size=features.shape[-2:], mode="bilinear", align_corners=False)
        return F.relu(self.mixed(features + grown))


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Compute the KL divergence of normal distributions (B, Z) from N(0, 1): -> (B,) nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


def closest_cost(
    code: Tensor, likely: Tensor, means: Tensor, deviation: float
) -> tuple[Tensor, Tensor]:
    """Compute the negative log likelihood of codes under the closest component of a mixture.

    Args:
        code: (B, Z).
        likely: (B, M) logits of the components.
        means: (B, M, Z) their means.
        deviation: Standard deviation of every component, along every axis.

    Returns:
        (B,) nats, without the constant of the normal density; (B, Z) the closest means.
    """
    means = means.float()
    apart = (means - code[:, None]).square().sum(dim=2)  # (B, M)
    distance, closest = apart.min(dim=1)
    chosen = likely.float().log_softmax(dim=1).gather(1, closest[:, None])[:, 0]
    middles = means.gather(1, closest[:, None, None].expand(-1, 1, means.shape[2]))[:, 0]
    return distance / (2 * deviation**2) - chosen, middles
