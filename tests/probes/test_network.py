"""Network: a network by the name that the user gave it, and the pictures it takes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from making import timms
from selfsight import encoders
from selfsight.data.pictures.forms.arrays import Arrays
from selfsight.errors import SelfsightError
from selfsight.probes.network import named_network


@pytest.fixture(scope="module")
def encoder() -> encoders.Encoder:
    torch.manual_seed(0)
    return encoders.build("test_resnet", size=16, channels=3).eval()


def test_what_is_no_run_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SelfsightError, match="is not a run"):
        named_network(str(tmp_path))


def arrays(channels: int) -> Arrays:
    return Arrays(f"of {channels}", np.zeros((4, 16, 16, channels), np.uint8))


def test_a_network_of_timm_is_carried_to_channels_there_is_no_way_to(
    encoder: encoders.Encoder,
) -> None:
    network = timms(encoder)

    assert network.seeing(arrays(3), arrays(1)) is network
    assert network.seeing(arrays(1)) is network  # grey is turned to colour when it is read
    carried = network.seeing(arrays(13), None)
    assert carried.channels == 13
    pictures = torch.rand(2, 1, 16, 16)
    assert carried.encoder(pictures.expand(-1, 13, -1, -1)).shape == (2, encoder.dim)
    with pytest.raises(SelfsightError, match="13 channels, and those of of 3 have 3"):
        network.seeing(arrays(13), arrays(3))
