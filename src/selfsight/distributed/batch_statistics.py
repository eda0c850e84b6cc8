"""Batch statistics across processes: batch normalisation over the joint batch.

Processes that train together each see a share of the batch. Normalised by the mean and variance of
that share, a picture would get other features than in one process with the whole batch, and a loss
that compares pictures could learn which of them shared a process. Here every batch normalisation of
PyTorch and timm uses the statistics of the joint batch, with the exact gradient, on GPUs and on
processors (which `torch.nn.SyncBatchNorm` does not support).

Ioffe, Szegedy, "Batch Normalization", ICML 2015, https://arxiv.org/abs/1502.03167, section 3. With
x the joint batch's values of a channel, N of them, and h = (x - mean) / sqrt(variance + eps), the
answer is y = w h + b. Mean and variance depend on every x, so that

    dL/dx = w / sqrt(variance + eps) * (g - sum(g) / N - h sum(g h) / N),    g = dL/dy,

with sums over all processes: one exchange of two numbers a channel; the forward pass exchanges
mean, variance and count. The gradients of w and b are sums over the process's own pictures, which
the training averages over processes like all gradients.
"""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from selfsight.distributed.gather import gathered, processes, summed
from selfsight.encoders.encoder import batch_norms


class Joint:
    """Mixin that makes a batch normalisation class use joint statistics.

    In a single process and in evaluation mode it behaves as that class.

    Attributes:
        alone: Whether it exchanges nothing for now, see `without_exchange`.
    """

    alone = False

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, ...), from B pictures of this process."""
        norm = cast(nn.BatchNorm2d, self)
        if self.alone or processes() == 1 or not norm.training:
            return cast(Tensor, cast(Any, super()).forward(input))
        norm._check_input_dim(input)  # pyright: ignore[reportPrivateUsage] -- as its own class does
        return self.finished(_normalised(norm, input))

    def finished(self, normalised: Tensor) -> Tensor:
        """Apply what the class does after normalising; here nothing."""
        return normalised


class JointBatchNorm1d(Joint, nn.BatchNorm1d):
    """`BatchNorm1d` over the joint batch."""


class JointBatchNorm2d(Joint, nn.BatchNorm2d):
    """`BatchNorm2d` over the joint batch."""


class JointBatchNorm3d(Joint, nn.BatchNorm3d):
    """`BatchNorm3d` over the joint batch."""


class JointBatchNormAct2d(Joint, BatchNormAct2d):
    """timm's normalisation with dropout and activation, over the joint batch."""

    def finished(self, normalised: Tensor) -> Tensor:
        """Apply dropout and activation."""
        return cast(nn.Module, self.act)(cast(nn.Module, self.drop)(normalised))


JOINT: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: JointBatchNorm1d,
    nn.BatchNorm2d: JointBatchNorm2d,
    nn.BatchNorm3d: JointBatchNorm3d,
    BatchNormAct2d: JointBatchNormAct2d,
}


def with_joint_statistics(task: nn.Module, *, but: Iterable[nn.Module] = ()) -> None:
    """Make a task's batch normalisations use the statistics of all processes' pictures.

    Only the class of each module changes, in place: weights, running statistics, names in the state
    and references to the module stay valid. Frozen normalisations have no batch statistics and are
    not changed, nor are classes that split a batch on purpose.

    Args:
        task: Its normalisations are changed.
        but: Parts of it whose normalisations stay unchanged, even if other parts share them.
    """
    left = {id(norm) for part in but for norm in batch_norms(part)}
    for norm in batch_norms(task):
        if id(norm) not in left and type(norm) in JOINT:
            cast(Any, norm).__class__ = JOINT[type(norm)]


@contextmanager
def without_exchange(network: nn.Module) -> Generator[None]:
    """Make a network's normalisations use only this process's pictures for the length of a block.

    For pictures that only one process has, or that all processes have alike; and for networks still
    on the processor while the processes communicate between GPUs only.
    """
    joint = [norm for norm in network.modules() if isinstance(norm, Joint)]
    for norm in joint:
        norm.alone = True
    try:
        yield
    finally:
        for norm in joint:
            norm.alone = False


def own_statistics(task: nn.Module) -> list[nn.Module]:
    """List the normalisations that use only each process's own pictures."""
    return [norm for norm in batch_norms(task) if not isinstance(norm, Joint)]


def _normalised(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Normalise (B, C, ...) by the joint batch, and update the running statistics."""
    with torch.no_grad():
        mean, variance, count = joint_moments(x)
        if norm.track_running_stats:
            _follow(norm, mean, variance * count / (count - 1))
    return cast(
        Tensor, _Normalised.apply(x, norm.weight, norm.bias, mean, variance, count, norm.eps)
    )


def joint_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute mean and variance of every channel of the joint batch.

    Each process sends its own moments, which are combined by Chan, Golub, LeVeque, "Updating
    Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979: the sum of squares less
    the square of the sum would lose the variance of values far from 0.

    Args:
        x: (B, C, ...) of this process; B may differ between processes.

    Returns:
        (C,) mean, (C,) variance (divided by the count), and () count of a channel's values; float32
        or more, bitwise equal in all processes.
    """
    kind = torch.promote_types(x.dtype, torch.float32)
    # Passing running statistics makes torch return float32 moments for bfloat16 too.
    unused = x.new_zeros(2, x.shape[1], dtype=kind)
    mean, variance = torch.batch_norm_update_stats(x, unused[0], unused[1], 0.0)
    count = torch.full_like(mean[:1], x.numel() // x.shape[1])
    every = gathered(torch.cat([count, mean, variance])[None])  # (P, 1 + 2 C)
    counts, means, variances = every[:, :1], *every[:, 1:].chunk(2, dim=1)
    total = counts.sum()
    joint = (counts * means).sum(dim=0) / total
    squares = (counts * (variances + (means - joint).square())).sum(dim=0)
    return joint, squares / total, total


def _follow(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Update running statistics with a batch's; without momentum they are plain averages."""
    batches = cast(Tensor, norm.num_batches_tracked).add_(1)
    share = 1 / batches.float() if norm.momentum is None else norm.momentum
    for running, seen in ((norm.running_mean, mean), (norm.running_var, variance)):
        running = cast(Tensor, running)
        running.lerp_(seen.to(running.dtype), cast(Any, share))


class _Normalised(torch.autograd.Function):
    """Normalises by given moments, with the gradient of moments of the joint batch."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] -- the decorator names nothing
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        scale = torch.ones_like(mean) if weight is None else weight
        # PyTorch gives the gradients for constant moments: w / deviation * g, and the sums of g h
        # and of g.
        wanted = [True, True, True]
        into, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradients[0], x, scale, mean, variance, None, None, False, ctx.eps, wanted
        )
        needs_input, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        if needs_input:
            sums = summed(torch.stack([of_weight, of_bias])) / count
            # The missing terms are linear in h, so one more normalisation computes them.
            slope, level = -sums * scale * (variance + ctx.eps).rsqrt()
            into += F.batch_norm(x, mean, variance, slope, level, False, 0.0, ctx.eps)
        return (
            into if needs_input else None,
            of_weight if needs_weight else None,
            of_bias if needs_bias else None,
            *(None,) * 4,
        )
