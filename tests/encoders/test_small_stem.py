"""Small stems: timm's ResNet except for the first convolution and the max-pooling."""

import timm
import torch
from torch import nn

from selfsight.encoders import build


@torch.no_grad()
def test_it_is_timms_network_with_the_stem_replaced() -> None:
    encoder = build("resnet18_small", size=32).eval()
    plain = timm.create_model("resnet18", num_classes=0)
    plain.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    plain.maxpool = nn.Identity()
    plain.load_state_dict(encoder.model.state_dict(), strict=True)
    plain.eval()
    pictures = torch.rand(2, 3, 32, 32)

    assert torch.equal(encoder(pictures), plain((pictures - 0.5) / 0.25))


@torch.no_grad()
def test_maps_keep_the_pictures_size_at_first() -> None:
    encoder = build("resnet18_small", size=32, channels=4).eval()
    maps = encoder.layers(torch.rand(1, 4, 32, 32))

    assert tuple(maps) == encoder.layer_names == ("act1", "layer1", "layer2", "layer3", "layer4")
    assert tuple(encoder.layer_strides.values()) == (1, 1, 2, 4, 8)
    assert [tuple(m.shape[1:]) for m in maps.values()] == [
        (64, 32, 32),
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
    ]


def test_depths_are_those_of_the_name() -> None:
    with torch.device("meta"):
        blocks = {
            name: [len(getattr(timm.create_model(name), f"layer{i}")) for i in (1, 2, 3, 4)]
            for name in ("resnet18_small", "resnet34_small", "resnet50_small")
        }

    assert blocks["resnet18_small"] == [2, 2, 2, 2]
    assert blocks["resnet34_small"] == blocks["resnet50_small"] == [3, 4, 6, 3]


def test_the_deep_one_has_bottlenecks() -> None:
    assert build("resnet50_small", size=16).dim == 2048
