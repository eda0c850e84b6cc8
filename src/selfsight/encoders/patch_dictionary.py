"""Patch dictionary: a single layer of patch features, learned by clustering without gradients.

A patch of the picture is scaled to mean 0 and deviation 1, whitened, and compared with a dictionary
of centroids c_k. With z its whitened pixels and d_k = |z - c_k|, its features are

    f_k = max(0, mean_j d_j - d_k):

how much nearer a centroid is than centroids are on average, and 0 for those that are further away,
about half of them. Features are averaged over the four quadrants of the picture: Coates, Lee, Ng,
"An Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS 2011,
https://proceedings.mlr.press/v15/coates11a.html, sections 3.1 to 3.3.

It is computed by convolutions. Let p be a patch of D numbers, m their mean and s their deviation,
and let x -> (x - a) W whiten. Subtracting the mean is a product with J = I - 1 1'/D, so that

    z = ((p - m) / s - a) W = (p J W) / s - a W:

one convolution with the D columns of J W, divided by the deviation at every place, less a constant.
The deviations follow from the averages of x and x^2 over every window. With |z - c|^2 =
|z|^2 - 2 z . c + |c|^2 all distances at a place are one further product, a 1 x 1 convolution.

We depart from the paper in the pooling (means instead of sums, so that sizes compare) and in the
number of centroids. Larger pictures are first reduced to the size of CIFAR-10's, so that a picture
of 96 px costs no more and a patch always covers the same share of it.

`tasks/patch_dictionary.py` computes the weights in closed form; no gradient ever changes them. A
new network has random centroids and does not whiten.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from timm.models import register_model
from torch import Tensor, nn

from selfsight.encoders.own_architectures import OWN, class_arguments
from selfsight.encoders.staged import Staged

NAME = OWN["patch-dictionary"]
QUADRANTS = 2  # across and down
# Added to a patch's variance: the paper's 10, for grey levels from 0 to 255, converted to our
# encoders' input, which is in [0, 1] divided by 0.25.
LEAST_VARIANCE = 10 / (0.25 * 255) ** 2
# Pictures computed at a time on a processor, so that their distances fit its cache. A GPU takes
# more.
AT_ONCE = {"cpu": 4}
AT_ONCE_ELSEWHERE = 256
__all__ = ["LEAST_VARIANCE", "NAME", "SelfsightPatchDictionary", "selfsight_patch_dictionary"]


class SelfsightPatchDictionary(Staged):
    """The triangle code of whitened patches, averaged over quadrants.

    Args:
        in_chans: Channels C of the pictures.
        num_classes: Width of the classifier; 0 leaves it out and gives the features.
        centroids: Number K of centroids in the dictionary, at least 2: the features are 4 K wide.
        patch: Side of a patch, in pixels, at least 2.
        stride: Pixels from one patch to the next, at least 1.
        side: Side to which larger pictures are reduced first, in pixels.
    """

    def __init__(
        self,
        in_chans: int = 3,
        num_classes: int = 1000,
        centroids: int = 400,
        patch: int = 6,
        stride: int = 1,
        side: int = 32,
    ) -> None:
        super().__init__()
        if centroids < 2 or patch < 2 or side <= patch:
            raise ValueError(
                "a patch dictionary needs centroids and patch of at least 2 and a side above the "
                f"patch's, got {centroids}, {patch} and {side}"
            )
        self.patch, self.stride, self.side = patch, stride, side
        numbers = in_chans * patch**2  # D
        self.whitening = _kept(torch.eye(numbers))  # W (D, D)
        self.middle = _kept(torch.zeros(numbers))  # a (D,)
        self.centroids = _kept(F.normalize(torch.randn(centroids, numbers), dim=1))  # (K, D)
        self._headed(["quadrants"], [centroids], [side // QUADRANTS], 0)
        self.num_features = self.head_hidden_size = QUADRANTS**2 * centroids
        self.global_pool = nn.Flatten(1)
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def maps(self, x: Tensor) -> list[Tensor]:
        """Encode pictures (B, C, S, S), the network's input: -> the only layer (B, K, 2, 2)."""
        least = self.patch + QUADRANTS - 1
        if min(x.shape[-2:]) < least:
            raise ValueError(
                f"a dictionary of {self.patch} px patches needs pictures of at least {least} px, "
                f"got {min(x.shape[-2:])}"
            )
        filters = self.whitening - self.whitening.mean(dim=0)  # J W
        kernel = filters.T.reshape(-1, x.shape[1], self.patch, self.patch)
        parts = x.split(AT_ONCE.get(x.device.type, AT_ONCE_ELSEWHERE))
        return [torch.cat([self._coded(self.reduced(part), kernel) for part in parts])]

    def reduced(self, x: Tensor) -> Tensor:
        """Reduce pictures larger than `side`: (B, C, S, S) -> (B, C, s, s)."""
        if x.shape[-1] <= self.side:
            return x
        size = (self.side, self.side)
        with _in_full(x):
            return F.interpolate(x.float(), size=size, mode="bilinear", antialias=True)

    def whitened(self, patches: Tensor) -> Tensor:
        """Whiten patches cut from reduced pictures: (N, C, p, p) -> z (N, D) float32."""
        return (standardised_patches(patches.flatten(1)) - self.middle) @ self.whitening

    @torch.no_grad()
    def take(self, middle: Tensor, whitening: Tensor, centroids: Tensor) -> None:
        """Set the dictionary.

        Args:
            middle: (D,) mean a of the standardised patches.
            whitening: (D, D) matrix W that multiplies them after a is subtracted.
            centroids: (K, D) centroids of whitened patches.
        """
        self.middle.copy_(middle)
        self.whitening.copy_(whitening)
        self.centroids.copy_(centroids)

    def _coded(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Encode reduced pictures, with the columns of J W as filters: -> (B, K, 2, 2)."""
        with _in_full(x):
            z = self._whitened_everywhere(x.float(), kernel)  # (B, h, w, D)
            lengths = self.centroids.square().sum(dim=1)
            # |c|^2 - 2 z . c in one product; in bfloat16 the differences of distances are lost.
            squared = torch.addmm(lengths, z.flatten(0, 2), self.centroids.T, alpha=-2)
            squared = squared.view(*z.shape[:3], -1).add_(z.square().sum(dim=3, keepdim=True))
            return _triangle(squared.clamp_(min=0).sqrt_())

    def _whitened_everywhere(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Whiten the patch at every place: (B, C, s, s) -> z (B, h, w, D)."""
        x = x.contiguous(memory_format=torch.channels_last)
        z = F.conv2d(x, kernel, stride=self.stride) * self._scales(x)
        return z.permute(0, 2, 3, 1) - self.middle @ self.whitening

    def _scales(self, x: Tensor) -> Tensor:
        """Find 1 / s of the patch at every place: (B, C, s, s) -> (B, 1, h, w)."""
        # Centred on each picture's mean: far from it, the difference of squares would lose digits.
        x = x - x.mean(dim=(1, 2, 3), keepdim=True)
        sums = torch.cat([x.mean(dim=1, keepdim=True), x.square().mean(dim=1, keepdim=True)], dim=1)
        mean, square = F.avg_pool2d(sums, self.patch, stride=self.stride).chunk(2, dim=1)
        return _scale(square - mean.square(), len(self.middle))


def standardised_patches(rows: Tensor) -> Tensor:
    """Scale flattened patches (N, D) to mean 0 and deviation about 1: -> (N, D) float32."""
    centred = rows.float() - rows.float().mean(dim=1, keepdim=True)
    return centred * _scale(centred.square().mean(dim=1, keepdim=True), rows.shape[1])


def _scale(variance: Tensor, numbers: int) -> Tensor:
    """Turn the variance of `numbers` values into the factor that standardises them.

    The unbiased sample variance is used, as in the authors' program.
    """
    return (variance.clamp(min=0) * (numbers / (numbers - 1)) + LEAST_VARIANCE).rsqrt()


def _triangle(distances: Tensor) -> Tensor:
    """Turn distances (B, h, w, K), which are overwritten, into means of the code: (B, K, 2, 2).

    max(0, m - d) is m - min(d, m), and the mean of m over a quadrant is one number.
    """
    mean = distances.mean(dim=3, keepdim=True)
    shares = _shares(distances.shape[1], distances.shape[2], distances.device)
    nearer = shares @ distances.clamp_(max=mean).flatten(1, 2)  # (B, 4, K)
    code = shares @ mean.flatten(1, 2) - nearer
    return code.transpose(1, 2).unflatten(2, (QUADRANTS, QUADRANTS))


def _shares(height: int, width: int, device: torch.device) -> Tensor:
    """Give each place's weight in each quadrant's mean: -> (4, h w); a middle row is in both."""
    down, across = (_halves(count, device) for count in (height, width))
    return torch.einsum("ah,bw->abhw", down, across).flatten(2).flatten(0, 1)


def _halves(count: int, device: torch.device) -> Tensor:
    """Give the weight of each place of a line in the mean of each half: -> (2, count)."""
    half = math.ceil(count / QUADRANTS)
    place = torch.arange(count, device=device)
    return torch.stack([place < half, place >= count - half]).float() / half


def _in_full(x: Tensor) -> AbstractContextManager[Any]:
    """Compute in float32 regardless of autocast, which the meta device does not have."""
    if x.device.type == "meta":
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def _kept(values: Tensor) -> nn.Parameter:
    """Make values into weights without gradients."""
    return nn.Parameter(values, requires_grad=False)


@register_model
def selfsight_patch_dictionary(
    pretrained: bool = False, **arguments: Any
) -> SelfsightPatchDictionary:
    """Build the dictionary, as `timm.create_model("selfsight_patch_dictionary", ...)` does."""
    return SelfsightPatchDictionary(**class_arguments(NAME, pretrained, arguments))
