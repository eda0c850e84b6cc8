"""Encoder: the stated names, widths and strides of its layers are the true ones."""

import pytest
import torch
from torch import nn

from selfsight.encoders import Encoder, Recipe, build, evaluating
from selfsight.errors import UsageError

SIDE = 32
LAYERS = {
    "small": ("stem", "stages.0", "stages.1", "stages.2"),
    "resnet18": ("act1", "layer1", "layer2", "layer3", "layer4"),
    "convnext_atto": ("stages.0", "stages.1", "stages.2", "stages.3"),
    "vit_tiny_patch16_224": ("blocks.2", "blocks.5", "blocks.8", "blocks.11"),
}
STRIDES = {
    "small": (2, 4, 8, 16),
    "resnet18": (2, 4, 8, 16, 32),
    "convnext_atto": (4, 8, 16, 32),
    "vit_tiny_patch16_224": (16, 16, 16, 16),
}


@pytest.fixture(scope="module", params=LAYERS)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(request.param, size=SIDE).eval()


def name_of(encoder: Encoder) -> str:
    """Give the name by which an encoder was asked for."""
    return "small" if encoder.recipe.name == "selfsight_small" else encoder.recipe.name


def test_every_stage_is_named_and_of_transformers_every_third_block(encoder: Encoder) -> None:
    assert encoder.layer_names == LAYERS[name_of(encoder)]
    assert tuple(encoder.layer_strides.values()) == STRIDES[name_of(encoder)]


@torch.no_grad()
def test_maps_are_as_large_as_is_said(encoder: Encoder) -> None:
    maps = encoder.layers(torch.rand(2, 3, SIDE, SIDE))

    assert tuple(maps) == encoder.layer_names
    for name, found in maps.items():
        side = SIDE // encoder.layer_strides[name]
        assert found.shape == (2, encoder.layer_channels[name], side, side)


@torch.no_grad()
def test_maps_are_those_of_the_modules_of_that_name(encoder: Encoder) -> None:
    pictures = torch.rand(1, 3, SIDE, SIDE)
    seen: dict[str, torch.Tensor] = {}
    modules = dict(encoder.model.named_modules())
    hooks = [
        modules[name].register_forward_hook(
            lambda _module, _inputs, out, name=name: seen.update({name: out})
        )
        for name in encoder.layer_names
    ]
    encoder(pictures)
    for hook in hooks:
        hook.remove()

    for name, found in encoder.layers(pictures).items():
        if found.shape != seen[name].shape:  # a transformer's tokens, the class token first
            tokens = encoder.layer_names.index(name) < len(encoder.layer_names) - 1
            if not tokens:  # the last map is normalised, as the head takes it
                continue
            plain = seen[name][:, 1:].mT.reshape(found.shape)
        else:
            plain = seen[name]
        assert torch.allclose(found, plain, atol=1e-5)


@torch.no_grad()
def test_features_are_dim_wide(encoder: Encoder) -> None:
    assert encoder(torch.rand(2, 3, SIDE, SIDE)).shape == (2, encoder.dim)


@torch.no_grad()
def test_pictures_are_shifted_and_scaled_as_the_recipe_says(encoder: Encoder) -> None:
    pictures = torch.rand(2, 3, SIDE, SIDE)

    assert torch.equal(encoder(pictures), encoder.model((pictures - 0.5) / 0.25))


def test_nothing_but_the_models_own_weights_is_in_the_state(encoder: Encoder) -> None:
    assert {key.partition(".")[0] for key in encoder.state_dict()} == {"model"}


@torch.no_grad()
def test_building_leaves_no_trace_in_batch_statistics() -> None:
    torch.manual_seed(0)
    state = build("small", size=SIDE).state_dict()

    counts = [value for key, value in state.items() if key.endswith("num_batches_tracked")]
    means = [value for key, value in state.items() if key.endswith("running_mean")]
    assert counts
    assert all(count == 0 for count in counts)
    assert all((mean == 0).all() for mean in means)


def test_a_new_encoder_is_ready_to_train() -> None:
    encoder = build("small", size=SIDE)

    assert all(module.training for module in encoder.modules())


@pytest.mark.parametrize("side", [31, 32, 33, 100])
def test_strides_do_not_hang_on_the_side(side: int) -> None:
    encoder = build("resnet18", size=side)

    assert tuple(encoder.layer_strides.values()) == STRIDES["resnet18"]


def test_strides_other_than_timm_states_are_measured() -> None:
    plain = build("resnet18", size=64, arguments={"output_stride": 8})

    assert tuple(plain.layer_strides.values()) == (2, 4, 8, 8, 8)


def test_layers_without_names_of_their_own_are_refused() -> None:
    with pytest.raises(UsageError, match=r"CrossVit lists parallel branches under one name; try"):
        build("crossvit_tiny_240", size=240)


def test_a_recipe_comes_back_from_plain_values() -> None:
    recipe = Recipe("resnet18", {"num_classes": 0}, 1, 32, (0.5,), (0.25,), ("act1",))

    assert Recipe.from_json(recipe.to_json()) == recipe


def test_evaluation_mode_ends_where_it_began_even_after_an_error() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(nn.BatchNorm1d(2)))
    network[1].eval()
    modes = [part.training for part in network.modules()]

    def fail_within() -> None:
        with evaluating(network):
            assert not any(part.training for part in network.modules())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_within()
    assert [part.training for part in network.modules()] == modes == [True, True, False, False]
