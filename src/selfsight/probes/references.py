"""References: what stands beside a network on pictures: the pixels, and a patch dictionary.

Frozen:    a patch dictionary, fitted without gradients and labels to the training pictures.
Fitted:    the probe, the same as of the network that is judged.
Measured:  its accuracy in [0, 1]; a network below has learned less than which patches there are.

Coates, Lee, Ng, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS
2011, https://proceedings.mlr.press/v15/coates11a.html. What is fitted is kept in the cache folder
under a hash of the pictures: the next probe of the same data takes it from there.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import torch

from selfsight import encoders
from selfsight.data.batches import some_rows
from selfsight.data.pictures import Pictures
from selfsight.data.pictures.batch import Images
from selfsight.encoders import Encoder
from selfsight.errors import SelfsightError
from selfsight.modalities.pictures import of_pictures
from selfsight.probes.features import LayeredNetwork, Pixels
from selfsight.probes.network import PictureNetwork
from selfsight.system import atomic, machine
from selfsight.system.machine import CACHE
from selfsight.system.progress import Bar
from selfsight.tasks.base import Facts
from selfsight.tasks.patch_dictionary import PICTURES, PatchDictionary, PatchesAlike

REVISION = 1  # of how it is fitted: another one makes kept dictionaries useless
BATCH = 256  # pictures
LOOKED_AT = 1000  # pictures, for their mean and deviation


class NoReference(SelfsightError):
    """What would stand beside a network cannot be had of these samples; the message says why."""


class Reference(NamedTuple):
    """What stands beside a network in a record.

    Attributes:
        key: Of its accuracy in the record.
        title: What the progress bar calls it.
        described: What its answers depend on besides the samples, as plain values.
        network: Gives it, as a network that can be probed.
    """

    key: str
    title: str
    described: dict[str, Any]
    network: Callable[[], LayeredNetwork]


def pixels(train: Pictures, network: PictureNetwork) -> Reference:
    """Give the raw pixels as a network of one layer."""
    plain = Pixels(network.channels, network.size)
    return Reference("pixels", "pixels", {"recipe": "pixels"}, lambda: plain)


def patch_dictionary(train: Pictures, network: PictureNetwork) -> Reference:
    """Give a dictionary of patches, fitted to the training pictures without labels."""

    def fitted() -> LayeredNetwork:
        try:
            with Bar("fitting patches", len(train)) as bar:
                return kept_dictionary(
                    train,
                    size=network.size,
                    device=network.device,
                    progress=lambda done, total: bar(done, total=total),
                )
        except PatchesAlike as error:
            raise NoReference(f"no patch dictionary beside the network: {error}") from error

    told = {"recipe": "patch dictionary", "fitted": REVISION, "size": network.size}
    return Reference("patch_dictionary", "patch dictionary", told, fitted)


def kept_dictionary(
    train: Pictures,
    *,
    size: int,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Encoder:
    """Give the dictionary of these pictures from the cache, or fit and keep it.

    Args:
        train: The pictures it is fitted to; at most `PICTURES` of them are looked at.
        size: Side of what networks see of them, in pixels.
        device: Where to compute, and where it is to be.
        progress: Is told how many pictures were looked at, and how many there are to look at.
    """
    told = [REVISION, train.fingerprint, size, version("selfsight"), version("torch")]
    stem = hashlib.blake2b(json.dumps(told).encode(), digest_size=16).hexdigest()
    folder = machine.cache_folder() / "dictionaries"
    if (folder / f"{stem}.json").exists():
        with contextlib.suppress(SelfsightError):  # damaged: fitted anew
            return of_pictures(encoders.load(folder, stem=stem))
    encoder = fitted_dictionary(train, size=size, device=device, progress=progress)
    with atomic.kept_if_possible("patch dictionaries"):
        encoders.save(encoder, atomic.folder(folder, another=CACHE), stem=stem, another=CACHE)
    return encoder


def fitted_dictionary(
    train: Pictures,
    *,
    size: int,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Encoder:
    """Fit a dictionary to pictures, without their labels; see `kept_dictionary`."""
    rows, channels = some_rows(len(train), PICTURES), train.images.shape[1]
    settings = PatchDictionary.derive(Facts(len(rows), 0, channels, size, len(rows)))
    name, arguments = PatchDictionary.encoder_of(settings)
    own: dict[str, Any] = {}
    if train.bits > 8 or channels not in (1, 3):  # as a run's encoder is standardised
        own["mean"], own["deviation"] = train.statistics(rows[:LOOKED_AT])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = encoders.build(name, size=size, channels=channels, arguments=arguments, **own)
    task = PatchDictionary(encoder, encoder.dim, size=size, **settings).to(device)
    done = 0

    def batch(part: torch.Tensor) -> Images:
        nonlocal done
        done += len(part)
        if progress is not None:
            progress(done, len(rows))
        return Images.from_rows(train, part, seed=0, epoch=0, device=device)

    task.fit(map(batch, rows.split(BATCH)))
    return encoder.eval()
