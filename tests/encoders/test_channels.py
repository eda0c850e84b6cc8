"""Channels: a trained encoder on pictures with another number of channels."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch

from selfsight.encoders import Encoder, adapted, build, load, save
from selfsight.encoders.encoder import averaged
from selfsight.errors import SelfsightError, UsageError

SIDE = 32
FIRST = {"small": "stem.0.weight", "vit_tiny_patch16_224": "patch_embed.proj.weight"}


def trained(name: str = "small", *, channels: int = 3) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(name, size=SIDE, channels=channels).eval()


@pytest.mark.parametrize("name", FIRST)
def test_filters_are_summed_for_one_channel_and_else_repeated_and_scaled(name: str) -> None:
    encoder = trained(name)
    filters = encoder.model.state_dict()[FIRST[name]]

    one = adapted(encoder, 1).model.state_dict()
    many = adapted(encoder, 13).model.state_dict()

    assert torch.allclose(one[FIRST[name]], filters.sum(dim=1, keepdim=True))
    for channel in range(13):
        expected = filters[:, channel % 3] * 3 / 13
        assert torch.allclose(many[FIRST[name]][:, channel], expected)


def test_every_other_weight_stays() -> None:
    encoder = trained()
    state = adapted(encoder, 4).model.state_dict()

    others = {k: v for k, v in encoder.model.state_dict().items() if k != FIRST["small"]}
    assert all(torch.equal(state[key], value) for key, value in others.items())


@torch.no_grad()
@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 3), (1, 13), (3, 6)])
def test_a_grey_picture_keeps_its_features(before: int, after: int) -> None:
    encoder = trained(channels=before)
    grey = torch.rand(2, 1, SIDE, SIDE)

    found = adapted(encoder, after)(grey.expand(-1, after, -1, -1))

    assert torch.allclose(found, encoder(grey.expand(-1, before, -1, -1)), atol=1e-4)


def test_mean_and_deviation_become_their_averages() -> None:
    encoder = build("small", size=SIDE, mean=(0.1, 0.2, 0.6), deviation=(0.2, 0.3, 0.4))
    recipe = adapted(encoder, 2).recipe

    assert recipe.mean == pytest.approx((0.3, 0.3))
    assert recipe.deviation == pytest.approx((0.3, 0.3))
    assert (recipe.channels, recipe.arguments["in_chans"]) == (2, 2)
    assert recipe.layers == encoder.recipe.layers


def test_the_same_number_of_channels_changes_nothing() -> None:
    encoder = trained()

    assert adapted(encoder, 3) is encoder


def test_the_mode_and_torchs_generator_stay() -> None:
    encoder, state = trained(), torch.get_rng_state()

    assert not adapted(encoder, 2).training
    assert adapted(encoder.train(), 2).training
    assert torch.equal(torch.get_rng_state(), state)


@torch.no_grad()
def test_what_was_adapted_saves_and_loads(tmp_path: Path) -> None:
    encoder = adapted(trained(), 5)
    save(encoder, tmp_path)
    pictures = torch.rand(2, 5, SIDE, SIDE)

    assert torch.equal(load(tmp_path)(pictures), encoder(pictures))


def test_a_first_layer_that_takes_shuffled_pixels_is_refused() -> None:
    encoder = trained("tresnet_m")  # its stem turns squares of 4 x 4 pixels into channels

    with pytest.raises(UsageError, match=r"'tresnet_m' cannot be adapted from 3 to 4 channels"):
        adapted(encoder, 4)


@pytest.mark.parametrize("name", ["small", "alexnet", "resnet18_small"])
def test_weights_that_nobody_has_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"timm has no pretrained weights for"):
        build(name, size=64, pretrained=True)


def test_weights_that_cannot_be_read_are_not_blamed_on_the_size(tmp_path: Path) -> None:
    nowhere: dict[str, Any] = {"pretrained_cfg_overlay": {"file": str(tmp_path / "none.pth")}}

    with pytest.raises(SelfsightError, match=r"weights for 'resnet18' could not be fetched"):
        build("resnet18", size=SIDE, pretrained=True, arguments=nowhere)


@pytest.mark.parametrize("channels", [1, 3, 4, 13])
def test_it_is_what_timm_does_with_its_own_weights(channels: int, tmp_path: Path) -> None:
    encoder = trained("resnet18")
    file = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(encoder.model.state_dict(), file)
    overlay: dict[str, Any] = {"file": str(file), "num_classes": 0}
    theirs = timm.create_model(
        "resnet18",
        pretrained=True,
        pretrained_cfg_overlay=overlay,
        num_classes=0,
        in_chans=channels,
    ).state_dict()

    ours = adapted(encoder, channels).model.state_dict()

    assert theirs.keys() == ours.keys()
    assert all(torch.equal(value, ours[key]) for key, value in theirs.items())


@torch.no_grad()
def test_pretrained_weights_on_other_channels_are_standardised_by_the_average(
    tmp_path: Path,
) -> None:
    file = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(trained("resnet18").model.state_dict(), file)
    from_file: dict[str, Any] = {"pretrained_cfg_overlay": {"file": str(file), "num_classes": 0}}

    found = build("resnet18", size=SIDE, channels=4, pretrained=True, arguments=from_file)

    # timm's means for ImageNet: 0.485, 0.456, 0.406; deviations 0.229, 0.224, 0.225
    assert found.recipe.mean == pytest.approx((0.449,) * 4)
    assert found.recipe.deviation == pytest.approx((0.226,) * 4)


def test_the_average_is_that_of_the_values() -> None:
    assert averaged((1.0, 2.0, 6.0), 2) == (3.0, 3.0)
