"""AlexNet with batch normalisation: the network in which the first pretext tasks were compared.

Five convolutions of 96, 256, 384, 384 and 256 filters (Krizhevsky, Sutskever, Hinton, "ImageNet
Classification with Deep Convolutional Neural Networks", NeurIPS 2012,
https://doi.org/10.1145/3065386) in one group, each followed by batch normalisation and a ReLU
instead of local response normalisation, as Caron et al., "Deep Clustering for Unsupervised Learning
of Visual Features", ECCV 2018, https://arxiv.org/abs/1807.05520, section 4 use it (Gidaris et al.,
"Unsupervised Representation Learning by Predicting Image Rotations", ICLR 2018, has the same layout
with 64 and 192 filters first). Max-pooling of 3 x 3, stride 2, follows conv1 and conv2.

We depart from both after conv5: the maps are averaged over the picture instead of max-pooled to
6 x 6 and passed through two fully connected layers, so that pictures may have any size.

The named layers are `conv1` to `conv5`: each after its ReLU and before any pooling, where linear
probes read them (Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016, section 3.2).
"""

from typing import Any

from timm.models import register_model
from torch import Tensor, nn

from selfsight.encoders.own_architectures import OWN, class_arguments
from selfsight.encoders.staged import Staged

NAME = OWN["alexnet"]
WIDTHS = (96, 256, 384, 384, 256)
# The last maps are as large as their 3 x 3 filters from here on: 63 -> 15, pooled 7, pooled 3.
LEAST_SIDE = 63
__all__ = ["LEAST_SIDE", "NAME", "WIDTHS", "SelfsightAlexNet", "selfsight_alexnet"]


class SelfsightAlexNet(Staged):
    """Five convolutions, two poolings between them, and an average over the picture.

    Args:
        in_chans: Channels of the pictures.
        num_classes: Width of the classifier; 0 leaves it out and gives pooled features.
        widths: Filters of the five convolutions.
    """

    def __init__(
        self,
        in_chans: int = 3,
        num_classes: int = 1000,
        widths: tuple[int, int, int, int, int] = WIDTHS,
    ) -> None:
        super().__init__()
        self.conv1 = _convolution(in_chans, widths[0], 11, stride=4, padding=2)
        self.conv2 = _convolution(widths[0], widths[1], 5, padding=2)
        self.conv3 = _convolution(widths[1], widths[2], 3, padding=1)
        self.conv4 = _convolution(widths[2], widths[3], 3, padding=1)
        self.conv5 = _convolution(widths[3], widths[4], 3, padding=1)
        self.pool = nn.MaxPool2d(3, stride=2)
        names = [f"conv{i}" for i in range(1, 6)]
        self._headed(names, widths, (4, 8, 16, 16, 16), num_classes)
        self._initialise()

    def _initialise(self) -> None:
        """Draw weights that keep the gradient's variance through ReLUs.

        He et al., "Delving Deep into Rectifiers", ICCV 2015, https://arxiv.org/abs/1502.01852,
        equation 14; the biases stay with batch normalisation.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def maps(self, x: Tensor) -> list[Tensor]:
        """Run through the layers: -> the maps of all five, 55, 27, 13, 13, 13 a side for 224 px."""
        side = min(x.shape[-2:])
        if side < LEAST_SIDE:
            raise ValueError(f"AlexNet needs pictures of at least {LEAST_SIDE} px, got {side}")
        first = self.conv1(x)
        second = self.conv2(self.pool(first))
        third = self.conv3(self.pool(second))
        fourth = self.conv4(third)
        return [first, second, third, fourth, self.conv5(fourth)]


def _convolution(before: int, after: int, kernel: int, **arguments: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, bias=False, **arguments),  # pyright: ignore[reportArgumentType] -- stride and padding only
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


@register_model
def selfsight_alexnet(pretrained: bool = False, **arguments: Any) -> SelfsightAlexNet:
    """Build AlexNet, as `timm.create_model("selfsight_alexnet", ...)` does."""
    return SelfsightAlexNet(**class_arguments(NAME, pretrained, arguments))
