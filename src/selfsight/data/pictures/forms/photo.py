"""Photo: crops of one photograph as a data set: sample i is crop i.

The photograph is held in memory with copies of half, a quarter, ... of its size; a crop is cut when
it is needed, from the smallest copy with enough detail. Crop i is the same in every epoch.

Crops are those of Asano, Rupprecht, Vedaldi, "A Critical Analysis of Self-supervision, or What We
Can Learn from a Single Image", ICLR 2020, https://arxiv.org/abs/1904.13132, in the form of the
released generator (github.com/yukimasano/single_img_pretraining, make_dataset_single.py): a square
of half the shorter side anywhere, and in it a box of 1/500 to all of its area. Rotation, shear and
changes of colour are left to the augmentation.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.data.pictures.files.decode import Header, decoded, header_of
from selfsight.data.pictures.files.header import check_memory
from selfsight.data.pictures.scaling import Fit, fitted
from selfsight.data.pictures.source import PictureParts, PictureSource
from selfsight.data.source import Unreadable, open_regular, stamp_of
from selfsight.draws import Draws
from selfsight.errors import SelfsightError

CROPS = 100_000  # samples of one photograph; --limit takes fewer
REGION = 0.5  # of the shorter side: side of the square in which a crop is drawn
LEAST_SHARE = 1 / 500  # of that square's area
RATIO = (3 / 4, 4 / 3)  # width over height
# Most memory at once: the decoded picture, floats while it is halved, and the reduced copies.
BYTES_A_SAMPLE = 8
LEAST = 8  # least side of a crop, in pixels
SEED = 0


class Photo(PictureSource):
    """Crops of one photograph, unlabelled.

    Args:
        path: The photograph's file.
        memory: Bytes of memory, of which it may take half; by default this machine's.

    Raises:
        SelfsightError: If it cannot be read, or would take more than half.
    """

    classes = ()
    labels = None
    held = True

    def __init__(self, path: Path, memory: int | None = None) -> None:
        self.name = f"photo:{path}"
        self._path = path
        try:
            with open_regular(path) as file:
                header = header_of(file)
                needed = header.height * header.width * header.channels * BYTES_A_SAMPLE
                what = f"{path} of {header.width} x {header.height} pixels"
                check_memory(what, needed, "shrink it, or cut a part out", memory)
                file.seek(0)
                self._copies = _reduced(decoded(file))
        except OSError as error:
            raise SelfsightError(f"{path} cannot be opened: {error.strerror}") from error
        except Unreadable as reason:
            raise SelfsightError(f"{path} cannot be read as a photograph: {reason}") from reason
        self._channels, self._bits = header.channels, header.bits
        self._boxes = _boxes(*self._copies[0].shape[1:])  # (N, 4)

    def __len__(self) -> int:
        return CROPS

    def title(self, i: int) -> str:
        """Name crop i for messages."""
        return f"crop {i}"

    def header(self, i: int) -> Header:
        """Give its size and channels."""
        _, _, height, width = self._boxes[i].tolist()
        return Header(height, width, self._channels, self._bits)

    def decode(self, i: int) -> Tensor:
        """Cut crop i at full size: -> (C, h, w) uint8 or uint16."""
        return self._cut(self._copies[0], self._boxes[i].tolist())

    def scaled(self, i: int, side: int, fit: Fit) -> Tensor:
        """Cut crop i from a copy that is finer than `side`, and scale it."""
        box = self._boxes[i].tolist()
        kept = max(box[2:]) if fit == "canvas" else min(box[2:])
        # At least twice as fine as needed, since a box is cut at whole pixels of the copy.
        level = min(max(0, int(math.log2(kept / side)) - 1), len(self._copies) - 1)
        half = (1 << level) >> 1
        rounded = [(value + half) >> level for value in box]
        return fitted(self._cut(self._copies[level], rounded), side, fit)

    @staticmethod
    def _cut(copy: Tensor, box: list[int]) -> Tensor:
        top, left, height, width = box
        return copy[:, top : top + max(height, 1), left : left + max(width, 1)]

    def stamp(self) -> Iterator[str]:
        """Give the file's stamp."""
        yield stamp_of(self._path)


def _reduced(photograph: Tensor) -> list[Tensor]:
    """Halve a photograph (C, H, W) while it is large enough: -> it and its reduced copies."""
    copies = [photograph]
    while min(copies[-1].shape[1:]) >= 4 * LEAST:
        values = F.avg_pool2d(copies[-1].float(), 2)
        copies.append(values.round().to(photograph.dtype))
    # channels last, which the fast path of scaling needs
    return [copy.permute(1, 2, 0).contiguous().permute(2, 0, 1) for copy in copies]


def _boxes(height: int, width: int) -> Tensor:
    """Draw the boxes of all crops: -> (N, 4) int64 top, left, height and width, in pixels."""
    drawn = Draws(SEED, 0, torch.arange(CROPS)).uniform("photo", 6).double()
    region = max(REGION * min(height, width), float(LEAST))
    share = LEAST_SHARE + (1 - LEAST_SHARE) * drawn[:, 0]
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    ratio = (low + (high - low) * drawn[:, 1]).exp()
    # A box larger than its square is cut to it; the released generator draws another one instead.
    tall = (region * (share / ratio).sqrt()).clamp(max=region)
    wide = (region * (share * ratio).sqrt()).clamp(max=region)
    tall, wide = (side.round().clamp(min=LEAST) for side in (tall, wide))
    top = drawn[:, 2] * (height - region) + drawn[:, 4] * (region - tall).clamp(min=0)
    left = drawn[:, 3] * (width - region) + drawn[:, 5] * (region - wide).clamp(min=0)
    box = torch.stack([top.floor(), left.floor(), tall, wide], dim=1).long()
    limit = torch.tensor([height, width])
    box[:, :2] = box[:, :2].minimum(limit - box[:, 2:]).clamp(min=0)
    return box


def open_photo(path: Path) -> PictureParts:
    """Open one photograph as a data set of its crops."""
    return PictureParts(Photo(path), None)
