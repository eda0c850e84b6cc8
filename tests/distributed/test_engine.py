"""Engine: bf16 is not used where a processor computes wrong gradients with it."""

import pytest
import torch

from making import batch_of, photographs
from selfsight.distributed.engine import bf16_is_sound
from selfsight.encoders import build
from selfsight.tasks.jigsaw import Jigsaw
from selfsight.tasks.pirl import PIRL
from selfsight.tasks.rotation import Rotation


@pytest.mark.parametrize(("side", "sound"), [(8, False), (16, True), (32, True)])
def test_a_strided_convolution_of_one_value_is_no_place_for_bf16(side: int, sound: bool) -> None:
    """The small encoder's last convolution of stride 2 sees an eighth of the picture's side."""
    encoder = build("small", size=32)
    task = Rotation(encoder, encoder.dim, size=side)
    before = {key: value.clone() for key, value in task.state_dict().items()}

    found = bf16_is_sound(task, batch_of("rotation", photographs("rotation", 4)), "cpu")

    assert found == sound
    assert all(torch.equal(value, before[key]) for key, value in task.state_dict().items())


def test_tiles_of_8_px_are_noticed_and_those_of_12_are_not() -> None:
    batch = batch_of("rotation", torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))
    encoder = build("small", size=32)

    assert not bf16_is_sound(PIRL(encoder, encoder.dim, size=32, samples=4), batch, "cpu")
    assert bf16_is_sound(Jigsaw(encoder, encoder.dim, size=32), batch, "cpu")
