"""Subject: a network by name, and what it says of pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight import encoders
from selfsight.data.pictures.forms.arrays import Arrays
from selfsight.errors import SelfsightError, UsageError
from selfsight.probes.features import Pixels
from selfsight.probes.subject import Subject, check_layer, encoded, seen, subject_of


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
    assert seen(PICTURES, torch.tensor([2]), 16).equal(PICTURES[2:3].float() / 255)
    half = seen(PICTURES, torch.arange(7), 8)
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


def test_what_is_no_run_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SelfsightError, match="is not a run"):
        subject_of(str(tmp_path))


def arrays(channels: int) -> Arrays:
    return Arrays(f"of {channels}", np.zeros((4, 16, 16, channels), np.uint8))


def test_a_network_of_timm_is_carried_to_channels_there_is_no_way_to(
    encoder: encoders.Encoder,
) -> None:
    subject = Subject("timm:test_resnet", encoder, 16, 0, None, None, None, "cpu")

    assert subject.seeing(arrays(3), arrays(1)) is subject
    assert subject.seeing(arrays(1)) is subject  # grey is turned to colour when it is read
    carried = subject.seeing(arrays(13), None)
    assert carried.channels == 13
    pictures = torch.rand(2, 1, 16, 16)
    assert carried.encoder(pictures.expand(-1, 13, -1, -1)).shape == (2, encoder.dim)
    with pytest.raises(SelfsightError, match="13 channels, and those of of 3 have 3"):
        subject.seeing(arrays(13), arrays(3))
