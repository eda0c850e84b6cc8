"""Feed: what is hidden from a network is gone, and encoders of other feeds share weights."""

import copy
import io

import pytest
import torch

from selfsight.encoders import Encoder, Feed, Recipe, build, fed
from selfsight.encoders.cielab import grey, lightness
from selfsight.encoders.feed import colors_projected, gradients, standardised
from selfsight.errors import UsageError


def small() -> Encoder:
    return build("small", size=16, arguments={"stem": 8, "widths": (8, 8)})


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 9, 3, 8, 8), (2, 9, 1, 5, 7)])
def test_every_channel_has_mean_0_and_deviation_1(shape: tuple[int, ...]) -> None:
    found = standardised(torch.rand(shape) * 0.3 + 0.2).double()

    assert found.mean(dim=(-2, -1)).abs().max() < 1e-5
    assert torch.allclose(
        found.var(dim=(-2, -1), correction=0), torch.ones(shape[:-2]).double(), atol=1e-4
    )


def test_all_channels_together_keep_their_relation() -> None:
    tiles = torch.rand(2, 4, 3, 6, 6)

    found = standardised(tiles, over="picture")

    one = tiles[1, 2].double()
    expected = (one - one.mean()) / one.std(correction=0)
    assert torch.allclose(found[1, 2].double(), expected, atol=1e-5)


def test_a_flat_tile_is_not_enlarged() -> None:
    assert torch.equal(standardised(torch.full((1, 3, 4, 4), 0.5)), torch.zeros(1, 3, 4, 4))
    nearly = torch.full((1, 1, 2, 2), 0.5) + torch.tensor([[0.001, -0.001], [0.001, -0.001]])
    assert standardised(nearly).abs().max() < 0.3


def test_an_unknown_way_to_standardise_is_refused() -> None:
    with pytest.raises(UsageError, match="over 'channel' or 'picture', got 'batch'"):
        standardised(torch.rand(1, 3, 4, 4), over="batch")  # pyright: ignore[reportArgumentType] -- refused


def test_a_network_fed_lightness_is_blind_to_colour() -> None:
    seeing = small().eval()
    blind = seeing.fed(Feed("lightness"))
    pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    greys = grey(lightness(pictures)).repeat(1, 3, 1, 1)

    assert torch.allclose(blind(pictures), blind(greys), atol=1e-4)
    assert not torch.allclose(seeing(pictures), seeing(greys), atol=1e-2)


def test_two_feeds_together_hide_what_either_hides() -> None:
    assert Feed("lightness") | Feed("projected", "channel") == Feed("lightness", "channel")
    assert Feed() | Feed("projected") == Feed("projected")
    assert Feed("sobel") | Feed("lightness", "picture") == Feed("sobel", "picture")
    assert Feed(standardised="picture") | Feed(standardised="channel") == Feed("all", "channel")
    assert Feed(standardised="channel") | Feed(standardised="picture") == Feed("all", "channel")


def test_a_feed_is_kept_in_the_recipe_and_older_recipes_have_none() -> None:
    recipe = small().fed(Feed("lightness", "channel")).recipe
    kept = recipe.to_json()

    assert Recipe.from_json(kept) == recipe
    del kept["feed"]
    assert Recipe.from_json(kept).feed == Feed()


def test_a_twin_that_is_fed_otherwise_shares_all_weights_and_statistics() -> None:
    encoder = small()
    twin = encoder.fed(Feed("lightness"))
    pictures = torch.rand(8, 3, 16, 16)

    twin.train()(pictures)

    assert twin.recipe.feed != encoder.recipe.feed
    assert twin.model is encoder.model


def test_a_twin_apart_shares_weights_and_keeps_its_own_statistics() -> None:
    encoder = small()
    twin = encoder.apart()
    before = {key: value.clone() for key, value in encoder.model.named_buffers()}

    twin.train()(torch.rand(8, 3, 16, 16))

    assert all(torch.equal(value, before[key]) for key, value in encoder.model.named_buffers())
    assert not torch.equal(dict(twin.model.named_buffers())["stem.1.running_mean"],
                           before["stem.1.running_mean"])  # fmt: skip
    pairs = zip(twin.parameters(), encoder.parameters(), strict=True)
    assert all(one is other for one, other in pairs)


def test_twins_stay_together_when_copied_and_when_saved() -> None:
    encoder = small()
    both = torch.nn.ModuleList([encoder, encoder.fed(Feed("lightness"))])

    copied = copy.deepcopy(both)
    file = io.BytesIO()
    torch.save(both.state_dict(), file)

    assert len(list(copied.parameters())) == len(list(encoder.parameters()))
    once = io.BytesIO()
    torch.save(encoder.state_dict(), once)
    assert file.tell() < 1.7 * once.tell()


def test_any_other_network_gets_its_feed_before_it() -> None:
    network = fed(torch.nn.Identity(), Feed("all", "channel"))
    pictures = torch.rand(2, 3, 8, 8)

    assert torch.allclose(network(pictures), standardised(pictures))


def test_projected_green_is_the_mean_of_red_and_blue() -> None:
    tiles = torch.rand(2, 5, 3, 4, 4)

    found = colors_projected(tiles)

    red, green, blue = found.unbind(dim=2)
    assert torch.allclose(green, (red + blue) / 2, atol=1e-6)
    axis = torch.tensor([[-1.0, 2.0, -1.0]])
    matrix = torch.eye(3) - axis.T @ axis / (axis @ axis.T)
    assert torch.allclose(found, torch.einsum("rc,bnchw->bnrhw", matrix, tiles), atol=1e-6)
    assert torch.allclose(colors_projected(found), found, atol=1e-6)


def test_projection_by_hand() -> None:
    green = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
    grey = torch.full((1, 3, 1, 1), 0.4)

    assert torch.allclose(colors_projected(green).flatten(), torch.full((3,), 1 / 3))
    assert torch.allclose(colors_projected(grey), grey)


def test_other_channels_than_three_have_no_such_axis() -> None:
    for channels in (1, 4):
        tiles = torch.rand(2, channels, 4, 4)
        assert colors_projected(tiles) is tiles


def test_gradients_of_a_ramp_by_hand() -> None:
    across = torch.arange(8.0).expand(8, 8) / 10  # rises by 0.1 a pixel to the right

    found = gradients(across.expand(2, 3, 8, 8))[1]

    inside = found[:, 1:-1, 1:-1]
    assert torch.allclose(inside[0], torch.full((6, 6), 0.4))  # over two pixels, twice
    assert torch.allclose(inside[1], torch.zeros(6, 6), atol=1e-6)
    assert torch.allclose(inside[2], torch.full((6, 6), 0.4))
    assert torch.allclose(found[0, :, 0], torch.full((8,), 0.2))  # the border is repeated


def test_gradients_are_sobels_filters_on_grey() -> None:
    tiles = torch.rand(2, 5, 3, 7, 9, generator=torch.Generator().manual_seed(0))

    found = gradients(tiles)

    grey = tiles.double().mean(dim=2).flatten(0, 1)[:, None]
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]).double() / 2
    filters = torch.stack([sobel, sobel.T])[:, None]
    padded = torch.nn.functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    both = torch.nn.functional.conv2d(padded, filters).view(2, 5, 2, 7, 9)
    assert torch.allclose(found[:, :, :2].double(), both, atol=1e-6)
    assert torch.allclose(found[:, :, 2].double(), both.norm(dim=2), atol=1e-5)


def test_gradients_fill_any_channels_in_turn() -> None:
    tiles = torch.rand(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))

    four, one = gradients(tiles), gradients(tiles[:, :1])

    assert four.shape == tiles.shape
    assert torch.equal(four[:, 3], four[:, 0])
    assert torch.allclose(one, gradients(tiles[:, :1].repeat(1, 3, 1, 1))[:, 2:], atol=1e-5)


def test_a_network_fed_gradients_sees_neither_colour_nor_brightness() -> None:
    seeing = small().eval()
    blind = seeing.fed(Feed("sobel"))
    pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    changed = pictures.mean(dim=1, keepdim=True).repeat(1, 3, 1, 1) * 0.99 + 0.01 * pictures + 0.2

    assert torch.allclose(blind(pictures), blind(changed), atol=1e-4)
    assert not torch.allclose(seeing(pictures), seeing(changed), atol=1e-2)


def test_flat_pictures_have_gradients_of_zero_and_a_derivative() -> None:
    flat = torch.full((1, 3, 4, 4), 0.5, requires_grad=True)

    found = gradients(flat)
    found.sum().backward()

    assert found.abs().max() < 1e-5
    assert flat.grad is not None
    assert flat.grad.isfinite().all()
