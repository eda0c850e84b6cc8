"""Inpainting: the error by hand, what cannot be seen, gradients by hand, and shortcuts."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noise import noise, numbered
from selfsight.data.pictures.batch import Images
from selfsight.encoders import build
from selfsight.tasks.inpainting import RIM, Inpainting, Withheld

SIZE = 16


def inpainting(
    *, size: int = SIZE, channels: int = 3, seed: int = 0, **settings: Any
) -> Inpainting:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        arguments = {"stem": 16, "widths": (16, 32)}
        encoder = build("small", size=size, channels=channels, arguments=arguments)
        return Inpainting(encoder, encoder.dim, size=size, **settings)


def noisy(count: int, step: int, *, channels: int = 3) -> Images:
    return numbered(noise(count, channels, SIZE, SIZE, seed=step), count * step)


def slow(count: int, step: int) -> Images:
    """Pictures whose colours change slowly, so that a hole's follow from those around it."""
    generator = torch.Generator().manual_seed(step)
    coarse = torch.rand(count, 3, 3, 3, generator=generator)
    scaled = F.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear", align_corners=True)
    return numbered(scaled, count * step)


def trained(task: Inpainting, batches: list[Images], *, seen_through: bool = False) -> list[float]:
    """Take a step for every batch: -> the losses. Seen through, holes hide nothing."""
    optimizer = torch.optim.Adam(task.parameters(), lr=3e-3)
    losses: list[float] = []
    for batch in batches:
        pictures, withheld = task.hide(batch)
        pictures = withheld.truth if seen_through else pictures
        loss = task.score(task.predict(pictures), withheld).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def by_hand(norm: str) -> tuple[Inpainting, Tensor, Withheld]:
    """One picture of two by two pixels; the two of the upper row are hidden."""
    task = inpainting(channels=1, norm=norm)
    truth = torch.tensor([[0.5, 0.2], [0.9, 0.1]])[None, None]
    predicted = torch.tensor([[0.4, 0.4], [0.0, 0.0]])[None, None]
    hole = torch.tensor([[1.0, 1.0], [0.0, 0.0]])[None, None]
    return task, predicted, Withheld(truth, hole, hole)


def test_squared_error_by_hand() -> None:
    task, predicted, withheld = by_hand("l2")

    score = task.score(predicted, withheld)

    assert score.loss.item() == pytest.approx((0.1**2 + 0.2**2) / 2 / 0.25**2)
    assert score.metrics["error"].item() == pytest.approx(0.15)
    assert score.metrics["psnr"].item() == pytest.approx(-10 * math.log10(0.025))


def test_absolute_error_by_hand() -> None:
    task, predicted, withheld = by_hand("l1")

    normal = 0.25 * math.sqrt(2 / math.pi)  # the mean distance from the mean at deviation 0.25
    assert task.score(predicted, withheld).loss.item() == pytest.approx(0.15 / normal)


def test_the_rim_weighs_more_by_hand() -> None:
    task, predicted, withheld = by_hand("l2")
    weight = torch.tensor([[1.0, 1.0], [RIM, 0.0]])[None, None]

    score = task.score(predicted, withheld._replace(weight=weight))

    wanted = (0.1**2 + 0.2**2 + RIM * 0.9**2) / (2 + RIM) / 0.25**2
    assert score.loss.item() == pytest.approx(wanted)
    assert score.metrics["error"].item() == pytest.approx(0.15)  # of the hole alone


class Judge(nn.Module):
    """A critic that adds pixels up."""

    def forward(self, pictures: Tensor) -> Tensor:
        """Judge pictures (B, C, S, S): -> logits (B,)."""
        return pictures.sum(dim=(1, 2, 3))


def test_a_rim_leaves_the_balance_of_the_hole_and_the_critic_by_hand() -> None:
    _, predicted, withheld = by_hand("l2")
    task = inpainting(channels=1, adversarial=0.2)
    task.critic = Judge()  # pyright: ignore[reportAttributeAccessIssue] -- any that judges
    weight = torch.tensor([[1.0, 1.0], [RIM, 0.0]])[None, None]
    rimmed = withheld._replace(weight=weight)

    losses = [task.score(predicted, one).loss.item() for one in (withheld, rimmed)]

    # In deviations of 0.25 about 0.5: real 0 and -1.2, painted -0.4 and -0.4.
    real, made = -1.2, -0.8
    critic = (math.log1p(math.exp(-real)) + math.log1p(math.exp(made))) / 2
    hole, maker = (0.1**2 + 0.2**2) / 0.25**2, 2 * math.log1p(math.exp(-made))
    assert losses[0] == pytest.approx((0.8 * hole + 0.2 * maker) / 2 + critic)
    # Of 12 weights 2 are the hole's: its error and the critic's word are both divided by 12.
    rim = RIM * 0.9**2 / 0.25**2
    assert losses[1] == pytest.approx((0.8 * (hole + rim) + 0.2 * maker) / (2 + RIM) + critic)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_mean_colour_costs_1(norm: str) -> None:
    task = inpainting(norm=norm, least_scale=1.0)
    signs = torch.rand(50, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) < 0.5
    signs = torch.cat([signs, ~signs])  # so that the mean is that of the colours exactly
    colours = torch.tensor([0.3, 0.5, 0.6])[:, None, None]
    batch = Images.of(colours + 0.1 * (2 * signs.float() - 1))  # every pixel 0.1 off the mean

    task.look_at(batch)

    torch.testing.assert_close(task.mean, colours, rtol=0, atol=0.01)
    torch.testing.assert_close(task.deviation, torch.full((3, 1, 1), 0.1), rtol=0, atol=0.01)
    torch.testing.assert_close(task.cost.item(), 0.1 if norm == "l1" else 0.01, rtol=0.1, atol=0)
    fresh = batch._replace(draws=type(batch.draws)(1, 0, batch.index))
    for there, close in ((batch, 1e-5), (fresh, 0.02)):
        _, withheld = task.hide(there)
        blind = task.score(task.mean.expand_as(withheld.truth), withheld)
        assert blind.loss.item() == pytest.approx(1.0, abs=close)
    assert task.blind == 1.0


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_pictures_looked_at_in_parts_tell_what_they_tell_at_once(
    norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, batch = (inpainting(norm=norm), inpainting(norm=norm)), noisy(11, 0)
    tasks[0].look_at(batch)
    monkeypatch.setattr("selfsight.tasks.inpainting.AT_A_TIME", 4)
    tasks[1].look_at(batch)

    for name in ("mean", "deviation", "cost"):
        torch.testing.assert_close(getattr(tasks[1], name), getattr(tasks[0], name))
    assert tasks[0].cost != inpainting(norm=norm).cost


@pytest.mark.parametrize(("holes", "overlap"), [("blocks", 0), ("centre", 2), ("free", 1)])
def test_a_blind_guess_with_a_critic_costs_its_parts(holes: str, overlap: int) -> None:
    task = inpainting(adversarial=0.25, holes=holes, overlap=overlap)
    assert task.critic is not None
    nn.init.zeros_(task.critic.answer.weight)
    nn.init.zeros_(task.critic.answer.bias)
    batch = noisy(400, 0)
    task.look_at(batch)
    _, withheld = task.hide(batch)

    blind = task.score(task.mean.expand_as(withheld.truth), withheld)

    share = 1.0
    if overlap:
        share = (
            (withheld.hole.sum(dim=(1, 2, 3)) / withheld.weight.sum(dim=(1, 2, 3))).mean().item()
        )
        assert share < 0.2
    wanted = 0.75 + (1 + 0.25 * share) * math.log(2)
    assert task.blind == pytest.approx(wanted, abs=2e-3 if overlap else 1e-6)
    assert blind.loss.item() == pytest.approx(task.blind, abs=0.03 if overlap else 1e-5)


def test_the_first_guess_is_nearly_the_mean_colour() -> None:
    task = inpainting()
    batch = Images.of(0.3 + 0.1 * torch.rand(16, 3, SIZE, SIZE))
    task.look_at(batch)

    with torch.no_grad():
        painted = task.predict(task.hide(batch)[0])

    assert (painted - task.mean).abs().max() < 0.02


@pytest.mark.parametrize("kind", ["centre", "blocks", "free"])
def test_what_is_hidden_changes_nothing(kind: str) -> None:
    task = inpainting(holes=kind, least_scale=1.0, overlap=1)  # then a crop is the whole picture
    batch = noisy(8, 0)
    pictures, withheld = task.hide(batch)
    mirrored = batch.draws.uniform("view/flip", 1)[:, 0] < 0.5
    in_place = torch.where(mirrored[:, None, None, None], withheld.hole.flip(3), withheld.hole)
    other = torch.where(in_place > 0, 1 - batch.images, batch.images)

    seen, withheld_there = task.hide(batch._replace(images=other))

    torch.testing.assert_close(seen, pictures, rtol=0, atol=1e-6)
    difference = (withheld_there.truth - withheld.truth).abs().amax(dim=1, keepdim=True)
    assert difference[withheld.hole > 0].mean() > 0.2
    fill = torch.tensor(task.encoder.recipe.mean)[:, None, None]  # pyright: ignore[reportAttributeAccessIssue] -- an Encoder
    assert torch.equal(pictures * withheld.hole, (fill * withheld.hole).expand_as(pictures))
    torch.testing.assert_close(  # and what is not hidden is shown
        pictures * (1 - withheld.hole), withheld.truth * (1 - withheld.hole), rtol=0, atol=0
    )


def test_the_rim_is_around_the_hole_and_visible() -> None:
    task = inpainting(holes="centre", share=0.25, overlap=2)

    pictures, withheld = task.hide(noisy(2, 0))

    weight = torch.zeros(SIZE, SIZE)
    weight[2:14, 2:14] = RIM
    weight[4:12, 4:12] = 1
    assert torch.equal(withheld.weight[1, 0], weight)
    rim = withheld.weight == RIM
    assert torch.equal(pictures * rim, withheld.truth * rim)


@pytest.mark.parametrize(("adversarial", "overlap"), [(0.0, 0), (0.1, 0), (0.1, 2)])
def test_every_sample_counts_alike(adversarial: float, overlap: int) -> None:
    task = inpainting(holes="free", adversarial=adversarial, overlap=overlap).eval()
    pictures, withheld = task.hide(noisy(4, 0))
    painted = task.predict(pictures)

    together = task.score(painted, withheld).loss.item()

    apart = [
        task.score(painted[row : row + 1], Withheld(*(part[row : row + 1] for part in withheld)))
        for row in range(4)
    ]
    assert together == pytest.approx(sum(score.loss.item() for score in apart) / 4, rel=1e-5)


def test_one_loss_has_the_gradients_of_two_optimisers() -> None:
    task = inpainting(adversarial=0.2)
    pictures, withheld = task.hide(noisy(6, 0))
    pictures, task = pictures.double(), task.double()
    plain = copy.deepcopy(task)

    task.score(task.predict(pictures), withheld).loss.backward()

    def inside(x: Tensor) -> Tensor:
        return withheld.hole * (x - plain.mean) / plain.deviation

    assert plain.critic is not None
    painted = plain.predict(pictures)
    real, one = inside(withheld.truth.double()), torch.ones(6, dtype=torch.float64)
    critic = F.binary_cross_entropy_with_logits(plain.critic(real), one) / 2
    critic = (
        critic
        + F.binary_cross_entropy_with_logits(plain.critic(inside(painted).detach()), 0 * one) / 2
    )
    wanted = dict(
        zip(
            (f"critic.{name}" for name, _ in plain.critic.named_parameters()),
            torch.autograd.grad(critic, list(plain.critic.parameters())),
            strict=True,
        )
    )
    error = withheld.hole * (painted - withheld.truth).square().mean(dim=1, keepdim=True)
    maker = 0.8 * (error.sum(dim=(1, 2, 3)) / withheld.hole.sum(dim=(1, 2, 3))).mean() / 0.0625
    believed = F.binary_cross_entropy_with_logits(plain.critic(inside(painted)), one)
    maker = maker + 0.2 * believed
    painter = {n: p for n, p in plain.named_parameters() if not n.startswith("critic.")}
    wanted |= dict(zip(painter, torch.autograd.grad(maker, list(painter.values())), strict=True))
    found = {name: p.grad for name, p in task.named_parameters()}
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        assert gradient is not None
        # What is painted is brought to float32 for the loss, so they agree to its digits.
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-4, atol=1e-7)


def test_the_critic_learns_at_its_own_rate() -> None:
    assert inpainting().parameter_groups() == []
    task = inpainting(adversarial=0.1)
    (group,) = task.parameter_groups()

    assert task.critic is not None
    assert group["params"] == list(task.critic.parameters())
    assert group["rate"] == 0.1


@pytest.mark.parametrize("adversarial", [0.0, 0.1])
def test_the_gradient_reaches_every_parameter(adversarial: float) -> None:
    task = inpainting(adversarial=adversarial)

    task(noisy(8, 0)).loss.backward()

    unreached = [
        name for name, p in task.named_parameters() if p.grad is None or p.grad.abs().sum() == 0
    ]
    assert unreached == []


@pytest.mark.parametrize(("size", "channels"), [(16, 1), (18, 3), (23, 4)])
def test_any_side_and_any_channels_do(size: int, channels: int) -> None:
    task = inpainting(size=size, channels=channels, adversarial=0.1, overlap=1)
    batch = Images.of(torch.rand(4, channels, size, size))
    task.look_at(batch)

    painted = task.predict(task.hide(batch)[0])

    assert painted.shape == (4, channels, size, size)
    assert task(batch).loss.isfinite()


def test_data_of_one_colour_gives_finite_losses() -> None:
    task = inpainting(adversarial=0.1)
    batch = Images.of(torch.full((4, 3, SIZE, SIZE), 0.7))
    task.look_at(batch)

    assert task(batch).loss.isfinite()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"holes": "round"}, "holes must be 'centre', 'blocks' or 'free', got 'round'"),
        ({"share": 1.5}, "share must be of the picture's area, above 0 and below 1, got 1.5"),
        ({"blocks": 0}, "blocks must be at least 1, got 0"),
        ({"overlap": -1}, "overlap must be at least 0 pixels, got -1"),
        ({"norm": "l3"}, "norm must be 'l2' or 'l1', got 'l3'"),
        ({"adversarial": 1.0}, "adversarial must be at least 0 and below 1, got 1.0"),
        ({"adversarial": math.nan}, "got nan"),
        ({"least_scale": 0.0}, "least_scale must be above 0 and at most 1, got 0.0"),
        ({"stride": 0}, "stride must be at least 1 pixel, got 0"),
        ({"width": -1}, "width of the decoder must be at least 1 channel, got -1"),
    ],
)
def test_settings_outside_their_range_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inpainting(**setting)


def test_a_network_without_named_layers_is_refused() -> None:
    with pytest.raises(TypeError, match="inpainting needs an Encoder with named layers, got Flat"):
        Inpainting(nn.Flatten(), 12, size=SIZE)


def test_filling_changes_the_hole_alone_and_the_task_not_at_all() -> None:
    task = inpainting().train()
    task.encoder.eval()  # as where it is kept as it is
    before = copy.deepcopy(task.state_dict())
    pictures = torch.rand(2, 3, 30, 50)
    hole = torch.zeros(2, 1, 30, 50, dtype=torch.bool)
    hole[0, 0, 5:15, 8:20] = True
    hole[1, 0, 2:6, 2:6] = True
    hole[1, 0, 20:28, 40:49] = True

    result = task.filled(pictures, hole)

    outside = ~hole.expand_as(pictures)
    assert torch.equal(result[outside], pictures[outside])
    assert result[~outside].min() >= 0
    assert result[~outside].max() <= 1
    assert torch.equal(task.filled(pictures.masked_fill(hole, 0.0), hole), result)
    assert task.training
    assert task.decoder.training
    assert not task.encoder.training
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())


def test_masks_that_do_not_fit_are_refused() -> None:
    pictures = torch.rand(2, 3, 20, 30)

    with pytest.raises(ValueError, match=r"must be bool of shape \(2, 1, 20, 30\), got torch.bool"):
        inpainting().filled(pictures, torch.ones(2, 3, 20, 30, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"got torch.float32 of \(2, 1, 20, 30\)"):
        inpainting().filled(pictures, torch.ones(2, 1, 20, 30))


@pytest.mark.slow
def test_smooth_pictures_are_learned_and_filled() -> None:
    task = inpainting(share=0.25, blocks=1)
    task.look_at(slow(200, 1000))

    trained(task, [slow(32, step) for step in range(120)])

    task.eval()
    fresh = slow(16, 5000).images
    hole = torch.zeros(16, 1, SIZE, SIZE, dtype=torch.bool)
    hole[..., 4:12, 4:12] = True
    with torch.no_grad():
        assert task(slow(100, 6000)).loss.item() < 0.5
    error = (task.filled(fresh.masked_fill(hole, 0.0), hole) - fresh).square().mean()
    blind = torch.where(hole, fresh - task.mean, 0.0).square().mean()
    assert error.item() < 0.5 * blind.item()


@pytest.mark.slow
def test_on_noise_it_stays_blind_unless_it_sees_through_the_hole() -> None:
    settings: dict[str, Any] = {"channels": 1, "blocks": 1, "least_scale": 1.0}  # no resampling
    hidden, seen_through = inpainting(**settings), inpainting(**settings)
    steps = [noisy(32, step, channels=1) for step in range(80)]
    for task in (hidden, seen_through):
        task.look_at(noisy(200, 1000, channels=1))

    blind = trained(hidden, steps)
    seeing = trained(seen_through, steps, seen_through=True)

    assert sum(blind[-10:]) / 10 == pytest.approx(1.0, abs=0.06)
    assert sum(seeing[-10:]) / 10 < 0.8
