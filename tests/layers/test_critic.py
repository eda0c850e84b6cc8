"""Critic: one summed loss against two optimisers, the cost of no decision, and learning."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.layers.critic import Critic, judged


def pictures(count: int, seed: int, *, channels: int = 3, size: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, size, size, generator=generator, dtype=torch.float64)


def gradients(network: nn.Module) -> list[Tensor]:
    found = [p.grad for p in network.parameters()]
    return [g for g in found if g is not None]


def test_one_loss_has_the_gradients_of_two_optimisers() -> None:
    torch.manual_seed(0)
    maker, critic = nn.Conv2d(3, 3, 3, padding=1).double(), Critic(3, 16).double()
    real, seen = pictures(5, 1), pictures(5, 2)
    weight = 0.3

    said = judged(critic, real, maker(seen))
    (weight * said.maker + said.critic).backward()

    # Plainly: the critic's own step on what was made, then the maker's with its own gradients.
    maker_alone, critic_alone = copy.deepcopy(maker), copy.deepcopy(critic)
    maker_alone.zero_grad()
    critic_alone.zero_grad()
    made = maker_alone(seen)
    right = torch.ones(5, dtype=torch.float64)
    own = F.binary_cross_entropy_with_logits(critic_alone(real), right)
    own = own + F.binary_cross_entropy_with_logits(critic_alone(made.detach()), 0 * right)
    (own / 2).backward()
    wanted_critic = [g.clone() for g in gradients(critic_alone)]
    (weight * F.binary_cross_entropy_with_logits(critic_alone(made), right)).backward()

    # Logits are brought to float32 for the loss, so they agree to its digits.
    assert len(gradients(critic)) == len(list(critic.parameters())) == len(wanted_critic)
    for found, wanted in zip(gradients(critic), wanted_critic, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-8)
    for found, wanted in zip(gradients(maker), gradients(maker_alone), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-8)


def test_telling_nothing_costs_log2() -> None:
    critic = Critic(3, 16)
    nn.init.zeros_(critic.answer.weight)
    nn.init.zeros_(critic.answer.bias)

    said = judged(critic, pictures(4, 0).float(), pictures(4, 1).float())

    assert said.critic.item() == pytest.approx(math.log(2))
    assert said.maker.item() == pytest.approx(math.log(2))
    assert said.accuracy.item() == 0.5


def test_losses_and_accuracy_by_hand() -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(dim=(1, 2, 3))

    real = torch.tensor([2.0, -1.0])[:, None, None, None]  # the logits themselves
    made = torch.tensor([1.0, -3.0])[:, None, None, None]

    said = judged(Mean(), real, made)

    def cost(logit: float, real: bool) -> float:
        chance = 1 / (1 + math.exp(-logit))
        return -math.log(chance if real else 1 - chance)

    on_real, on_made = (cost(2, True) + cost(-1, True)) / 2, (cost(1, False) + cost(-3, False)) / 2
    assert said.critic.item() == pytest.approx((on_real + on_made) / 2)
    assert said.maker.item() == pytest.approx((cost(1, True) + cost(-3, True)) / 2)
    assert said.accuracy.item() == 0.5  # the first of each is rightly real, wrongly real


def test_nothing_but_parameters_is_kept() -> None:
    assert dict(Critic(3, 32).named_buffers()) == {}


def test_an_answer_does_not_depend_on_the_batch() -> None:
    critic, some = Critic(3, 16), pictures(6, 0).float()

    torch.testing.assert_close(critic(some)[2:3], critic(some[2:3]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("channels", "size"), [(1, 4), (3, 16), (4, 30), (3, 96)])
def test_any_channels_and_sides_do(channels: int, size: int) -> None:
    critic = Critic(channels, size)

    logits = critic(pictures(2, 0, channels=channels, size=size).float())

    assert logits.shape == (2,)
    assert logits.isfinite().all()


def test_it_learns_to_tell_smooth_from_rough() -> None:
    torch.manual_seed(0)
    critic = Critic(1, 16, width=8)
    optimizer = torch.optim.Adam(critic.parameters(), lr=2e-3)

    accuracy = 0.0
    for step in range(40):
        rough = pictures(32, 2 * step, channels=1).float()
        smooth = F.avg_pool2d(pictures(32, 2 * step + 1, channels=1).float(), 3, 1, 1) * 3
        said = judged(critic, smooth, rough)
        optimizer.zero_grad()
        said.critic.backward()
        optimizer.step()
        accuracy = said.accuracy.item()

    assert accuracy > 0.9
