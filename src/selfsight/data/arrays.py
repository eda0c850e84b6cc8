"""Arrays: decoded pictures in an .npz file, plain or with MedMNIST's keys.

Plain: `images` and perhaps `labels`. MedMNIST: `train_images`, `train_labels`, and the same for
`val` and `test`; the validation part stands in only where there is no test part.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from selfsight.data.decode import Header, usable
from selfsight.data.source import Parts, Source, numbered, same_classes, stamp_of
from selfsight.errors import SelfsightError


class Arrays(Source):
    """Pictures held as one array.

    Args:
        name: Where they come from.
        images: (N, H, W) or (N, H, W, C) uint8, C 1, 3, or 4 with opacity last.
        classes: K class names; () when unlabelled.
        labels: (N,) int64 class numbers, or None.
    """

    def __init__(
        self, name: str, images: np.ndarray, classes: tuple[str, ...], labels: Tensor | None
    ) -> None:
        self.name = name
        self.classes = classes
        self.labels = labels
        self._images = images if images.ndim == 4 else images[..., None]  # (N, H, W, C)

    def __len__(self) -> int:
        return len(self._images)

    def title(self, i: int) -> str:
        """Name picture i for messages."""
        return f"row {i}"

    def header(self, i: int) -> Header:
        """Tell its size and channels."""
        height, width, channels = self._images.shape[1:]
        usable(height, width)
        return Header(height, width, 1 if channels == 1 else 3)

    def decode(self, i: int) -> Tensor:
        """Give its pixels: -> (C, H, W) uint8."""
        self.header(i)
        pixels = torch.from_numpy(self._images[i].copy()).permute(2, 0, 1)
        return _over_white(pixels) if len(pixels) == 4 else pixels

    def stamp(self) -> Iterator[str]:
        """Stamp the file, or the pixels themselves where there is none."""
        path = Path(self.name)
        if path.is_file():
            yield stamp_of(path)
        else:
            yield hashlib.sha256(np.ascontiguousarray(self._images).data).hexdigest()


def _over_white(pixels: Tensor) -> Tensor:
    """Lay a picture with an opacity channel on white paper: (4, H, W) -> (3, H, W) uint8."""
    colour, opacity = pixels[:3].float(), pixels[3:].float() / 255
    return (colour * opacity + 255 * (1 - opacity)).round().to(torch.uint8)


def open_arrays(path: Path) -> Parts:
    """Read an .npz file.

    Raises:
        SelfsightError: If it is damaged, holds objects, or arrays of another kind than named above.
    """
    held = _loaded(path)
    if "images" in held:
        return Parts(_part(path, held, ""), None)
    if "train_images" not in held:
        raise SelfsightError(
            f"an .npz file needs `images` or `train_images`; {path} has "
            f"{', '.join(held) or 'nothing'}."
        )
    train = _part(path, held, "train_")
    other = next((p for p in ("test_", "val_") if f"{p}images" in held), None)
    return Parts(train, same_classes(train, _part(path, held, other)) if other else None)


def _loaded(path: Path) -> Mapping[str, np.ndarray]:
    """Load every array; never unpickles."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise SelfsightError(
            f"{path} cannot be read as an .npz file of numbers: {error}"
        ) from error


def _part(path: Path, held: Mapping[str, np.ndarray], prefix: str) -> Source:
    """Check and wrap one part."""
    key = f"{prefix}images"
    images = held[key]
    if images.dtype != np.uint8:
        raise SelfsightError(
            f"pictures in arrays must be uint8 for now; `{key}` of {path} is {images.dtype}. "
            "Scale it to 0..255 and convert it."
        )
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] not in (1, 3, 4)):
        raise SelfsightError(
            f"pictures in arrays must be (N, H, W) or (N, H, W, C) with 1, 3 or 4 channels for "
            f"now; `{key}` of {path} is {images.shape}."
        )
    if not images.size:
        raise SelfsightError(f"`{key}` of {path} is empty; give a file with pictures in it.")
    classes, labels = _labels(path, held.get(f"{prefix}labels"), len(images), f"{prefix}labels")
    return Arrays(str(path), images, classes, labels)


def _labels(
    path: Path, labels: np.ndarray | None, count: int, key: str
) -> tuple[tuple[str, ...], Tensor | None]:
    """Number the classes of labels (N,) or (N, 1), whole numbers or words."""
    if labels is None:
        return (), None
    if labels.shape not in ((count,), (count, 1)) or labels.dtype.kind not in "iuU":
        raise SelfsightError(
            f"labels must be one whole number or word a picture, ({count},) or ({count}, 1); "
            f"`{key}` of {path} is {labels.dtype} {labels.shape}."
        )
    return numbered(labels.ravel().tolist())
