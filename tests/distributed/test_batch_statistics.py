"""Batch statistics: two processes normalise as one does with the joint batch."""

import copy
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers.norm_act import BatchNormAct2d, FrozenBatchNormAct2d
from torch import Tensor, nn

from pair import Pair
from selfsight.distributed import batch_statistics
from selfsight.distributed.batch_statistics import own_statistics, with_joint_statistics
from selfsight.encoders.encoder import batch_norms

C = 3  # channels
KINDS: dict[str, tuple[Any, tuple[int, ...]]] = {  # by name: what makes it, shape of its input
    "1d of vectors": (lambda: nn.BatchNorm1d(C), (6, C)),
    "1d of sequences": (lambda: nn.BatchNorm1d(C), (6, C, 5)),
    "2d": (lambda: nn.BatchNorm2d(C), (6, C, 4, 5)),
    "3d": (lambda: nn.BatchNorm3d(C), (6, C, 2, 3, 2)),
    "without weights": (lambda: nn.BatchNorm2d(C, affine=False), (6, C, 4, 5)),
    "plain averages": (lambda: nn.BatchNorm2d(C, momentum=None), (6, C, 4, 5)),
    "without running": (lambda: nn.BatchNorm2d(C, track_running_stats=False), (6, C, 4, 5)),
    "relu": (lambda: BatchNormAct2d(C), (6, C, 4, 5)),
    "silu": (lambda: BatchNormAct2d(C, act_layer="silu"), (6, C, 4, 5)),
    "prelu": (lambda: BatchNormAct2d(C, act_layer=nn.PReLU, inplace=False), (6, C, 4, 5)),
    "no activation": (lambda: BatchNormAct2d(C, apply_act=False), (6, C, 4, 5)),
    "dropped": (lambda: BatchNormAct2d(C, drop_layer=Halved, inplace=False), (6, C, 4, 5)),
}
SHARES = {"even": (3, 3), "uneven": (1, 5)}


class Halved(nn.Module):
    """Takes the place of dropout, without randomness."""

    def forward(self, x: Tensor) -> Tensor:
        return x / 2


def norm_of(kind: str) -> nn.Module:
    """Make a normalisation whose weights differ by channel."""
    generator = torch.Generator().manual_seed(1)
    norm = KINDS[kind][0]().double()
    for parameter in norm.parameters():
        parameter.data = torch.rand(parameter.shape, generator=generator).double() + 0.5
    return norm


def inputs(kind: str) -> tuple[Tensor, Tensor]:
    """Draw two batches far from 0, and the weight of each of their answers in the loss."""
    shape = KINDS[kind][1]
    generator = torch.Generator().manual_seed(0)
    spread = torch.linspace(1, 9, C, dtype=torch.float64).view(C, *[1] * (len(shape) - 2))
    x = torch.randn(2, *shape, generator=generator, dtype=torch.float64) * spread + 20
    return x, torch.randn(2, *shape, generator=generator, dtype=torch.float64)


def followed(norm: nn.Module, x: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Run two batches in training mode, then one in evaluation: -> all observable results."""
    x = x.clone().requires_grad_()
    answers = torch.stack([norm(batch) for batch in x])
    (answers * weights).sum().backward()
    assert x.grad is not None
    seen = {"answers": answers.detach(), "gradient": x.grad}
    seen |= {f"gradient of {k}": p.grad for k, p in norm.named_parameters() if p.grad is not None}
    return seen | {k: v.clone() for k, v in norm.state_dict().items()}


def job_of_a_share(kind: str, shares: tuple[int, int]) -> dict[str, Tensor]:
    rank = torch.distributed.get_rank()
    norm, (x, weights) = norm_of(kind), inputs(kind)
    with_joint_statistics(norm)
    return followed(norm, x.split(shares, dim=1)[rank], weights.split(shares, dim=1)[rank])


@pytest.mark.slow
@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_normalise_as_torch_does_the_joint_batch(
    two: Pair, kind: str, shares: str
) -> None:
    whole = followed(norm_of(kind), *inputs(kind))

    first, second = two.ask(job_of_a_share, kind, SHARES[shares])

    assert first.keys() == second.keys() == whole.keys()
    for name, value in whole.items():
        if name in ("answers", "gradient"):
            got = torch.cat([first[name], second[name]], dim=1)
        elif name.startswith("gradient of"):  # each sums over its own rows: the training adds up
            got = first[name] + second[name]
        else:
            got = first[name]
            assert second[name].equal(got), name
        torch.testing.assert_close(got, value, rtol=1e-9, atol=1e-9, msg=name)


def job_in_bf16() -> dict[str, Tensor]:
    norm, (x, weights) = norm_of("2d").float(), inputs("2d")
    with_joint_statistics(norm)
    half = slice(0, 3) if torch.distributed.get_rank() == 0 else slice(3, 6)
    with torch.autocast("cpu", torch.bfloat16):
        return followed(norm, x[:, half].bfloat16(), weights[:, half].bfloat16())


@pytest.mark.slow
def test_answers_in_bf16_have_statistics_in_f32(two: Pair) -> None:
    norm, (x, weights) = norm_of("2d").float(), inputs("2d")
    whole = followed(norm, x.bfloat16().float(), weights.bfloat16().float())

    first, second = two.ask(job_in_bf16)

    assert first["answers"].dtype == first["gradient"].dtype == torch.bfloat16
    for name in ("answers", "gradient"):
        got = torch.cat([first[name], second[name]], dim=1).float()
        torch.testing.assert_close(got, whole[name], rtol=0.02, atol=0.05)
    for name in ("running_mean", "running_var"):
        assert first[name].dtype == torch.float32
        torch.testing.assert_close(first[name], whole[name], rtol=1e-5, atol=1e-5)


def job_alone_in_evaluation() -> Tensor:
    """Evaluate in the first process only, as a probe during the training does."""
    norm = norm_of("2d").eval()
    with_joint_statistics(norm)
    return norm(inputs("2d")[0][0]) if torch.distributed.get_rank() == 0 else torch.zeros(())


@pytest.mark.slow
def test_evaluation_asks_nobody(two: Pair) -> None:
    alone, _ = two.ask(job_alone_in_evaluation)

    assert alone.equal(norm_of("2d").eval()(inputs("2d")[0][0]))


def test_moments_of_one_process_are_those_by_hand() -> None:
    """Of 1, 3 and 5, 9 the means are 2 and 7, the variances over their count 1 and 4."""
    mean, variance, count = batch_statistics.joint_moments(torch.tensor([[1.0, 5.0], [3.0, 9.0]]))

    assert mean.tolist() == [2.0, 7.0]
    assert variance.tolist() == [1.0, 4.0]
    assert count.item() == 2


@pytest.mark.parametrize("kind", KINDS)
def test_alone_nothing_differs_to_the_bit(kind: str) -> None:
    norm = norm_of(kind)
    joint = copy.deepcopy(norm)
    with_joint_statistics(joint)

    plain, other = followed(norm, *inputs(kind)), followed(joint, *inputs(kind))

    assert own_statistics(joint) == []
    assert plain.keys() == other.keys()
    assert all(value.equal(other[name]) for name, value in plain.items())


def test_a_network_keeps_its_objects_names_and_weights() -> None:
    network = timm.create_model("test_resnet", num_classes=0)
    norms, weights = batch_norms(network), list(network.parameters())
    names = list(network.state_dict())

    with_joint_statistics(network)

    assert [id(norm) for norm in batch_norms(network)] == [id(norm) for norm in norms]
    assert [id(weight) for weight in network.parameters()] == [id(weight) for weight in weights]
    assert list(network.state_dict()) == names
    assert own_statistics(network) == []
    timm.create_model("test_resnet", num_classes=0).load_state_dict(network.state_dict())


@pytest.mark.parametrize("name", ["resnetv2_50", "efficientnet_b0", "levit_128s", "regnety_002"])
def test_networks_of_many_kinds_have_none_left(name: str) -> None:
    with torch.device("meta"):
        network = timm.create_model(name)
    assert batch_norms(network)

    with_joint_statistics(network)

    assert own_statistics(network) == []


def test_frozen_statistics_are_left_alone() -> None:
    network = nn.Sequential(FrozenBatchNormAct2d(C), nn.BatchNorm2d(C))

    with_joint_statistics(network)

    assert [type(part) for part in network] == [
        FrozenBatchNormAct2d,
        batch_statistics.JointBatchNorm2d,
    ]
    assert own_statistics(network) == []


class Headed(nn.Module):
    """A task with a network, and a head of its own."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = network, nn.BatchNorm1d(C)


def test_a_task_that_wants_its_own_statistics_keeps_them() -> None:
    task = Headed(nn.BatchNorm2d(C))

    with_joint_statistics(task, but=[task])

    assert own_statistics(task) == [task.encoder, task.head]


def test_a_network_that_tasks_share_keeps_its_own_statistics_if_one_of_them_wants_that() -> None:
    network = nn.BatchNorm2d(C)
    joint, own = Headed(network), Headed(network)

    with_joint_statistics(nn.ModuleList([joint, own]), but=[own])

    assert own_statistics(joint) == [network]
    assert own_statistics(own) == [network, own.head]


def test_a_copy_is_joint_too_and_of_its_own() -> None:
    norm = nn.BatchNorm2d(C)
    with_joint_statistics(norm)

    twin = copy.deepcopy(norm)
    twin(torch.rand(2, C, 4, 4))

    assert own_statistics(twin) == []
    assert norm.num_batches_tracked == 0


def job_of_a_compiled_network(kind: str) -> tuple[Tensor, Tensor]:
    rank = torch.distributed.get_rank()
    x, weights = (part[0].chunk(2)[rank] for part in inputs(kind))
    convolution = nn.Conv2d(C, C, 1, bias=False).double()
    convolution.weight.data = torch.eye(C).double().view(C, C, 1, 1)
    network = nn.Sequential(convolution, norm_of(kind))
    with_joint_statistics(network)
    answers = torch.compile(network, backend="aot_eager")(x)
    (answers * weights).sum().backward()
    assert convolution.weight.grad is not None
    return answers.detach(), convolution.weight.grad


@pytest.mark.slow
def test_a_compiled_network_normalises_the_joint_batch_too(two: Pair) -> None:
    x, weights = (part[0] for part in inputs("2d"))
    norm, kernel = norm_of("2d"), torch.eye(C).double().view(C, C, 1, 1).requires_grad_()
    whole = norm(F.conv2d(x, kernel))
    (whole * weights).sum().backward()

    first, second = two.ask(job_of_a_compiled_network, "2d")

    torch.testing.assert_close(torch.cat([first[0], second[0]]), whole)
    torch.testing.assert_close(first[1] + second[1], kernel.grad)
