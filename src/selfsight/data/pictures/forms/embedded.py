"""Embedded: sample pictures installed with scikit-image and scikit-learn; no network is needed."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from selfsight.data.pictures.forms.arrays import Arrays
from selfsight.data.pictures.forms.classes import Labels
from selfsight.data.pictures.forms.crops import crops_of
from selfsight.data.pictures.source import EncodedSource, PictureParts
from selfsight.data.source import open_regular, stamp_of
from selfsight.errors import SelfsightError

# Photographs, in colour and grey; drawings, test patterns and documents are left out.
PHOTOGRAPHS = {
    "skimage": (
        "data/astronaut.png",
        "data/brick.png",
        "data/camera.png",
        "data/chelsea.png",
        "data/coffee.png",
        "data/coins.png",
        "data/grass.png",
        "data/gravel.png",
        "data/hubble_deep_field.jpg",
        "data/ihc.png",
        "data/moon.png",
        "data/motorcycle_left.png",
        "data/retina.jpg",
        "data/rocket.jpg",
    ),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
}
BRIGHTEST_DIGIT = 16  # a pixel of scikit-learn's digits counts the inked ones of 4 x 4 cells


class Photographs(EncodedSource):
    """The photographs among the packages' sample pictures, without labels."""

    name = "photos"
    classes = ()
    labels = None

    def __init__(self) -> None:
        self._paths = [
            _package(package) / path for package, paths in PHOTOGRAPHS.items() for path in paths
        ]
        missing = [str(path) for path in self._paths if not path.is_file()]
        if missing:
            raise SelfsightError(
                f"the embedded photographs are incomplete: {', '.join(missing)} "
                "not found. Reinstall scikit-image and scikit-learn."
            )

    def __len__(self) -> int:
        return len(self._paths)

    def title(self, i: int) -> str:
        """Name picture i for messages."""
        return self._paths[i].name

    def opened(self, i: int) -> BinaryIO:
        """Open its bytes for reading."""
        return open_regular(self._paths[i])

    def stamp(self) -> Iterator[str]:
        """Stamp every file."""
        return map(stamp_of, self._paths)


def _package(name: str) -> Path:
    """Find an installed package's folder without importing it."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise SelfsightError(f"the embedded photographs need the package {name}; install it.")
    return Path(spec.origin).parent


def _photos() -> PictureParts:
    return PictureParts(Photographs(), None)


def _digits() -> PictureParts:
    """Read scikit-learn's handwritten digits, 8 x 8 pixels, scaled to 0..255."""
    from sklearn.datasets import load_digits  # takes a second to import

    ink, digit = load_digits(return_X_y=True)  # (N, 64) in [0, 16], (N,)
    images = np.round(np.reshape(ink, (-1, 8, 8)) * 255 / BRIGHTEST_DIGIT).astype(np.uint8)
    names = tuple(str(k) for k in range(10))
    labels = Labels(names, torch.from_numpy(np.asarray(digit)).long())
    return PictureParts(Arrays("digits", images, labels), None)


def _crops() -> PictureParts:
    return crops_of(Photographs())


EMBEDDED: dict[str, Callable[[], PictureParts]] = {
    "photos": _photos,
    "digits": _digits,
    "crops": _crops,
}
