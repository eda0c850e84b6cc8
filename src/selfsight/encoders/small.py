"""The small encoder: a residual network for pictures of 32 to 96 pixels on a processor.

A 3 x 3 convolution of stride 2 and three stages of one residual block each (He et al., "Deep
Residual Learning for Image Recognition", CVPR 2016, https://arxiv.org/abs/1512.03385, figure 2
left), each stage twice as coarse: strides 2, 4, 8, 16. There is no max-pooling,
which would leave a picture of 32 pixels a map of 8 x 8 after one convolution. Widths are multiples
of 32, which is what a processor's bf16 units take at a time.

timm's own architectures were measured against it; `docs/results/README.md` keeps the table.
"""

from itertools import pairwise
from typing import Any

from timm.models import register_model
from timm.models.resnet import BasicBlock, downsample_avg
from torch import Tensor, nn

from selfsight.encoders.own_architectures import OWN, class_arguments
from selfsight.encoders.staged import Staged

NAME = OWN["small"]
__all__ = ["NAME", "SelfsightSmall", "selfsight_small"]


class SelfsightSmall(Staged):
    """A stem and stages of one residual block each.

    Args:
        in_chans: Channels of the pictures.
        num_classes: Width of the classifier; 0 leaves it out and gives pooled features.
        stem: Channels after the first convolution.
        widths: Channels of the stages.
    """

    def __init__(
        self,
        in_chans: int = 3,
        num_classes: int = 1000,
        stem: int = 32,
        widths: tuple[int, ...] = (64, 128, 128),
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_chans, stem, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(inplace=True),
        )
        channels = [stem, *widths]
        self.stages = nn.ModuleList(
            BasicBlock(
                before, after, stride=2, downsample=downsample_avg(before, after, 1, stride=2)
            )
            for before, after in pairwise(channels)
        )
        names = ["stem", *(f"stages.{i}" for i in range(len(widths)))]
        strides = [2 ** (i + 1) for i in range(len(channels))]
        self._headed(names, channels, strides, num_classes)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Run through stem and stages: -> the map of each, of strides 2, 4, 8, 16."""
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps


@register_model
def selfsight_small(pretrained: bool = False, **arguments: Any) -> SelfsightSmall:
    """Build the small encoder, as `timm.create_model("selfsight_small", ...)` does."""
    return SelfsightSmall(**class_arguments(NAME, pretrained, arguments))
