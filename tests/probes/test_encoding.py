"""Encoding: one vector for each picture, in the order asked, from the layer asked."""

import pytest
import torch

from selfsight import encoders
from selfsight.errors import UsageError
from selfsight.probes.encoding import check_layer, encoded, scaled_to_size
from selfsight.probes.features import Pixels


@pytest.fixture(scope="module")
def encoder() -> encoders.Encoder:
    torch.manual_seed(0)
    return encoders.build("test_resnet", size=16, channels=3).eval()


PICTURES = torch.randint(0, 256, (7, 3, 16, 16), dtype=torch.uint8)


def test_features_come_in_the_order_asked_batch_by_batch(encoder: encoders.Encoder) -> None:
    rows = torch.tensor([6, 0, 3])
    parts = list(encoded(encoder, PICTURES, rows, size=16, batch=2))

    assert [len(part) for part in parts] == [2, 1]
    with torch.no_grad():
        expected = encoder(PICTURES[rows].float() / 255)
    assert torch.cat(parts).allclose(expected, atol=1e-5)


def test_a_layer_is_averaged_over_its_map(encoder: encoders.Encoder) -> None:
    name = encoder.layer_names[1]
    said = next(encoded(encoder, PICTURES, torch.arange(7), size=16, layer=name))
    with torch.no_grad():
        expected = encoder.layers(PICTURES.float() / 255)[name].mean(dim=(2, 3))

    assert said.allclose(expected, atol=1e-5)


def test_a_change_comes_before_the_network() -> None:
    pixels = Pixels(3, 16)
    dark = next(encoded(pixels, PICTURES, torch.arange(2), size=16, change=lambda x: 0 * x))

    assert dark.abs().max() == 0


def test_other_sizes_are_scaled_and_right_ones_left_alone() -> None:
    assert scaled_to_size(PICTURES, torch.tensor([2]), 16).equal(PICTURES[2:3].float() / 255)
    half = scaled_to_size(PICTURES, torch.arange(7), 8)
    assert half.shape == (7, 3, 8, 8)
    assert half.mean().item() == pytest.approx(PICTURES.float().mean().item() / 255, abs=0.01)


def test_the_network_keeps_the_mode_it_had(encoder: encoders.Encoder) -> None:
    encoder.train()
    list(encoded(encoder, PICTURES, torch.arange(2), size=16))

    assert all(part.training for part in encoder.modules())


def test_an_unknown_layer_lists_those_there_are(encoder: encoders.Encoder) -> None:
    with pytest.raises(UsageError, match=f"unknown layer 'top'.*{encoder.layer_names[0]}"):
        check_layer(encoder, "top")
    check_layer(encoder, None)
