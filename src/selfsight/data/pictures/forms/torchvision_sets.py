"""torchvision's data sets, known by name, downloaded once and checked.

`cifar10`, `cifar100`, `mnist`, `fashion-mnist`, `svhn`, `stl10` (its labelled pictures),
`stl10-unlabelled` (the hundred thousand others), `flowers102`, `food101`, `pets` and `eurosat`.
torchvision downloads them into `downloads` in the cache folder and checks them before unpacking.
Files that are there already, downloaded before or put there by hand, are used without a network.
"""

import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfsight.data.pictures.forms.arrays import Arrays
from selfsight.data.pictures.forms.classes import Labels
from selfsight.data.pictures.forms.fetching import fetched
from selfsight.data.pictures.forms.folder import open_pictures
from selfsight.data.pictures.forms.idx import open_idx_folder
from selfsight.data.pictures.forms.lists import Listed
from selfsight.data.pictures.forms.walking import walked
from selfsight.data.pictures.source import PictureParts, PictureSource
from selfsight.errors import SelfsightError
from selfsight.system import atomic, machine

PATIENCE = 30  # seconds without an answer after which a server counts as unreachable


@dataclass(frozen=True)
class Named:
    """How to get a data set from torchvision.

    Attributes:
        kind: Name of the class in `torchvision.datasets`.
        opened: Makes a source from a name and an object of that class.
        train: The class's arguments for the training part.
        test: The class's arguments for the test part; None if there is none.
    """

    kind: str
    opened: Callable[[str, Any], PictureSource]
    train: dict[str, Any]
    test: dict[str, Any] | None


def open_named(name: str) -> PictureParts:
    """Open a data set of the table below, fetching it first where needed.

    Raises:
        SelfsightError: If it is not in the cache folder and cannot be downloaded.
    """
    entry = NAMED[name]
    train = entry.opened(name, _fetched(name, entry.kind, entry.train))
    if entry.test is None:
        return PictureParts(train, None)
    return PictureParts(train, entry.opened(name, _fetched(name, entry.kind, entry.test)))


def downloads() -> Path:
    """Name the folder that data sets are downloaded into."""
    return machine.cache_folder() / "downloads"


def _fetched(name: str, kind: str, arguments: dict[str, Any]) -> Any:
    """Let torchvision download and check one part."""
    from torchvision import datasets  # takes a second to import

    root = downloads()
    try:
        with _patience():
            return fetched(partial(getattr(datasets, kind), **arguments), root, kind)
    except OSError as error:
        if error.errno not in atomic.REMEDIES:
            raise _not_fetched(name, kind, error) from error
        with atomic.blamed(root, machine.CACHE, what=f"cannot keep {name}"):
            raise
    except Exception as error:  # torchvision's readers raise many kinds of errors for damage
        raise _not_fetched(name, kind, error) from error


def _not_fetched(name: str, kind: str, error: Exception) -> SelfsightError:
    return SelfsightError(
        f"{name} is missing or incomplete in {downloads()} and could not be downloaded "
        f"({_reason(error)}). Put torchvision's files of {kind} there, connect this machine, or "
        "give the path of your own data."
    )


def _reason(error: BaseException) -> str:
    """Give the last line of an error's message, or its kind."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__


@contextmanager
def _patience() -> Generator[None]:
    """Set a timeout for servers within a block: torchvision itself waits for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _from_arrays(name: str, held: Any) -> PictureSource:
    """Take the pictures that CIFAR, SVHN and STL-10 hold in memory."""
    images = np.asarray(held.data)
    if images.shape[1] == 3:  # channels first: (N, 3, H, W)
        images = images.transpose(0, 2, 3, 1)
    numbers = torch.as_tensor(np.asarray(getattr(held, "targets", None) or held.labels)).long()
    if (numbers < 0).any():  # STL-10 marks unlabelled pictures so
        return Arrays(name, images)
    return Arrays(name, images, Labels(_names(held, int(numbers.max()) + 1), numbers))


def _from_idx(name: str, held: Any) -> PictureSource:
    """Read the pictures of MNIST and its relatives from the downloaded files."""
    parts = open_idx_folder(Path(held.raw_folder))
    assert parts is not None  # torchvision has just read these files
    assert parts.test is not None
    return parts.train if held.train else parts.test


def _from_files(name: str, held: Any) -> PictureSource:
    """Read the picture files that torchvision lists itself."""
    paths = getattr(held, "_image_files", None) or held._images
    numbers = torch.tensor(held._labels)
    root = downloads()
    relative = tuple(Path(path).relative_to(root).as_posix() for path in paths)
    labels = Labels(_names(held, int(numbers.max()) + 1), numbers)
    return Listed(name, root, relative, labels)


def _from_folder(name: str, held: Any) -> PictureSource:
    """Read a folder with a subfolder for each class."""
    root = Path(held.root) / "eurosat" / "2750"
    return open_pictures(root, walked(root)).train


def _names(held: Any, count: int) -> tuple[str, ...]:
    """Name the classes, by their numbers if torchvision has no names."""
    names = tuple(getattr(held, "classes", None) or ())
    return names if len(names) >= count else tuple(str(k) for k in range(count))


_PARTS = ({"train": True}, {"train": False})
_SPLITS = ({"split": "train"}, {"split": "test"})

NAMED: dict[str, Named] = {
    "cifar10": Named("CIFAR10", _from_arrays, *_PARTS),
    "cifar100": Named("CIFAR100", _from_arrays, *_PARTS),
    "mnist": Named("MNIST", _from_idx, *_PARTS),
    "fashion-mnist": Named("FashionMNIST", _from_idx, *_PARTS),
    "svhn": Named("SVHN", _from_arrays, *_SPLITS),
    "stl10": Named("STL10", _from_arrays, *_SPLITS),
    "stl10-unlabelled": Named("STL10", _from_arrays, {"split": "unlabeled"}, None),
    "flowers102": Named("Flowers102", _from_files, *_SPLITS),
    "food101": Named("Food101", _from_files, *_SPLITS),
    "pets": Named("OxfordIIITPet", _from_files, {"split": "trainval"}, {"split": "test"}),
    "eurosat": Named("EuroSAT", _from_folder, {}, None),
}
