"""Decoder: from an encoder's maps to an answer at every place of the picture.

Every layer's map is brought to one width and to the answer's grid, and their sum is read by two
small convolutions. So an edge can be placed by an early layer and named by a late one. After
Hariharan, Arbelaez, Girshick, Malik, "Hypercolumns for Object Segmentation and Fine-grained
Localization", CVPR 2015, https://arxiv.org/abs/1411.5752, section 3.2, whose upsampled maps are
added up as in its figure 3; after the sum, normalisation and a second layer are ours.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.encoders import Encoder

WIDTH = 64
FIRST_SPREAD = 0.01  # of the last layer's weights: the first answer is nearly its bias


class Decoder(nn.Module):
    """Answer at every place of a grid that covers the picture.

    Args:
        encoder: Whose layers are read; it is not kept.
        channels: Of the answer.
        stride: Pixels of the picture a step of the answer's grid. Layers finer than it are not
            read: they would have to be thrown away again.
        width: Channels in between, at least 1.

    Raises:
        ValueError: If the width is below 1.
    """

    def __init__(self, encoder: Encoder, channels: int, *, stride: int, width: int = WIDTH) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width of the decoder must be at least 1 channel, got {width}")
        coarsest = max(encoder.layer_strides.values())
        self.stride = stride
        self.layers = tuple(
            name
            for name in encoder.layer_names
            if encoder.layer_strides[name] >= min(stride, coarsest)
        )
        self.sides = nn.ModuleList(
            nn.Conv2d(encoder.layer_channels[name], width, 1, bias=False) for name in self.layers
        )
        self.joint = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.answer = nn.Conv2d(width, channels, 1)
        nn.init.normal_(self.answer.weight, std=FIRST_SPREAD)
        nn.init.zeros_(self.answer.bias)  # pyright: ignore[reportArgumentType] -- it has one

    def forward(self, maps: dict[str, Tensor], size: int | tuple[int, int]) -> Tensor:
        """Decode the maps (B, C, h, w) of a picture: -> (B, channels, s, s).

        Args:
            maps: The encoder's, by layer.
            size: Side S of the picture, or its height and width, in pixels; s is S over the
                stride, rounded up.
        """
        return self.answer(self.features(maps, size))

    def features(self, maps: dict[str, Tensor], size: int | tuple[int, int]) -> Tensor:
        """Give what the answer is read from: -> (B, width, s, s)."""
        sides = (size, size) if isinstance(size, int) else size
        grid = [math.ceil(side / self.stride) for side in sides]
        total = None
        for name, conv in zip(self.layers, self.sides, strict=True):
            scaled = F.interpolate(
                conv(maps[name]), size=grid, mode="bilinear", align_corners=False
            )
            total = scaled if total is None else total + scaled
        return self.joint(total)
