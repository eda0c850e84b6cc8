"""Calibration: on the same pictures, a network answers in evaluation as it does in training."""

import pytest
import torch
from torch import Tensor, nn

from pair import Pair
from selfsight import encoders
from selfsight.distributed.batch_statistics import with_joint_statistics
from selfsight.distributed.calibration import calibrate
from selfsight.probes.untrained import calibrate_on


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.Conv2d(8, 4, 3),
            nn.BatchNorm2d(4, momentum=None),
        )  # fmt: skip


def test_evaluation_sees_the_pictures_as_training_does() -> None:
    net, pictures = network(), torch.rand(32, 3, 12, 12, generator=torch.Generator().manual_seed(1))

    calibrate(net, [pictures])

    net.eval()
    evaluated = net(pictures)
    assert evaluated.mean(dim=(0, 2, 3)).abs().max() < 1e-3
    # Running variances are over one less than the count.
    assert (evaluated.std(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-3


def test_statistics_are_averages_over_batches() -> None:
    net, known = network(), torch.rand(16, 3, 12, 12, generator=torch.Generator().manual_seed(1))

    calibrate(net, known.split(8))

    first = net[0](known)
    torch.testing.assert_close(net[1].running_mean, first.mean(dim=(0, 2, 3)).detach())
    variances = [net[0](part).var(dim=(0, 2, 3)).detach() for part in known.split(8)]
    torch.testing.assert_close(net[1].running_var, (variances[0] + variances[1]) / 2)


def test_modes_and_momenta_and_weights_stay() -> None:
    net = network()
    net[3].eval()
    weights = [p.clone() for p in net.parameters()]
    random = torch.get_rng_state()

    calibrate(net, [torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(1))])

    assert [part.training for part in net] == [True, True, True, False, True, True]
    assert (net[1].momentum, net[5].momentum) == (0.1, None)
    assert all(p.equal(w) for p, w in zip(net.parameters(), weights, strict=True))
    assert torch.get_rng_state().equal(random)


def test_a_network_without_batch_statistics_is_left_alone() -> None:
    calls: list[int] = []
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    net.register_forward_hook(lambda *_: calls.append(1))

    calibrate(net, [torch.zeros(2, 3, 2, 2)])

    assert calls == []


def job_of_the_first_alone() -> list[Tensor]:
    """Calibrate networks of joint statistics, as a task before its first step and as a probe."""
    if torch.distributed.get_rank() > 0:
        return []  # whoever asked it would wait in vain
    net, encoder = network(), encoders.build("small", size=16)
    for each in (net, encoder):
        with_joint_statistics(each)
    pictures = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    calibrate(net, [pictures])
    calibrate_on(encoder, pictures)
    assert not any(getattr(part, "alone", False) for part in (*net, *encoder.modules()))
    return [values for values in net.state_dict().values() if values.is_floating_point()]


@pytest.mark.slow
def test_a_process_calibrates_without_the_others(two: Pair) -> None:
    net = network()
    calibrate(net, [torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))])
    expected = [values for values in net.state_dict().values() if values.is_floating_point()]

    alone, _ = two.ask(job_of_the_first_alone)

    assert all(a.equal(b) for a, b in zip(alone, expected, strict=True))
