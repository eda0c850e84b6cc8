"""Colorization, several ways: the loss's parts by hand, and ways that differ where colours do."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from noise import noise
from selfsight.data.pictures.batch import Images
from selfsight.draws import Draws
from selfsight.encoders import build
from selfsight.encoders.cielab import lab, lightness, rgb
from selfsight.errors import UsageError
from selfsight.layers.color_codes import closest_cost, divergence
from selfsight.tasks.colorization_vae import ColorizationVAE, Guess, Withheld

SIZE = 16


def task_of(*, channels: int = 3, **settings: Any) -> ColorizationVAE:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        arguments = {"stem": 16, "widths": (16, 32)}
        encoder = build("small", size=SIZE, channels=channels, arguments=arguments)
        return ColorizationVAE(encoder, encoder.dim, size=SIZE, **settings)


def tossed(first: int, count: int) -> Images:
    """Make pictures of random lightness, each all orange or all blue by a coin."""
    generator = torch.Generator().manual_seed(first)
    bright = torch.rand(count, 1, 4, 4, generator=generator)
    orange = (torch.rand(count, 1, 1, 1, generator=generator) > 0.5).expand_as(bright)
    ab = torch.where(orange, *torch.tensor([[20.0, 30.0], [0.0, -30.0]])[:, None, :, None, None])
    squares = rgb(torch.cat([45 + 20 * bright, ab], dim=1))
    batch = Images.of(squares.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3))
    index = batch.index + first
    return batch._replace(index=index, draws=Draws(0, 0, index))


def test_the_code_does_not_move_towards_the_mixture() -> None:
    task = task_of(divergence=0.0)
    guess, withheld = (
        task.predict(noise(8, 3, SIZE, SIZE)),
        task.hide(Images.of(noise(8, 3, SIZE, SIZE)))[1],
    )
    with torch.no_grad():  # colours that no code changes
        for parameter in task.painter.parameters():
            parameter.zero_()

    task.score(guess, withheld).loss.backward()

    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in task.coder.parameters())
    assert task.mixture.weight.grad is not None
    assert task.mixture.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("rebalanced", [0.0, 0.5])
def test_the_loss_is_the_sum_of_its_parts(rebalanced: float) -> None:
    task = task_of(components=3, latent=4, rebalanced=rebalanced)
    task.look_at(tossed(0, 50))
    greys, withheld = task.hide(tossed(50, 6))
    guess = task.predict(greys)

    found = task.score(guess, withheld).loss.item()

    truth = (withheld.ab - task.scale.mean.view(1, 2, 1, 1)) / task.scale.deviation
    mean, log_variance = task.coder(truth)
    code = mean + (0.5 * log_variance).exp() * withheld.noise
    apart, closest = closest_cost(mean, guess.likely, guess.means, 0.5)
    weights = task.bins.rarity(withheld.ab.permute(0, 2, 3, 1))
    error = torch.zeros(())
    for one in (code, closest, torch.zeros(6, 4)):
        painted = task.decoder.answer(task.painter(guess.features, one))
        error = error + (weights * (painted - truth).square().sum(dim=1)).mean()
    expected = error + 0.01 * divergence(mean, log_variance).mean() + 0.1 * apart.mean()
    assert found == pytest.approx(expected.item(), rel=1e-4)


def test_the_encoder_does_not_move_for_the_mixture_but_for_the_colours() -> None:
    task = task_of()
    guess = task.predict(noise(8, 3, SIZE, SIZE))

    (guess.means.sum() + guess.likely.sum()).backward()

    assert all(p.grad is None for p in task.encoder.parameters())
    assert all(p.grad is not None and p.grad.any() for p in task.hidden.parameters())
    guess.features.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in task.encoder.parameters())


def test_colours_without_a_code_are_asked_of_the_encoder() -> None:
    """Where every code is painted alike, three times the error of one regression is left."""
    task = task_of(divergence=0.0)
    with torch.no_grad():
        task.painter.seeds.weight.zero_()
        task.mixture.weight.zero_()
    guess, withheld = (
        task.predict(noise(8, 3, SIZE, SIZE)),
        task.hide(Images.of(noise(8, 3, SIZE, SIZE)))[1],
    )

    loss = task.score(guess, withheld).loss

    field = withheld.ab.permute(0, 2, 3, 1)
    plain = task._painted(guess.features, torch.zeros(8, 32)).permute(0, 2, 3, 1)  # pyright: ignore[reportPrivateUsage] -- what is painted without a code
    mean, _ = task.coder(task.scale.scaled(field).permute(0, 3, 1, 2))
    apart, _ = closest_cost(mean, guess.likely, guess.means, 0.5)
    expected = 3 * task.scale.costs(plain, field).mean() + 0.1 * apart.mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_weight_of_the_divergence_rises_over_the_first_half() -> None:
    task = task_of(divergence=0.02)
    risen: list[float] = []
    for step in (0, 25, 50, 99):
        task.before_step(step, 100)
        risen.append(task.risen.item())

    assert risen == pytest.approx([0, 0.01, 0.02, 0.02])


def test_greys_are_shown_and_noise_is_the_samples_own() -> None:
    batch = Images.of(noise(8, 3, SIZE, SIZE))
    greys, withheld = task_of().hide(batch)

    assert lab(greys)[:, 1:].abs().max() < 0.02
    assert withheld.ab.shape == (8, 2, 4, 4)
    few = batch._replace(images=batch.images[[5]], extent=batch.extent[[5]], index=batch.index[[5]])
    again = task_of().hide(few._replace(draws=Draws(0, 0, few.index)))[1]
    assert torch.equal(again.noise[0], withheld.noise[5])


def test_pictures_without_colour_change_no_gradient() -> None:
    task = task_of()
    ab = torch.cat([30 * noise(4, 3, SIZE, SIZE)[:, :2, :4, :4], torch.full((4, 2, 4, 4), 4.0)])
    features = torch.rand(8, 64, 4, 4, requires_grad=True)
    guess = Guess(features, torch.zeros(8, 8), torch.zeros(8, 8, 32))

    task.score(guess, Withheld(ab, torch.zeros(8, 32))).loss.backward()

    assert features.grad is not None
    assert features.grad[4:].abs().max() == 0
    assert features.grad[:4].abs().sum() > 0


def test_the_gradient_reaches_every_parameter() -> None:
    task = task_of()

    task(Images.of(noise(8, 3, SIZE, SIZE))).loss.backward()

    assert [
        name for name, p in task.named_parameters() if p.grad is None or p.grad.abs().sum() == 0
    ] == []


def test_measuring_changes_no_statistics() -> None:
    task = task_of()
    guess, withheld = (
        task.predict(noise(8, 3, SIZE, SIZE)),
        task.hide(Images.of(noise(8, 3, SIZE, SIZE)))[1],
    )
    before = {key: value.clone() for key, value in task.decoder.state_dict().items()}

    task.score(guess, withheld)

    assert all(torch.equal(before[key], value) for key, value in task.decoder.state_dict().items())


def test_wrong_settings_networks_and_pictures_are_refused() -> None:
    wrong: dict[str, Any] = {
        "latent": 0,
        "components": 0,
        "deviation": 0.0,
        "divergence": -1.0,
        "least_scale": math.nan,
        "rebalanced": 1.0,
    }
    for setting, value in wrong.items():
        with pytest.raises(ValueError, match=rf"{setting} must be .*, got {value}"):
            task_of(**{setting: value})
    with pytest.raises(ValueError, match="colorization-vae needs pictures of 3 channels, got 4"):
        task_of(channels=4)
    with pytest.raises(TypeError, match="colorization-vae needs an Encoder"):
        ColorizationVAE(nn.Flatten(), 12, size=SIZE)
    with pytest.raises(UsageError, match="colorization-vae needs pictures with colours"):
        task_of().look_at(Images.of(torch.full((3, 3, SIZE, SIZE), 0.5)))
    with pytest.raises(ValueError, match="width of the decoder must be at least 1 channel, got 0"):
        task_of(width=0)
    with pytest.raises(ValueError, match="width of colour codes must be at least 2 channels, got"):
        task_of(width=1)


def test_colouring_changes_neither_the_modes_nor_the_statistics() -> None:
    task = task_of()
    task.encoder.eval()  # as where it is kept as it is
    before = {key: value.clone() for key, value in task.state_dict().items()}
    ways, measured = (
        task.ways(noise(8, 3, SIZE, SIZE), 2),
        task.diversity(Images.of(noise(8, 3, SIZE, SIZE)), 2),
    )

    assert task.decoder.training
    assert not task.encoder.training
    assert all(torch.equal(value, before[key]) for key, value in task.state_dict().items())
    assert torch.equal(task.eval().ways(noise(8, 3, SIZE, SIZE), 2), ways)
    assert task.diversity(Images.of(noise(8, 3, SIZE, SIZE)), 2) == measured


def test_ways_keep_the_size_and_the_lightness_of_pictures() -> None:
    task = task_of().eval()
    picture = 0.3 + 0.4 * noise(2, 3, 24, 24)[..., :20]

    found = task.ways(picture, 11)

    assert found.shape == (2, 11, 3, 24, 20)
    for way in found.unbind(dim=1):
        assert torch.allclose(lightness(way), lightness(picture), atol=0.02)
    assert torch.equal(found, task.ways(picture, 11))
    components = task.ways(picture, 8, seed=1)  # they are not drawn
    assert torch.allclose(found[:, :8], components, atol=1e-5)
    assert not torch.equal(found, task.ways(picture, 11, seed=1))


def test_the_most_probable_way_comes_first() -> None:
    task = task_of(components=3, latent=2)
    likely = torch.tensor([[0.0, 2.0, 1.0]])
    means = torch.tensor([[[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]])

    codes = task._codes(Guess(torch.empty(0), likely, means), 500, Draws(0, 0, torch.arange(1)))  # pyright: ignore[reportPrivateUsage] -- what `ways` paints with

    assert codes[0, :3].tolist() == [[1, 1], [2, 2], [0, 0]]
    drawn = codes[0, 3:].mean(dim=1)  # near the components, as often as these are probable
    shares = likely.softmax(dim=1)[0]
    assert drawn.mean().item() == pytest.approx((shares[1] + 2 * shares[2]).item(), abs=0.1)


@pytest.mark.slow
def test_ways_differ_where_lightness_does_not_tell_the_colour() -> None:
    task = task_of(least_scale=1.0, components=4, latent=4)
    task.look_at(tossed(10**6, 256))
    optimizer = torch.optim.Adam(task.parameters(), lr=3e-3)
    steps = 80
    for step in range(steps):
        task.before_step(step, steps)
        optimizer.zero_grad()
        task(tossed(32 * step, 32)).loss.backward()
        optimizer.step()

    held_out = tossed(10**7, 128)
    task.eval()
    with torch.no_grad():
        through_code = task(held_out).metrics["own_error"].item()
    measured = task.diversity(held_out, 4)

    # Orange and blue are 63 apart. Any one answer for all misses half of them by as much, and the
    # mean of both misses all by half.
    assert through_code < 15
    assert measured["error"] > 20
    assert measured["best_of"] < 15
    assert measured["variance"] > 200
