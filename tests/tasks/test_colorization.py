"""Colorization: the loss by hand, greys left out, no colour to be seen, and pictures coloured."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from noise import noise
from selfsight.data.pictures.batch import Images
from selfsight.encoders import Encoder, Feed, build
from selfsight.encoders.cielab import lab, lightness, linear_rgb, rgb
from selfsight.errors import UsageError
from selfsight.layers.color_bins import ColorBins
from selfsight.tasks.colorization import Colorization

SIZE = 16


def encoder(size: int = SIZE, channels: int = 3) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        arguments = {"stem": 16, "widths": (16, 32)}
        return build("small", size=size, channels=channels, arguments=arguments)


def colorization(**settings: Any) -> Colorization:
    network = encoder()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Colorization(network, network.dim, size=SIZE, **settings)


def patches(first: int, count: int, *, follows: bool) -> Images:
    """Make pictures of squares of random lightness.

    Bright squares are orange and dark ones blue where colours follow from lightness; else a whole
    picture is one or the other, by a coin.
    """
    generator = torch.Generator().manual_seed(first)
    bright = torch.rand(count, 1, 4, 4, generator=generator)
    coin = torch.rand(count, 1, 1, 1, generator=generator).expand_as(bright)
    orange = (bright if follows else coin) > 0.5
    ab = torch.where(orange, *torch.tensor([[20.0, 30.0], [0.0, -30.0]])[:, None, :, None, None])
    field = torch.cat([45 + 20 * bright, ab], dim=1)
    assert ((linear_rgb(field) - 0.5).abs() <= 0.5).all()  # a clamped colour would tell itself
    squares = rgb(field).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    batch = Images.of(squares)
    index = batch.index + first
    return batch._replace(index=index, draws=type(batch.draws)(0, 0, index))


def trained(task: Colorization, *, follows: bool, steps: int = 50) -> float:
    """Train on fresh patches: -> the loss on others."""
    task.look_at(patches(10**6, 256, follows=follows))
    optimizer = torch.optim.Adam(task.parameters(), lr=3e-3)
    for step in range(steps):
        optimizer.zero_grad()
        task(patches(32 * step, 32, follows=follows)).loss.backward()
        optimizer.step()
    with torch.no_grad():
        return task(patches(10**7, 256, follows=follows)).loss.item()


class Leaky(Colorization):
    """What colorization would be if it hid nothing."""

    def hide(self, batch: Images) -> tuple[Tensor, Tensor]:
        self.encoder = self.encoder.fed(Feed())
        return batch.images, super().hide(batch)[1]


def test_what_is_shown_is_the_grey_of_what_is_hidden() -> None:
    greys, ab = colorization(least_scale=1.0).hide(Images.of(noise(8, 3, SIZE, SIZE)))

    assert greys.shape == (8, 3, SIZE, SIZE)
    assert ab.shape == (8, 2, 4, 4)
    assert lab(greys)[:, 1:].abs().max() < 0.02
    assert ab.norm(dim=1).mean() > 3


def test_a_blind_guess_costs_the_logarithm_of_the_bins() -> None:
    task = colorization()
    ab = torch.full((2, 2, 4, 4), 20.0)

    score = task.score(torch.zeros(2, 261, 4, 4), ab)

    assert score.loss.item() == pytest.approx(math.log(261), rel=1e-5)
    assert task.blind == pytest.approx(math.log(261))


@pytest.mark.parametrize("objective", ["classes", "regression"])
def test_the_first_loss_is_blind_once_the_data_was_looked_at(objective: Any) -> None:
    task, batch = colorization(objective=objective, least_scale=1.0), patches(0, 200, follows=False)
    task.look_at(batch)

    with torch.no_grad():
        assert task(batch).loss.item() == pytest.approx(task.blind, abs=0.1)


def test_the_best_constant_guess_is_kept_in_the_state() -> None:
    task, other = colorization(), colorization()
    task.look_at(patches(0, 50, follows=True))

    other.load_state_dict(task.state_dict())

    assert other.blind == task.blind != pytest.approx(math.log(261))
    batch = patches(50, 10, follows=True)
    assert torch.equal(other(batch).loss, task(batch).loss)


def test_pictures_without_colour_change_no_gradient() -> None:
    task = colorization()
    ab = 30 * torch.randn(4, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    grey = torch.full_like(ab, 4.0)
    predicted = torch.randn(8, 261, 4, 4, requires_grad=True)

    task.score(predicted, torch.cat([ab, grey])).loss.backward()

    assert predicted.grad is not None
    assert predicted.grad[4:].abs().max() == 0
    assert predicted.grad[:4].abs().min() > 0


def test_the_share_of_the_datas_coloured_pictures_makes_up_for_grey_ones() -> None:
    images = patches(0, 60, follows=True).images
    images[::3] = lightness(images[::3])
    task = colorization(least_scale=1.0)
    task.look_at(Images.of(images))

    with torch.no_grad():
        assert task.share.item() == pytest.approx(2 / 3)
        assert task(Images.of(images)).loss.item() == pytest.approx(task.blind, abs=0.1)


def test_error_and_saturation_of_known_answers() -> None:
    task = colorization()
    ab = torch.tensor([30.0, 40.0]).view(1, 2, 1, 1).repeat(2, 1, 4, 4)
    assert isinstance(task.colors, ColorBins)
    number = (task.colors.middles - torch.tensor([30.0, 40.0])).norm(dim=1).argmin()
    predicted = torch.zeros(2, 261, 4, 4)
    predicted[:, number] = 100

    metrics = task.score(predicted, ab).metrics
    assert metrics["error"].item() == pytest.approx(0, abs=1e-3)
    assert metrics["saturation"].item() == pytest.approx(1, abs=1e-3)

    grey = colorization(objective="regression").score(torch.zeros(2, 2, 4, 4), ab).metrics
    assert grey["error"].item() == pytest.approx(50)  # of the triangle 30, 40, 50
    assert grey["saturation"].item() == 0


def test_regression_costs_the_squared_error_over_the_variance() -> None:
    task = colorization(objective="regression")
    data = patches(0, 100, follows=False)
    task.look_at(data)
    ab = 20 * torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    predicted = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(1))

    found = task.score(predicted, ab).loss.item()

    # The data has two colours: with orange's share q, their variance is q (1 - q) distance^2.
    orange = (lab(data.images)[:, 2, 0, 0] > 0).float().mean().item()
    variance = orange * (1 - orange) * (20**2 + 60**2)
    mean = torch.tensor([20 * orange, -30 + 60 * orange]).view(1, 2, 1, 1)
    errors = (predicted * variance**0.5 + mean - ab).square().sum(dim=1).mean() / variance
    assert found == pytest.approx(errors.item(), rel=1e-3)


def test_the_gradient_reaches_every_parameter() -> None:
    task = colorization()

    task(Images.of(noise(8, 3, SIZE, SIZE))).loss.backward()

    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in task.parameters())


@pytest.mark.parametrize("channels", [1, 4])
def test_pictures_of_other_channels_are_refused_by_name(channels: int) -> None:
    match = f"colorization needs pictures of 3 channels, got {channels}"
    with pytest.raises(ValueError, match=match):
        Colorization(encoder(channels=channels), 32, size=SIZE)


def test_wrong_settings_and_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="objective must be 'classes' or 'regression', got 'l2'"):
        colorization(objective="l2")
    with pytest.raises(ValueError, match="least_scale must be above 0 and at most 1, got 0"):
        colorization(least_scale=0)
    with pytest.raises(TypeError, match="needs an Encoder with named layers, got Flatten"):
        Colorization(nn.Flatten(), 12, size=SIZE)
    with pytest.raises(UsageError, match="colorization needs pictures with colours"):
        colorization().look_at(Images.of(torch.full((3, 3, SIZE, SIZE), 0.5)))


@pytest.mark.slow
def test_colours_that_do_not_follow_from_lightness_stay_at_the_blind_cost() -> None:
    task = colorization(least_scale=1.0)

    assert trained(task, follows=False) > task.blind - 0.05


@pytest.mark.slow
def test_colours_that_follow_from_lightness_are_found() -> None:
    task = colorization(least_scale=1.0)

    assert trained(task, follows=True) < task.blind - 0.4


@pytest.mark.slow
def test_colours_that_leak_would_be_seen() -> None:
    network = encoder()
    task = Leaky(network, network.dim, size=SIZE, least_scale=1.0)

    assert trained(task, follows=False) < task.blind - 0.4


@pytest.mark.parametrize(("height", "width"), [(16, 16), (40, 24), (10, 30)])
def test_pictures_are_coloured_at_their_own_size_and_lightness(height: int, width: int) -> None:
    task = colorization().eval()
    task.look_at(patches(0, 20, follows=True))
    picture = 0.3 + 0.4 * noise(2, 3, 40, 40)[..., :height, :width]

    found = task.colours(picture)

    assert found.shape == picture.shape
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.allclose(lightness(found), lightness(picture), atol=0.02)
    assert torch.allclose(task.colours(lightness(picture)).mean(), found.mean(), atol=0.1)


def test_what_colours_a_picture_has_makes_no_difference() -> None:
    task = colorization().eval()
    picture = noise(2, 3, SIZE, SIZE)
    turned = rgb(lab(picture) * torch.tensor([1.0, 0.2, -0.2]).view(1, 3, 1, 1))

    assert torch.allclose(task.colours(turned), task.colours(picture), atol=0.02)


def test_a_lower_temperature_gives_stronger_colours() -> None:
    task = colorization().eval()
    assert isinstance(task.colors, ColorBins)
    bias = task.decoder.answer.bias
    assert bias is not None
    with torch.no_grad():  # two opposite colours, one a little more likely
        for ab, logit in (([40.0, 0.0], 2.0), ([-40.0, 0.0], 1.0)):
            bias[task.colors.numbers[task.colors.rows(torch.tensor(ab)), 0]] = logit + 20

    mean, sharp = (
        lab(task.colours(0.3 + 0.4 * noise(2, 3, SIZE, SIZE), temperature=t))[:, 1].mean()
        for t in (1.0, 0.1)
    )
    assert sharp > mean + 10


def test_colouring_changes_neither_the_modes_nor_the_statistics() -> None:
    task = colorization()
    task.encoder.eval()  # as where it is kept as it is
    before = {key: value.clone() for key, value in task.state_dict().items()}
    found = task.colours(noise(8, 3, SIZE, SIZE))

    assert task.decoder.training
    assert not task.encoder.training
    assert all(torch.equal(value, before[key]) for key, value in task.state_dict().items())
    assert torch.equal(task.eval().colours(noise(8, 3, SIZE, SIZE)), found)
