"""lightly's own SimCLR and MoCo, for benchmarks to stand beside.

Its CIFAR-10 benchmark is followed (`docs/source/getting_started/benchmarks/cifar10_benchmark.py` in
https://github.com/lightly-ai/lightly, results of 27.03.2023): SimCLR's transform at 32 px with half
the colour jitter and no blur, for both methods; heads of as many hidden numbers as the features
have and 128 at the end; temperatures 0.5 and 0.1; for MoCo a bank of 4,096 keys, momentum 0.99 and
a batch shuffled for the key encoder; SGD with momentum 0.9, decay 5e-4 and a rate of 0.06 a batch
of 128, along a cosine.

Where we depart from it: the network is whichever is given, so that both libraries train the same;
the cosine falls by the step, for a training may be shorter than an epoch; MoCo takes one query and
one key of a picture, as in lightly's own example and in the paper, unless it is asked to be
symmetric, as in that benchmark, where every view is query and key and a step costs twice as much.

lightly is the extra `bench` of this package, and imported here alone.
"""

import copy
import math
import time
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

INSTALL = "lightly is missing, which this stands beside; install it by: pip install -e '.[bench]'"

try:
    from lightly.data import LightlyDataset
    from lightly.loss import NTXentLoss
    from lightly.models.modules import MoCoProjectionHead, SimCLRProjectionHead
    from lightly.models.utils import (
        batch_shuffle,
        batch_unshuffle,
        deactivate_requires_grad,
        update_momentum,
    )
    from lightly.transforms.simclr_transform import SimCLRTransform
    from lightly.transforms.utils import IMAGENET_NORMALIZE
except ModuleNotFoundError as missing:
    raise SystemExit(f"{INSTALL} ({missing})") from missing

MEAN = tuple(float(value) for value in IMAGENET_NORMALIZE["mean"])
DEVIATION = tuple(float(value) for value in IMAGENET_NORMALIZE["std"])
WIDTH, BANK, MOMENTUM = 128, 4096, 0.99
BATCH = 128  # what its benchmark takes, and what its rate is for
MEASURED = (3, 8)  # steps of a copy before the measured ones, and those

Views = tuple[Tensor, Tensor]


class Decoded(Dataset):
    """Pictures that are decoded already, as PIL pictures.

    Args:
        images: (N, 3, S, S) uint8.
    """

    def __init__(self, images: Tensor) -> None:
        self.pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        self.transform: Any = None  # lightly sets it

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(self.pictures[index]), 0


def loader_of(images: Tensor, *, batch: int, workers: int) -> DataLoader:
    """Give lightly's loader of two views of every picture (N, 3, 32, 32) uint8."""
    transform = SimCLRTransform(input_size=images.shape[-1], cj_strength=0.5, gaussian_blur=0.0)
    dataset: Any = LightlyDataset.from_torch_dataset(Decoded(images), transform=transform)
    return DataLoader(dataset, batch, shuffle=True, drop_last=True, num_workers=workers)


def endless(loader: DataLoader, device: str) -> Generator[Views]:
    """Go through a loader again and again."""
    while True:
        for (first, second), _, _ in loader:
            yield first.to(device), second.to(device)


class SimCLR(nn.Module):
    """lightly's SimCLR.

    Args:
        backbone: From standardised pictures to features (B, dim).
        dim: Width of the features.
    """

    def __init__(self, backbone: nn.Module, dim: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection_head = SimCLRProjectionHead(dim, dim, WIDTH)
        self.criterion = NTXentLoss()

    def forward(self, views: Views) -> Tensor:
        """Score two views of a batch, each (B, 3, S, S)."""
        first, second = (self.projection_head(self.backbone(view)) for view in views)
        return self.criterion(first, second)


class MoCo(nn.Module):
    """lightly's MoCo.

    Args:
        backbone: From standardised pictures to features (B, dim).
        dim: Width of the features.
        symmetric: Whether every view is query and key.
    """

    def __init__(self, backbone: nn.Module, dim: int, *, symmetric: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection_head = MoCoProjectionHead(dim, dim, WIDTH)
        self.backbone_momentum = copy.deepcopy(backbone)
        self.projection_head_momentum = copy.deepcopy(self.projection_head)
        deactivate_requires_grad(self.backbone_momentum)
        deactivate_requires_grad(self.projection_head_momentum)
        self.criterion = NTXentLoss(temperature=0.1, memory_bank_size=(BANK, WIDTH))
        self.symmetric = symmetric

    def forward(self, views: Views) -> Tensor:
        """Score two views of a batch, each (B, 3, S, S), after moving the key encoder."""
        update_momentum(self.backbone, self.backbone_momentum, m=MOMENTUM)
        update_momentum(self.projection_head, self.projection_head_momentum, m=MOMENTUM)
        first, second = views
        loss = self._contrasted(first, second)
        return 0.5 * (loss + self._contrasted(second, first)) if self.symmetric else loss

    def _contrasted(self, queries: Tensor, keys: Tensor) -> Tensor:
        said = self.projection_head(self.backbone(queries))
        shuffled, order = batch_shuffle(keys)
        key = self.projection_head_momentum(self.backbone_momentum(shuffled)).detach()
        return self.criterion(said, batch_unshuffle(key, order))


def made(method: str, backbone: nn.Module, dim: int, *, symmetric: bool = False) -> nn.Module:
    """Make lightly's counterpart of one of our tasks, "simclr" or "moco-v2"."""
    if method == "simclr":
        return SimCLR(backbone, dim)
    return MoCo(backbone, dim, symmetric=symmetric)


class Learner:
    """A step of lightly's loop, with nothing around it.

    Args:
        model: From two views to a loss.
        batch: Pictures a step, which its rate grows with.
        device: Where to compute.
        bf16: Whether to compute in bf16 where torch holds it for safe; lightly does not.
    """

    def __init__(self, model: nn.Module, *, batch: int, device: str, bf16: bool = False) -> None:
        self.model = model.train().to(device)
        self.rate = 0.06 * batch / BATCH
        weights = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(weights, self.rate, momentum=0.9, weight_decay=5e-4)
        self.device, self.bf16 = device, bf16

    def step(self, views: Views, *, done: float = 0.0) -> None:
        """Take a step, when so great a share in [0, 1) of the training is done."""
        self.optimizer.param_groups[0]["lr"] = self.rate * 0.5 * (1 + math.cos(math.pi * done))
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            loss = self.model(views)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def wait(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()


class Trained(NamedTuple):
    """What a training took.

    Attributes:
        steps: Taken.
        seconds: Of them, with the loader's.
    """

    steps: int
    seconds: float


def seconds_a_step(learner: Learner, batches: Iterator[Views]) -> float:
    """Time steps, the loader's work in them."""
    warm, count = MEASURED
    for _ in range(warm):
        learner.step(next(batches))
    learner.wait()
    begun = time.perf_counter()
    for _ in range(count):
        learner.step(next(batches))
    learner.wait()
    return (time.perf_counter() - begun) / count


def trained_for(learner: Learner, loader: DataLoader, minutes: float) -> Trained:
    """Train for a time: steps of a copy are measured first, as our own runs do."""
    batches = endless(loader, learner.device)
    steps = max(1, round(60 * minutes / seconds_a_step(copy.deepcopy(learner), batches)))
    begun = time.perf_counter()
    for step in range(steps):
        learner.step(next(batches), done=step / steps)
    learner.wait()
    return Trained(steps, time.perf_counter() - begun)
