"""Decoder: predicts from an encoder's maps an answer at every point of a picture.

Every layer's map is projected to one width and scaled to the answer's grid; two small convolutions
read the sum. So an early layer can locate an edge that a late layer recognises. After Hariharan,
Arbelaez, Girshick, Malik, "Hypercolumns for Object Segmentation and Fine-grained Localization",
CVPR 2015, https://arxiv.org/abs/1411.5752, section 3.2, whose figure 3 sums the upsampled maps; the
normalisation and the second layer after the sum are ours.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.encoders import Encoder

WIDTH = 64
FIRST_SPREAD = 0.01  # of the last layer's first weights: the first answer is nearly its bias


class Decoder(nn.Module):
    """Predicts an answer at every point of a grid that covers the picture.

    Args:
        encoder: The encoder whose layers are read; no reference to it is kept.
        channels: Channels of the answer.
        stride: Pixels between neighbouring points of the answer's grid. Layers with a finer grid
            are not read, since their detail could not be used.
        width: Channels of the hidden layers, at least 1.

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
        """Decode the maps (B, C, h, w) of pictures: -> (B, channels, s, s).

        Args:
            maps: The encoder's maps, by layer.
            size: Side S of the pictures, or their height and width, in pixels; s is S over the
                stride, rounded up.
        """
        return self.answer(self.features(maps, size))

    def features(self, maps: dict[str, Tensor], size: int | tuple[int, int]) -> Tensor:
        """Compute the features from which the last layer predicts: -> (B, width, s, s)."""
        sides = (size, size) if isinstance(size, int) else size
        grid = [math.ceil(side / self.stride) for side in sides]
        total = None
        for name, conv in zip(self.layers, self.sides, strict=True):
            scaled = F.interpolate(
                conv(maps[name]), size=grid, mode="bilinear", align_corners=False
            )
            total = scaled if total is None else total + scaled
        return self.joint(total)
