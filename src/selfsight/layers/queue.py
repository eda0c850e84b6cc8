"""Queue: the keys of the last batches, used as negatives.

He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020,
https://arxiv.org/abs/1911.05722, section 3.2. A ring buffer: the newest keys replace the oldest.
The position of the next keys is a buffer on the device too, so that no step waits for the device.
"""

import torch
from torch import Tensor, nn

NOBODY = -1


class Queue(nn.Module):
    """Keys and the pictures they belong to; the first keys are random and belong to no picture.

    Args:
        length: Number of keys, K.
        width: Width of a key.

    Attributes:
        keys: (K, width) float32 of length 1.
        owners: (K,) int64, the place in the data of each key's picture; -1 for none.
    """

    keys: Tensor
    owners: Tensor
    pointer: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        if length < 1:
            raise ValueError(f"queue must hold at least 1 key, got {length}")
        self.register_buffer("keys", nn.functional.normalize(torch.randn(length, width), dim=1))
        self.register_buffer("owners", torch.full((length,), NOBODY))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.keys)

    @torch.no_grad()
    def push(self, keys: Tensor, owners: Tensor) -> None:
        """Replace the oldest keys by keys (B, width) of pictures (B,); of more than K, the last."""
        keys, owners = keys[-len(self) :], owners[-len(self) :]
        rows = (self.pointer + torch.arange(len(keys), device=self.keys.device)) % len(self)
        self.keys.index_copy_(0, rows, keys.float())
        self.owners.index_copy_(0, rows, owners)
        self.pointer.add_(len(keys)).remainder_(len(self))

    def fill(self, keys: Tensor, owners: Tensor) -> None:
        """Fill the queue with keys (B, width) of pictures (B,), repeated as often as needed."""
        rows = torch.arange(len(self), device=keys.device) % len(keys)
        self.push(keys[rows], owners[rows])
