"""Residual networks with a small stem, for pictures of about 32 to 64 pixels.

timm's ResNet with its 7 x 7 convolution of stride 2 replaced by a 3 x 3 one of stride 1, and
without the max-pooling after it, so that a picture of 32 pixels still has a map of 4 x 4 at the
end: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations" (SimCLR),
ICML 2020, https://arxiv.org/abs/2002.05709, appendix B.9. The weights keep the names that timm's
ResNet gives them. On the same picture the stages cost 16 times what the usual ones do.
"""

from typing import Any

from timm.models import register_model
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn

from selfsight.encoders.own_architectures import class_arguments

__all__ = ["SmallStemResNet", "resnet18_small", "resnet34_small", "resnet50_small"]


class SmallStemResNet(ResNet):
    """timm's ResNet whose stem keeps the picture's size.

    Args:
        block: The residual block.
        layers: Blocks of each of the four stages.
        in_chans: Channels of the pictures.
        **arguments: Of timm's ResNet.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: tuple[int, ...],
        in_chans: int = 3,
        **arguments: Any,
    ) -> None:
        super().__init__(block, layers, in_chans=in_chans, **arguments)  # pyright: ignore[reportArgumentType] -- timm writes Tuple where it takes any length
        width = self.conv1.out_channels
        self.conv1 = nn.Conv2d(in_chans, width, 3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.maxpool = nn.Identity()
        for entry, reduction in zip(self.feature_info, (1, 1, 2, 4, 8), strict=True):
            entry["reduction"] = reduction


@register_model
def resnet18_small(pretrained: bool = False, **arguments: Any) -> SmallStemResNet:
    """Build ResNet-18 with the small stem."""
    return _network("resnet18_small", BasicBlock, (2, 2, 2, 2), pretrained, arguments)


@register_model
def resnet34_small(pretrained: bool = False, **arguments: Any) -> SmallStemResNet:
    """Build ResNet-34 with the small stem."""
    return _network("resnet34_small", BasicBlock, (3, 4, 6, 3), pretrained, arguments)


@register_model
def resnet50_small(pretrained: bool = False, **arguments: Any) -> SmallStemResNet:
    """Build ResNet-50 with the small stem."""
    return _network("resnet50_small", Bottleneck, (3, 4, 6, 3), pretrained, arguments)


def _network(
    name: str,
    block: type[BasicBlock] | type[Bottleneck],
    layers: tuple[int, ...],
    pretrained: bool,
    arguments: dict[str, Any],
) -> SmallStemResNet:
    whole: dict[str, Any] = {"block": block, "layers": layers}
    return SmallStemResNet(**(whole | class_arguments(name, pretrained, arguments)))
