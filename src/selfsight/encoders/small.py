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

from selfsight.encoders.own import OWN, for_the_class

NAME = OWN["small"]
__all__ = ["NAME", "SelfsightSmall", "selfsight_small"]


class SelfsightSmall(nn.Module):
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
        self.num_features = self.head_hidden_size = channels[-1]
        names = ["stem", *(f"stages.{i}" for i in range(len(widths)))]
        self.feature_info = [
            {"module": name, "num_chs": width, "reduction": 2 ** (i + 1)}
            for i, (name, width) in enumerate(zip(names, channels, strict=True))
        ]
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_intermediates(
        self,
        x: Tensor,
        indices: list[int] | None = None,
        intermediates_only: bool = False,
        output_fmt: str = "NCHW",
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Run through the stages, as timm's models do: -> last map, chosen maps (B, C, h, w)."""
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt must be NCHW, got {output_fmt}")
        x = self.stem(x)
        maps = [x]
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        chosen = [maps[i] for i in (range(len(maps)) if indices is None else indices)]
        return chosen if intermediates_only else (x, chosen)

    def forward_features(self, x: Tensor) -> Tensor:
        """Run through the stages: (B, C, S, S) -> (B, D, S / 16, S / 16)."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Pool the last map, and classify if there is a classifier."""
        return self.fc(self.global_pool(self.forward_features(x)))


@register_model
def selfsight_small(pretrained: bool = False, **arguments: Any) -> SelfsightSmall:
    """Build the small encoder, as `timm.create_model("selfsight_small", ...)` does."""
    return SelfsightSmall(**for_the_class(NAME, pretrained, arguments))
