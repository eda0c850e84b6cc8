"""Features: how maps are pooled, and that one pass gives every layer."""

import pytest
import torch
from torch import Tensor, nn

from making import Stored
from selfsight.probes.features import Pixels, grid, pooled, stream_features, stream_maps


class Halver(nn.Module):
    """Two layers: the picture at half its side, and the mean over it."""

    layer_names = ("half", "mean")

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.frozen = nn.Dropout(0.5).eval()
        self.passes = 0

    def layers(self, images: Tensor) -> dict[str, Tensor]:
        self.passes += 1
        half = nn.functional.avg_pool2d(self.norm(images), 2)
        return {"half": half, "mean": half.mean(dim=(2, 3), keepdim=True)}


def test_the_grid_is_the_largest_that_fits() -> None:
    assert grid(512, 4, 2048) == 2  # 512 * 2 * 2 = 2048
    assert grid(513, 4, 2048) == 1
    assert grid(3, 32, 2048) == 26  # 3 * 26 * 26 = 2028
    assert grid(8, 4, 2048) == 4  # never finer than the map
    assert grid(3000, 4, 2048) == 1  # a number a channel stays


def test_a_map_is_averaged_by_quarters() -> None:
    layer = torch.arange(16.0).view(1, 1, 4, 4)

    assert pooled(layer, 4).tolist() == [[2.5, 4.5, 10.5, 12.5]]
    assert pooled(layer, 1).tolist() == [[7.5]]


def test_batches_come_in_order_from_one_pass_each() -> None:
    images = torch.randint(0, 256, (7, 3, 8, 8), dtype=torch.uint8)
    rows = torch.tensor([6, 0, 3, 3, 1])
    network = Halver()

    batches = list(stream_features(network, Stored(images), rows, batch=2))

    assert network.passes == 3
    mean = torch.cat([batch["mean"] for batch in batches])
    expected = images[rows].float().mean(dim=(2, 3)) / 255 / (1 + network.norm.eps) ** 0.5
    torch.testing.assert_close(mean, expected)
    assert batches[0]["half"].shape == (2, 3 * 4 * 4)
    assert all(features.dtype == torch.float32 for features in batches[0].values())


def test_modes_and_statistics_are_left_as_they_were() -> None:
    network = Halver()
    before = {name: value.clone() for name, value in network.state_dict().items()}

    for _ in stream_maps(network, Stored(torch.rand(4, 3, 8, 8)), torch.arange(4), batch=2):
        assert not network.norm.training
        assert not torch.is_inference_mode_enabled()  # the caller's own code is not covered

    assert network.norm.training
    assert not network.frozen.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_bfloat16_comes_back_as_float32() -> None:
    class Convolution(nn.Module):
        layer_names = ("conv",)

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def layers(self, images: Tensor) -> dict[str, Tensor]:
            return {"conv": self.conv(images)}

    network, images = Convolution(), torch.rand(2, 3, 8, 8)
    exact = next(stream_features(network, Stored(images), torch.arange(2)))["conv"]
    rough = next(stream_features(network, Stored(images), torch.arange(2), precision="bf16"))[
        "conv"
    ]

    assert rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    torch.testing.assert_close(exact, rough, atol=0.03, rtol=0.03)


def test_pixels_survive_pooling_to_one() -> None:
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    pixels = Pixels(3, 4)

    (features,) = stream_features(pixels, Stored(images), torch.arange(2), most=1)

    assert pixels.dim == 48
    torch.testing.assert_close(features["pixels"], images.flatten(1) / 255)
    torch.testing.assert_close(pixels(images / 255), features["pixels"])


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 sample, got 0"):
        next(stream_maps(Pixels(3, 4), Stored(torch.rand(1, 3, 4, 4)), torch.arange(1), batch=0))
